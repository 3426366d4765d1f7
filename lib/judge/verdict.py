"""What the judge says of a program: the vocabulary that every other module shares."""

from dataclasses import dataclass

ERROR_TYPES = ("success", "wrong_answer", "syntax_error", "runtime_error", "timeout", "api_error")


@dataclass(frozen=True)
class TestResult:
    """How one test ended. `judge_time` in CPU seconds; `detail`: a short reason ("memory limit", "ValueError: ...")."""

    error_type: str
    judge_time: float = 0.0
    detail: str = ""
    got: str = ""

    __test__ = False  # not a test case of pytest


@dataclass(frozen=True)
class Verdict:
    """How a program did on all tests of a problem.

    `error_type` is `success` when every test passed; else that of the first test that did not run to its end
    (`syntax_error`, `timeout`, `runtime_error`), else `wrong_answer`. `api_error` means that the judge failed: such a
    verdict says nothing about the program and is never a score. `pass_ratio` = passed / total, in [0, 1]; tests that
    were not run because an earlier one stopped the submission count as not passed. `judge_time` in CPU seconds, all
    tests. Of a function problem, `total` and `tests` count cases: asserts, each judged by itself. `by_reference`: tests
    that handled objects which only the program's process can hold (of its own classes, say), so that two of them were
    compared by its code.
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
