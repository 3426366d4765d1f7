"""Sources: where the rows of each problem set come from, and `load_problems`, which reads them.

To add a source, write a row converter in `lib.problems.convert` and an entry in SOURCES. What the source is used for (its role) is
said by the presets, under `sets`; see `lib.problems.roles`.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from lib.judge.problem import Problem
from lib.problems import convert, manifest
from lib.problems.problems import Problems
from lib.problems.rows import Hub, file_rows, folder_rows, hub_rows
from lib.runs import paths


@dataclass(frozen=True)
class Source:
    """Where rows come from and how they become problems.

    `convert(row, source, split)` returns a problem, or the reason for leaving the row out. Rows lie in `<split>.jsonl`
    (or `.jsonl.gz`, `.jsonl.xz`) in `folder`, a folder of this repository, or on the hub. `drawn`: splits whose problems
    are taken out of another split when the source is frozen, as {split: the other split}.
    """

    convert: Callable[[dict, str, str], Problem | str]
    splits: tuple[str, ...]
    hub: Hub | None = None
    folder: str = ""
    drawn: dict[str, str] = field(default_factory=dict)

    @property
    def tiny(self) -> bool:
        """Whether the source belongs to the tiny world, whose problems are compared with one another only."""
        return self.folder.startswith("data/tiny/")


_CONTESTS = Hub(
    "deepmind/code_contests",
    "802411c3010cb00d1b05bad57ca77365a3c699d6",
    columns=(*convert.CONTEST, *convert.SOLUTIONS),
)
_HUMANEVAL = Hub("openai/openai_humaneval", "7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544")
_MBPP = Hub("google-research-datasets/mbpp", "4bb6404fdc6cacfda99d4ac4205087b89d32030c", "full")
_CONTEST_SPLITS = ("train", "valid", "valid_big", "test")
_MBPP_SPLITS = ("prompt", "test", "validation", "train")

SOURCES = {
    "tiny_contests": Source(convert.contest, _CONTEST_SPLITS, folder="data/tiny/contests"),
    "tiny_humaneval": Source(convert.humaneval, ("test",), folder="data/tiny/humaneval"),
    "tiny_mbpp": Source(convert.mbpp, ("train", "test"), folder="data/tiny/mbpp"),
    "codecontests": Source(convert.contest, _CONTEST_SPLITS, _CONTESTS, drawn={"valid_big": "train"}),
    "humaneval": Source(convert.humaneval, ("test",), _HUMANEVAL),
    "mbpp": Source(convert.mbpp, _MBPP_SPLITS, _MBPP),
    "mbpp_sanitized": Source(convert.mbpp, _MBPP_SPLITS, replace(_MBPP, configuration="sanitized")),
    "mbpp_reg": Source(convert.mbpp, ("test",), _MBPP),
}


def known_split(source: str, split: str | None = None) -> str:
    """`split`, or the source's only split. Raises ValueError, naming the sources or splits that exist."""
    if source not in SOURCES:
        raise ValueError(f"no problem source {source!r}; there are: {', '.join(SOURCES)}")
    splits = SOURCES[source].splits
    if split is None and len(splits) == 1:
        return splits[0]
    if split not in splits:
        raise ValueError(f"{source} has no split {split!r}; it has: {', '.join(splits)}")
    return split


def load_problems(
    name: str,
    split: str | None = None,
    source: str | Path | None = None,
    *,
    solutions: bool = True,
    dev: bool = False,
    frozen: bool = True,
) -> Problems:
    """Loads the problems of a split, in the order of its rows. `.dropped` counts the rows left out, by reason.

    `name`: a key of SOURCES, such as tiny_contests, codecontests, humaneval, mbpp (all 974 tasks) or mbpp_reg (tasks 11
    to 210). `split` may be left out if there is only one. `source`: a local file of rows (.jsonl or .json, also .gz or
    .xz), or a folder in the hub's shape, read instead of the place in SOURCES. `solutions=False` leaves out the two
    columns that make up nine tenths of CodeContests. `dev`: only the fixed subset for frequent checks. `frozen=False`
    does not compare the rows with the manifest, for rows that have none.
    Raises ValueError for an unknown name or split and for rows of another schema, FileNotFoundError for a missing file,
    ConnectionError without the hub, ManifestError (a ValueError) if the rows differ from the manifest.
    """
    split = known_split(name, split)
    entries = manifest.read(name, split) if frozen else []
    drawn_from = SOURCES[name].drawn.get(split)
    if drawn_from and not frozen:
        raise ValueError(
            f"{name}, split {split}, is drawn from {drawn_from} by its manifest: it has no rows of its own"
        )
    problems = _convert(name, split, _rows(SOURCES[name], drawn_from or split, source, solutions), source)
    if not frozen:
        return problems
    if drawn_from:
        ids = {entry["id"] for entry in entries}
        problems = Problems((problem for problem in problems if problem.id in ids), problems.dropped)
    return manifest.keep_to(entries, problems, name, split, dev)


def _convert(name: str, split: str, rows: Iterator[dict], place: str | Path | None) -> Problems:
    problems: dict[str, Problem] = {}
    dropped: Counter[str] = Counter()
    for number, row in enumerate(rows, start=1):
        try:
            problem = SOURCES[name].convert(row, name, split)
        except (KeyError, TypeError, ValueError, IndexError, SyntaxError) as error:
            what = f"no column {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
            place = place or SOURCES[name].hub or SOURCES[name].folder
            raise ValueError(f"row {number} of {place}, split {split}, has not the schema of {name}: {what}") from error
        if isinstance(problem, str):
            dropped[problem] += 1
        elif problem.id in problems:
            dropped["its id was seen before"] += 1
        else:
            problems[problem.id] = problem
    return Problems(problems.values(), dropped)


def _rows(source: Source, split: str, place: str | Path | None, solutions: bool) -> Iterator[dict]:
    hub = source.hub
    if hub and not solutions:
        hub = replace(hub, columns=tuple(column for column in hub.columns if column not in convert.SOLUTIONS))
    if place is None and source.folder:
        folder = paths.root() / source.folder
        files = [folder / f"{split}.jsonl{suffix}" for suffix in (".xz", ".gz", "")]
        place = next((file for file in files if file.is_file()), files[0])
    if place is None:
        return hub_rows(hub, split)
    if hub and Path(place).is_dir():
        return folder_rows(Path(place), hub, split)
    rows = file_rows(Path(place))
    if solutions:
        return rows
    return ({column: value for column, value in row.items() if column not in convert.SOLUTIONS} for row in rows)
