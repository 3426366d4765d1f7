"""Sources: where the rows of each problem set come from, and `load_problems`, which reads them.

To add a source, write a row converter (see `lib.problems.convert`) and an entry of SOURCES. The presets say what a
source is used for; see `lib.problems.roles`.
"""

import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from lib.judge.problem import Problem
from lib.problems import convert, manifest
from lib.problems.manifest import Problems
from lib.problems.rows import Hub, file_rows, folder_rows, hub_cache, hub_rows
from lib.runs import paths


@dataclass(frozen=True)
class Source:
    """Where rows come from and how they become problems.

    `convert(row, source, split)` returns a problem, or the reason for excluding the row. Rows lie on the hub, or in
    `<split>.jsonl` (also .gz or .xz) in `folder`, relative to the repository. `drawn`: splits whose problems are taken
    out of another split when the source is frozen, as {split: the other split}. `hub_splits`: splits that have another
    name on the hub.
    """

    convert: Callable[[dict, str, str], Problem | str]
    splits: tuple[str, ...]
    hub: Hub | None = None
    folder: str = ""
    drawn: dict[str, str] = field(default_factory=dict)
    hub_splits: dict[str, str] = field(default_factory=dict)

    @property
    def tiny(self) -> bool:
        """Whether the source belongs to the tiny world, whose problems are compared with one another only."""
        return self.folder.startswith("data/tiny/")

    def rows(self, split: str, place: str | Path | None = None) -> Iterator[dict]:
        """The rows of a split; `place`: a file, or a folder in the hub's shape, to read instead of the usual place."""
        if place is None and self.folder:
            files = [paths.root() / self.folder / f"{split}.jsonl{suffix}" for suffix in (".xz", ".gz", "")]
            place = next((file for file in files if file.is_file()), files[0])
        of_hub = self.hub_splits.get(split, split)
        if self.hub and place is None:
            return hub_rows(self.hub, of_hub)
        path = Path(place or "")
        return folder_rows(path, self.hub, of_hub) if self.hub and path.is_dir() else file_rows(path)

    def missing_rows(self, split: str, place: str | Path | None = None) -> str:
        """Where the rows of a split should be and are not; empty if they are there."""
        if self.hub and place is None:
            split = self.drawn.get(split, split)
            there = hub_cache(self.hub, self.hub_splits.get(split, split)).is_file()
            return "" if there else f"{self.hub.dataset} on the hub"
        files = [Path(place)] if place else [*(paths.root() / self.folder).glob(f"{split}.jsonl*")]
        return "" if any(file.exists() for file in files) else str(place or f"{self.folder}/{split}.jsonl")


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
    "mbpp_one": Source(convert.mbpp, _CONTEST_SPLITS, _MBPP, hub_splits={"valid": "validation", "valid_big": "test"}),
}
PLACES = "RLVR_ROWS"  # variable of the environment: RLVR_ROWS="mbpp_one=/rows/mbpp.jsonl humaneval=hub"


def given_place(source: str, preset: str = "") -> Path | None:
    """Where the rows of a source are read from, by the variable RLVR_ROWS or else by its preset: a file or folder,
    relative to the repository; None for the usual place, which `hub` means too.

    Raises ValueError if RLVR_ROWS names an unknown source.
    """
    given = dict(word.partition("=")[::2] for word in shlex.split(os.environ.get(PLACES, "")))
    if unknown := sorted(given.keys() - SOURCES.keys()):
        raise ValueError(f"{PLACES} names an unknown problem source {unknown[0]!r}; choose one of {', '.join(SOURCES)}")
    place = given.get(source, preset)
    return None if place in ("", "hub") else paths.root() / place


def known_split(source: str, split: str | None = None) -> str:
    """`split`, or the source's only split. Raises ValueError, naming the sources or splits that exist."""
    if source not in SOURCES:
        raise ValueError(f"unknown problem source {source!r}; choose one of {', '.join(SOURCES)}")
    splits = SOURCES[source].splits
    if split is None and len(splits) == 1:
        return splits[0]
    if split not in splits:
        raise ValueError(f"{source} has no split {split!r}; it has: {', '.join(splits)}")
    return split


def load_problems(
    name: str, split: str | None = None, source: str | Path | None = None, *, dev: bool = False, frozen: bool = True
) -> Problems:
    """Loads the problems of a split, in the order of its rows. `.dropped` counts the excluded rows, by reason.

    `name`: a key of SOURCES, such as tiny_contests, codecontests, humaneval, mbpp (all 974 tasks) or mbpp_reg (tasks 11
    to 210). `split` may be omitted if there is only one. `source`: a local file of rows (.jsonl or .json, also .gz or
    .xz), or a folder in the hub's shape, read instead of the place in SOURCES; by default the one that the variable
    RLVR_ROWS names. `dev`: the fixed subset for frequent checks. `frozen=False` does not compare the rows with the
    manifest, for rows that have none.
    Raises ValueError for an unknown name or split and for rows of another schema, FileNotFoundError for a missing
    file, ConnectionError without the hub, ManifestError (a ValueError) for rows that changed.
    """
    split, source = known_split(name, split), source or given_place(name)
    entries = manifest.read(name, split) if frozen else []
    origin = SOURCES[name].drawn.get(split)
    if origin and not frozen:
        raise ValueError(f"{name}, split {split}, is drawn from {origin} by its manifest: it has no rows of its own")
    problems = _convert(name, split, SOURCES[name].rows(origin or split, source), source)
    if origin:
        ids = {entry["id"] for entry in entries}
        problems = Problems((problem for problem in problems if problem.id in ids), problems.dropped)
    return manifest.keep_to(entries, problems, name, split, dev) if frozen else problems


def _convert(name: str, split: str, rows: Iterator[dict], place: str | Path | None) -> Problems:
    problems: dict[str, Problem] = {}
    dropped: Counter[str] = Counter()
    for number, row in enumerate(rows, start=1):
        try:
            problem = SOURCES[name].convert(row, name, split)
            reason = problem if isinstance(problem, str) else convert.unusable(problem)
        except (LookupError, TypeError, AttributeError, ValueError, SyntaxError, ArithmeticError) as error:
            what = f"no column {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
            at = place or SOURCES[name].hub or SOURCES[name].folder
            raise ValueError(f"row {number} of {at}, split {split}, violates the schema of {name}: {what}") from error
        if isinstance(problem, str) or reason:
            dropped[reason] += 1
        elif problem.id in problems:
            dropped["its id was seen before"] += 1
        else:
            problems[problem.id] = problem
    return Problems(problems.values(), dropped)
