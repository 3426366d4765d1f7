"""From what a sandbox reports to results, verdicts and feedback. Pure functions."""

import re
import signal
import sysconfig

from lib.judge.compare import CHECKERS
from lib.judge.problem import Problem
from lib.judge.verdict import TestResult, Verdict

DETAIL_LENGTH, SHOWN_LENGTH, FEEDBACK_LENGTH = 200, 300, 2000  # characters
_LIBRARY = sysconfig.get_path("stdlib")
_PROGRAM_LINE = re.compile(r'^  File "program\.py", line (\d+)(?:, in .*)?$')
_LIMITS = {  # how an exception that a limit has caused begins
    "BlockingIOError: [Errno 11]": "process limit",
    "MemoryError": "memory limit",
    "OSError: [Errno 24]": "open files limit",
    "OSError: [Errno 27]": "output limit",
    "RuntimeError: can't start new thread": "thread limit",
}
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(:|$)")


def quick_result(report: dict, output: bytes, expected: bytes, problem: Problem, final: bool) -> TestResult | None:
    """The result of a test that ended in the quick pass, if that settles it. A success always does, a failure if it is
    `final`: if the program can carry nothing from test to test. Memory and recursion depth are never the same there."""
    report = {"killed": "", "compiled": True, "memory": 0, **report}
    result = alone_result(report, output, expected, problem, len(output) + 1)
    if result.error_type == "success":
        return result
    return result if final and settles(result) else None


def settles(failure: TestResult) -> bool:
    """Whether a failure is none of those that depend on what ran before in the same process."""
    return not failure.detail.startswith(("memory limit", "RecursionError"))


def case_results(records: list, cases: range, ran: dict, problem: Problem, cpu: float) -> dict[int, tuple]:
    """The (result, traceback) of each of these cases of a function test, up to the one at which the program ended.

    `records`: of this test, as `tester` writes them; `ran`: the report on both processes; `cpu`: seconds a case.
    """
    found, outside = {}, None
    for record in records:
        if isinstance(record[1], int):
            _, case, ending, detail, value, traceback = record
            error_type = {"passed": "success", "failed": "wrong_answer", "raised": "runtime_error"}[ending]
            result = TestResult(error_type, cpu, _named(detail)[:DETAIL_LENGTH], value[:SHOWN_LENGTH])
            if case < 0:
                outside = result, traceback
            else:
                found[case] = result, traceback
    complete = bool(records) and records[-1][1] == "end"
    if ran["memory"] > problem.memory_limit << 20 or not complete:
        ending = _program_ended(ran, problem, cpu), ran["stderr"]
        if not records or ran["memory"] > problem.memory_limit << 20:
            return dict.fromkeys(cases, ending)
        found[min((case for case in cases if case not in found), default=cases[-1])] = ending
        return found
    if outside is not None and len(found) == len(cases):
        found[cases[-1]] = outside
    return {case: found.get(case) or outside or (TestResult("success", cpu), "") for case in cases}


def _program_ended(ran: dict, problem: Problem, cpu: float) -> TestResult:
    """How a program did that ended, or was ended, before its tests did."""
    explained = _last_line(ran["stderr"]) if ran["exit"] == 1 else ""
    explained = _named(explained) if _EXCEPTION.match(explained) else ""
    compiled = ran["how"].startswith("compiled")
    if ran["memory"] > problem.memory_limit << 20 or explained == "memory limit":
        error_type, detail = "runtime_error" if compiled else "syntax_error", "memory limit"
    elif ran["killed"]:
        detail = "time limit" if ran["killed"] == "cpu" else "wall-clock limit (asleep or waiting)"
        error_type, detail = "timeout", detail + ("" if compiled else " while compiling")
    elif not compiled:
        detail = _last_line(ran["stderr"]) or f"the compiler ended: {_ending(ran['exit'] or 0)}"
        error_type = "syntax_error"
    else:
        how = "it cut the connection" if ran["exit"] is None else _ending(ran["exit"])
        error_type, detail = "runtime_error", explained or f"left before the test ended: {how}"
    return TestResult(error_type, cpu, detail[:DETAIL_LENGTH])


