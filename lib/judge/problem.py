"""What programs are judged against: a problem and its tests, as plain data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Test:
    """One test of a problem.

    `stdio` problems: `input` is the whole standard input, `output` the expected standard output (the judge ends the
    last line of an input if the test does not). `function` problems: `input` is Python source that runs after the
    program and raises if the program is wrong (an assert, or HumanEval's `check` and its call); `output` is empty.
    """

    input: str
    output: str = ""
    visibility: str = "private"  # public | private | generated

    __test__ = False  # not a test case of pytest


@dataclass(frozen=True)
class Problem:
    """One problem. Times in CPU seconds, memory in MiB. `solutions`: correct according to the data set, not verified.
    `checker`: how outputs of stdio problems are compared, one of `host.compare.CHECKERS`."""

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
    checker: str = "auto"
