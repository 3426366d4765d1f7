"""Problems: one shape for every data set, real or tiny.

A `Problem` is plain data: no torch, no judge, no file handle. `load_problems(name, split)` is the one door to all sets.
"""

from dataclasses import dataclass


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
    """One problem. Times in seconds of CPU, memory in MiB. `solutions` are labelled correct by the set, not verified."""

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
