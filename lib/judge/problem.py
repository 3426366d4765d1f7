"""What the judge judges against: a problem and its tests, as plain data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Test:
    """One test of a problem.

    `stdio` problems: `input` is the whole standard input, `output` the expected standard output (an input without a
    final newline gets one from the judge). `function` problems: `input` is Python source that is run after the program
    and raises when the program is wrong (an assert, or HumanEval's `check` and its call); `output` is empty.
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
