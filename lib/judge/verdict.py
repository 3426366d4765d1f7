"""The result of judging a program: the vocabulary that every other module shares."""

from dataclasses import dataclass

ERROR_TYPES = ("success", "wrong_answer", "syntax_error", "runtime_error", "timeout", "api_error")


@dataclass(frozen=True)
class TestResult:
    """How one test ended. `judge_time` in CPU seconds; `detail`: a short reason ("memory limit", "ValueError: ...");
    `got`: the beginning of the output, or what the last call returned."""

    error_type: str
    judge_time: float = 0.0
    detail: str = ""
    got: str = ""

    __test__ = False  # not a test case of pytest


@dataclass(frozen=True)
class Verdict:
    """How a program did on all tests of a problem.

    `error_type` is `success` if every test passed; else that of the first test that did not run to its end
    (`syntax_error`, `timeout`, `runtime_error`), else `wrong_answer`. `api_error` means that the judge failed: such a
    verdict says nothing about the program and is never a score.
    `pass_ratio` = passed / total, in [0, 1]. A submission ends at its first timeout; tests that did not run count as
    not passed. In a function problem, `total` and `tests` count cases: each assert is judged on its own.
    `judge_time`: CPU seconds of all tests. `by_reference`: number of function tests that used objects which only the
    program's process can hold (instances of its classes, for example): the program's code compares two of those.
    """

    accepted: bool
    pass_ratio: float
    error_type: str
    passed: int
    total: int
    judge_time: float
    tests: tuple[TestResult, ...] = ()
    feedback: str = ""
    by_reference: int = 0
