"""Problems: one shape for every data set, real or tiny.

A `Problem` is plain data: no torch, no judge, no file handle. `load_problems(name, split)` is the one door to all sets.
Rows keep the schema of the hub's data sets; the tiny twins have the same one, so that the same converters serve both.
"""

import ast
import gzip
import json
import lzma
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.paths import root


@dataclass(frozen=True)
class Test:
    """One test of a problem.

    `stdio` problems: `input` is the whole standard input, `output` the expected standard output.
    `function` problems: `input` is Python source that is run after the program and raises when the program is wrong
    (an assert, or HumanEval's `check` and its call); `output` is empty.
    """

    input: str
    output: str = ""
    visibility: str = "private"  # public | private | generated

    __test__ = False  # not a test case of pytest


@dataclass(frozen=True)
class Problem:
    """One problem. Times in seconds of CPU, memory in MiB. `solutions`: correct by the set's word, not verified.
    `checker`: how outputs of stdio problems are compared, one of `lib.judge.compare.CHECKERS`."""

    id: str
    dataset: str
    split: str
    kind: str  # stdio | function
    prompt: str
    tests: tuple[Test, ...]
    entry_point: str | None = None
    time_limit: float = 2.0
    memory_limit: int = 256
    difficulty: str = ""
    tags: tuple[str, ...] = ()
    solutions: tuple[str, ...] = ()
    incorrect_solutions: tuple[str, ...] = ()
    checker: str = "tokens"


PYTHON3 = 3  # CodeContests' number of the language: 1 Python 2, 2 C++, 3 Python 3, 4 Java
FUNCTION_TIME_LIMIT, TINY_FUNCTION_TIME_LIMIT = 10.0, 1.0  # s; function sets name none. MBPP 123 needs 2 to 6 s
_DIFFICULTIES = ("", "easy", "medium", "hard", "harder", "hardest", "external", *"ABCDEFGHIJKLMNOPQRSTUV")


@dataclass(frozen=True)
class _Set:
    convert: Callable[[dict, str, str], Problem | None]
    splits: tuple[str, ...]
    tiny: str = ""  # folder under data/tiny
    hub: tuple[str, str | None, str] = ("", None, "")  # data set, configuration, revision


def load_problems(name: str, split: str | None = None, source: str | Path | None = None) -> list[Problem]:
    """The problems of a set, in the order of its rows.

    `name`: tiny_contests, tiny_humaneval, tiny_mbpp, codecontests, humaneval, mbpp (all 974 tasks) or mbpp_reg (tasks
    11 to 210). `split` may be left out where a set has one. `source`: a local file of rows (.jsonl, also .gz or .xz)
    instead of the set's own place: data/tiny for the tiny sets, the hub at a pinned revision for the others.
    Raises ValueError for an unknown name or split and for rows of another schema, FileNotFoundError for a missing file.
    """
    if name not in _SETS:
        raise ValueError(f"no problem set {name!r}; there are: {', '.join(_SETS)}")
    chosen = _SETS[name]
    if split is None and len(chosen.splits) == 1:
        split = chosen.splits[0]
    if split not in chosen.splits:
        raise ValueError(f"{name} has no split {split!r}; it has: {', '.join(chosen.splits)}")
    if source is None and chosen.tiny:
        source = root() / "data" / "tiny" / chosen.tiny / f"{split}.jsonl.xz"
    rows = _hub_rows(*chosen.hub, split) if source is None else _file_rows(Path(source))
    problems = []
    for number, row in enumerate(rows, start=1):
        try:
            problem = chosen.convert(row, name, split)
        except (KeyError, TypeError, ValueError, IndexError, SyntaxError) as error:
            what = f"no column {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
            place = source or f"{chosen.hub[0]}, split {split}"
            raise ValueError(f"row {number} of {place} has not the schema of {name}: {what}") from error
        if problem is not None:
            problems.append(problem)
    return problems


