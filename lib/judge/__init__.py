"""The judge: runs programs on a problem's tests in a sandbox and returns verdicts. Self-contained.

    from lib.judge import Judge
    with Judge(workers=2) as judge:
        verdict = judge.judge(program, problem)
        verdicts = judge.judge_many([(program, problem), ...])  # in the order of the pairs

README.md in this folder explains the design, the verdicts, and what the sandbox does not protect against.
"""

from .conformance.selftest import SelfTestError, require_self_test
from .errors import IsolationError, ServerError
from .judge import Judge
from .problem import Problem, Test
from .verdict import ERROR_TYPES, TestResult, Verdict

__all__ = [
    "ERROR_TYPES",
    "IsolationError",
    "Judge",
    "Problem",
    "SelfTestError",
    "ServerError",
    "Test",
    "TestResult",
    "Verdict",
    "require_self_test",
]