def alone_result(header: dict, output: bytes, expected: bytes, problem: Problem, output_limit: int) -> TestResult:
    """The result of a test that ran in a child of its own."""
    last_line = _last_line(header["stderr"])

    def result(error_type: str, detail: str = "") -> TestResult:
        return TestResult(error_type, float(header["cpu"]), detail[:DETAIL_LENGTH], _shown(output))

    if header["memory"] > problem.memory_limit << 20:  # before the time limit: what was exceeded first
        return result("runtime_error" if header["compiled"] else "syntax_error", "memory limit")
    if header["killed"]:
        what = "" if header["compiled"] else " while compiling"
        reason = "time limit" if header["killed"] == "cpu" else "wall-clock limit (asleep or waiting)"
        return result("timeout", reason + what)
    if not header["compiled"]:
        return result("syntax_error", last_line or f"the compiler ended: {_ending(header['exit'])}")
    limit = _named(last_line)
    if header["exit"] == 1 and limit == "memory limit":
        return result("runtime_error", limit)
    if header["size"] >= output_limit:
        return result("runtime_error", "output limit")
    if header["exit"] != 0:
        explained = header["exit"] == 1 and _EXCEPTION.match(last_line)
        return result("runtime_error", limit if explained else _ending(header["exit"]))
    return result("success" if CHECKERS[problem.checker](output, expected) else "wrong_answer")


def verdict(
    results: list[tuple[int, TestResult, str]], problem: Problem, program: str, total: int, by_reference: int = 0
) -> Verdict:
    """The verdict over results, each (number of its test, result, what it wrote to stderr), in order; of `total` tests
    or cases those without one count as not passed."""
    made = [result for _, result, _ in results]
    passed = sum(result.error_type == "success" for result in made)
    failures = [result.error_type for result in made if result.error_type != "success"]
    broken = [error_type for error_type in failures if error_type != "wrong_answer"]
    return Verdict(
        accepted=passed == total,
        pass_ratio=passed / total,
        error_type=(broken or failures or ["success"])[0],
        passed=passed,
        total=total,
        judge_time=sum(result.judge_time for result in made),
        tests=tuple(made),
        feedback="" if passed == total else _feedback(results, problem, program),
        by_reference=by_reference,
    )


def failed_judge(problem: Problem, reason: str) -> Verdict:
    """The verdict that says nothing about the program."""
    total = len(problem.tests)
    return Verdict(False, 0.0, "api_error", 0, total, 0.0, feedback=f"The judge failed: {reason}")


def _feedback(results: list[tuple[int, TestResult, str]], problem: Problem, program: str) -> str:
    """What a person or a model may be told: a failing public test in full; of a hidden one, only how it ended."""
    number, result, stderr = next(found for found in results if found[1].error_type != "success")
    test = problem.tests[number]
    traceback = with_source_lines(stderr, program)
    if result.error_type == "syntax_error":
        return (traceback or result.detail)[-FEEDBACK_LENGTH:]
    ending = result.error_type.replace("_", " ")
    if test.visibility != "public":
        kind = result.detail.split(":")[0]
        return f"A hidden test ended in: {ending}" + (f" ({kind})" if kind and ending != "wrong answer" else "")
    explained = bool(result.detail) and _last_line(stderr) == result.detail
    shown = f" ({result.detail})" if result.detail and not explained and result.detail != "AssertionError" else ""
    parts = [f"Test {number + 1} ended in: {ending}{shown}"]
    if problem.kind == "function":
        parts.append(f"Test:\n{test.input[:SHOWN_LENGTH]}")
        if result.got:
            parts.append(f"The last call returned: {result.got}")
    else:
        parts += [f"Input:\n{test.input[:SHOWN_LENGTH]}", f"Expected output:\n{test.output[:SHOWN_LENGTH]}"]
        parts.append(f"Output:\n{result.got}")
    if explained and result.error_type != "wrong_answer":
        parts.append(traceback[-FEEDBACK_LENGTH // 2 :])
    return "\n".join(part.rstrip("\n") for part in parts)[:FEEDBACK_LENGTH]


def with_source_lines(stderr: str, program: str) -> str:
    """A traceback of the sandbox, where the program is no file: with its lines, without the machine's paths."""
    lines = program.splitlines()
    shown = []
    for line in stderr.replace(_LIBRARY, "python").splitlines():
        shown.append(line)
        if (place := _PROGRAM_LINE.match(line)) and ", in " in line and int(place[1]) <= len(lines):
            shown.append(f"    {lines[int(place[1]) - 1].strip()}")
    return "\n".join(shown)


def _shown(output: bytes) -> str:
    return output[: SHOWN_LENGTH * 4].decode("utf-8", "replace")[:SHOWN_LENGTH]


def _last_line(stderr: str) -> str:
    return next((line.strip() for line in reversed(stderr.splitlines()) if line.strip()), "")


def _named(exception: str) -> str:
    """The name of the limit that the last line of a traceback tells of, else the line."""
    return next((limit for beginning, limit in _LIMITS.items() if exception.startswith(beginning)), exception)


def _ending(status: int) -> str:
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
