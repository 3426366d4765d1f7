"""The sets, their splits and roles, and the door to all of them."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lib.judge.problem import Problem
from lib.problems import convert, manifest
from lib.problems.problems import Problems
from lib.problems.rows import Hub, file_rows, folder_rows, hub_rows
from lib.runs.paths import root


@dataclass(frozen=True)
class ProblemSet:
    """Where a set comes from and what its splits may be used for. `drawn`: splits taken out of another by manifest."""

    convert: Callable[[dict, str, str], Problem | str]
    roles: dict[str, str]  # split -> role
    hub: Hub | None = None
    tiny: str = ""  # folder under data/tiny
    drawn: tuple[tuple[str, str], ...] = ()


_CONTESTS = Hub(
    "deepmind/code_contests",
    "802411c3010cb00d1b05bad57ca77365a3c699d6",
    columns=(*convert.CONTEST, *convert.SOLUTIONS),
)
_HUMANEVAL = Hub("openai/openai_humaneval", "7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544")
_MBPP = Hub("google-research-datasets/mbpp", "4bb6404fdc6cacfda99d4ac4205087b89d32030c", "full")
_CONTEST_ROLES = {"train": "train", "valid": "select", "valid_big": "select", "test": "test"}
_MBPP_ROLES = {"prompt": "train", "test": "monitor", "validation": "select", "train": "train"}

SETS = {
    "tiny_contests": ProblemSet(convert.contest, _CONTEST_ROLES, tiny="contests"),
    "tiny_humaneval": ProblemSet(convert.humaneval, {"test": "test"}, tiny="humaneval"),
    "tiny_mbpp": ProblemSet(convert.mbpp, {"train": "train", "test": "monitor"}, tiny="mbpp"),
    "codecontests": ProblemSet(convert.contest, _CONTEST_ROLES, _CONTESTS, drawn=(("valid_big", "train"),)),
    "humaneval": ProblemSet(convert.humaneval, {"test": "test"}, _HUMANEVAL),
    "mbpp": ProblemSet(convert.mbpp, _MBPP_ROLES, _MBPP),
    "mbpp_sanitized": ProblemSet(convert.mbpp, _MBPP_ROLES, replace(_MBPP, configuration="sanitized")),
    "mbpp_reg": ProblemSet(convert.mbpp, {"test": "monitor"}, _MBPP),
}


def role_of(name: str, split: str | None = None) -> str:
    """The role of a set's split: train, select, monitor or test. Raises ValueError for unknown ones."""
    split = known_split(name, split)
    return SETS[name].roles[split]


def known_split(name: str, split: str | None = None) -> str:
    """`split`, or the only one that the set has. Raises ValueError, naming those that there are."""
    if name not in SETS:
        raise ValueError(f"no problem set {name!r}; there are: {', '.join(SETS)}")
    splits = list(SETS[name].roles)
    if split is None and len(splits) == 1:
        return splits[0]
    if split not in splits:
        raise ValueError(f"{name} has no split {split!r}; it has: {', '.join(splits)}")
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
    """The problems of a set, in the order of its rows; what its manifest removes, and what can't be used, is counted.

    `name`: tiny_contests, tiny_humaneval, tiny_mbpp, codecontests, humaneval, mbpp (all 974 tasks), mbpp_sanitized or
    mbpp_reg (tasks 11 to 210). `split` may be left out where a set has one. `source`: a local file of rows (.jsonl or
    .json, also .gz or .xz) or a folder in the hub's shape, instead of the set's own place: data/tiny for the tiny sets,
    the hub at a pinned revision for the others. `solutions`: False leaves the columns of CodeContests out that are nine
    tenths of it. `dev`: only the fixed subset for frequent checks. `frozen`: False takes the rows as they are, where
    there is no manifest to hold them against.
    Raises ValueError for an unknown name or split and for rows of another schema, FileNotFoundError for a missing file,
    ConnectionError without the hub, ManifestError (a ValueError) for a set that is not what was frozen.
    """
    split = known_split(name, split)
    entries = manifest.read(name, split) if frozen else []
    drawn_from = dict(SETS[name].drawn).get(split)
    if drawn_from and not frozen:
        raise ValueError(f"{name}, split {split}, is drawn from {drawn_from} by its manifest: there are no rows of it")
    problems = _convert(name, split, _rows(SETS[name], drawn_from or split, source, solutions), source)
    if not frozen:
        return problems
    if drawn_from:
        ids = {one["id"] for one in entries}
        problems = Problems((problem for problem in problems if problem.id in ids), problems.dropped)
    return manifest.keep_to(entries, problems, name, split, dev)


def _convert(name: str, split: str, rows: Iterator[dict], source: str | Path | None) -> Problems:
    found: dict[str, Problem] = {}
    dropped: Counter[str] = Counter()
    for number, row in enumerate(rows, start=1):
        try:
            problem = SETS[name].convert(row, name, split)
        except (KeyError, TypeError, ValueError, IndexError, SyntaxError) as error:
            what = f"no column {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
            place = source or SETS[name].hub or f"data/tiny/{SETS[name].tiny}"
            raise ValueError(f"row {number} of {place}, split {split}, has not the schema of {name}: {what}") from error
        if isinstance(problem, str):
            dropped[problem] += 1
        elif problem.id in found:
            dropped["its id was seen before"] += 1
        else:
            found[problem.id] = problem
    return Problems(found.values(), dropped)


def _rows(chosen: ProblemSet, split: str, source: str | Path | None, solutions: bool) -> Iterator[dict]:
    hub = chosen.hub
    if hub and not solutions:
        hub = replace(hub, columns=tuple(column for column in hub.columns if column not in convert.SOLUTIONS))
    if source is None and chosen.tiny:
        source = root() / "data" / "tiny" / chosen.tiny / f"{split}.jsonl.xz"
    if source is None:
        return hub_rows(hub, split)
    if hub and Path(source).is_dir():
        return folder_rows(Path(source), hub, split)
    rows = file_rows(Path(source))
    if solutions:
        return rows
    return ({column: value for column, value in row.items() if column not in convert.SOLUTIONS} for row in rows)