def _file_rows(path: Path) -> Iterator[dict]:
    if not path.is_file():
        hint = "; `make demo` or notebooks/00_tiny_world.ipynb writes it" if "tiny" in path.parts else ""
        raise FileNotFoundError(f"no file {path.name} in {path.parent}{hint}")
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opener(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise ValueError(f"line {number} of {path.name} is not JSON: {error}") from None


def _hub_rows(dataset: str, configuration: str | None, revision: str, split: str) -> Iterable[dict]:
    from datasets import load_dataset  # here, so that reading local files needs nothing beyond Python

    # Streaming: over 90 % of CodeContests is solutions in other languages, which the converter drops row by row.
    return load_dataset(dataset, configuration, split=split, revision=revision, streaming=True)


def _contest(row: dict, dataset: str, split: str) -> Problem | None:
    """A CodeContests row; None for the few problems that read and write named files instead of the standard streams."""
    if row["input_file"] or row["output_file"]:
        return None
    # Generated before private: the large inputs are among them, and a submission ends at its first time-out.
    tests = tuple(
        Test(text, output, visibility)
        for visibility in ("public", "generated", "private")
        for text, output in zip(row[f"{visibility}_tests"]["input"], row[f"{visibility}_tests"]["output"], strict=True)
    )
    limits = {}
    if row["time_limit"] is not None:
        limits["time_limit"] = row["time_limit"]["seconds"] + row["time_limit"]["nanos"] / 1e9
    if row["memory_limit_bytes"]:
        limits["memory_limit"] = row["memory_limit_bytes"] >> 20
    return Problem(
        id=row["name"],
        dataset=dataset,
        split=split,
        kind="stdio",
        prompt=row["description"],
        tests=tests,
        difficulty=_DIFFICULTIES[row["difficulty"]],
        tags=tuple(tag for tag in row["cf_tags"] if tag),
        solutions=_python3(row["solutions"]),
        incorrect_solutions=_python3(row["incorrect_solutions"]),
        **limits,
    )


def _python3(programs: dict) -> tuple[str, ...]:
    pairs = zip(programs["language"], programs["solution"], strict=True)
    return tuple(program for language, program in pairs if language == PYTHON3)


def _humaneval(row: dict, dataset: str, split: str) -> Problem:
    test = f"{_helpers(row)}{row['test']}\n\ncheck({row['entry_point']})\n"
    return Problem(
        id=row["task_id"],
        dataset=dataset,
        split=split,
        kind="function",
        prompt=row["prompt"],
        tests=(Test(test),),
        entry_point=row["entry_point"],
        time_limit=_function_time_limit(dataset),
        solutions=(row["prompt"] + row["canonical_solution"],),
    )


def _helpers(row: dict) -> str:
    """The functions that the tests call and only the prompt defines (HumanEval 32, 38, 50), as source.

    Their imports stay out: a program that forgets an import is wrong, whatever the prompt had imported.
    """
    called = {node.id for node in ast.walk(ast.parse(row["test"])) if isinstance(node, ast.Name)}
    return "".join(
        f"{ast.get_source_segment(row['prompt'], node)}\n\n"
        for node in ast.parse(row["prompt"]).body
        if isinstance(node, ast.FunctionDef) and node.name in called and node.name != row["entry_point"]
    )


def mbpp_prompt(text: str, tests: list[str]) -> str:
    """The usual MBPP prompt: the task in words, then its asserts."""
    return "\n".join([text, "Your code should pass these tests:", *tests])


def _mbpp(row: dict, dataset: str, split: str) -> Problem:
    # The set-up code belongs after the program: before it, tasks 367 and 927 fail with their own reference solutions.
    setup = f"{row['test_setup_code']}\n" if row["test_setup_code"] else ""
    return Problem(
        id=f"{dataset}/{row['task_id']}",
        dataset=dataset,
        split=split,
        kind="function",
        prompt=mbpp_prompt(row["text"], row["test_list"]),
        tests=tuple(Test(setup + test, visibility="public") for test in row["test_list"]),
        time_limit=_function_time_limit(dataset),
        solutions=(row["code"],),
    )


def _mbpp_reg(row: dict, dataset: str, split: str) -> Problem | None:
    return _mbpp(row, dataset, split) if 11 <= row["task_id"] <= 210 else None


def _function_time_limit(dataset: str) -> float:
    return TINY_FUNCTION_TIME_LIMIT if dataset.startswith("tiny_") else FUNCTION_TIME_LIMIT


_CONTESTS_HUB = ("deepmind/code_contests", None, "802411c3010cb00d1b05bad57ca77365a3c699d6")
_HUMANEVAL_HUB = ("openai/openai_humaneval", None, "7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544")
_MBPP_HUB = ("google-research-datasets/mbpp", "full", "4bb6404fdc6cacfda99d4ac4205087b89d32030c")
_SETS = {
    "tiny_contests": _Set(_contest, ("train", "valid", "valid_big", "test"), tiny="contests"),
    "tiny_humaneval": _Set(_humaneval, ("test",), tiny="humaneval"),
    "tiny_mbpp": _Set(_mbpp, ("train", "test"), tiny="mbpp"),
    "codecontests": _Set(_contest, ("train", "valid", "test"), hub=_CONTESTS_HUB),
    "humaneval": _Set(_humaneval, ("test",), hub=_HUMANEVAL_HUB),
    "mbpp": _Set(_mbpp, ("prompt", "test", "validation", "train"), hub=_MBPP_HUB),
    "mbpp_reg": _Set(_mbpp_reg, ("test",), hub=_MBPP_HUB),
}
