"""From a sandbox's reports to results, verdicts and feedback. Pure functions.

Feedback is what policies read and learn from: do not reword it.
"""

import re
import signal
import sysconfig

from ..problem import Problem
from ..verdict import TestResult, Verdict
from .compare import Rule

DETAIL_LENGTH, VALUE_LENGTH, FEEDBACK_LENGTH = 200, 300, 2000  # characters
_LIBRARY = sysconfig.get_path("stdlib")
_PROGRAM_LINE = re.compile(r'^  File "program\.py", line (\d+)(?:, in .*)?$')
_FRAME = re.compile(r'^[ |]*File "([^"]*)", line \d+')
_SHOWN = re.compile(r"(program|tests|prompt)\.py$|<|python/|/packages/")  # files of frames that feedback may name
_LIMITS = {  # beginning of an exception -> the limit that causes it
    "BlockingIOError: [Errno 11]": "process limit",
    "MemoryError": "memory limit",
    "OSError: [Errno 24]": "open files limit",
    "OSError: [Errno 27]": "output limit",
    "RuntimeError: can't start new thread": "thread limit",
}
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(:|$)")
_ENDINGS = {"passed": "success", "failed": "wrong_answer", "raised": "runtime_error"}


def quick_result(
    report: dict, output: bytes, expected: bytes, problem: Problem, is_right: Rule, final: bool
) -> TestResult | None:
    """The result of a test in the quick pass, or None if the test must run again alone. A success always counts, a
    failure if it is `final`: if the program can carry nothing from test to test."""
    report = {"killed": "", "compiled": True, "memory": 0, **report}
    result = stdio_result(report, output, expected, problem, is_right, len(output) + 1)
    counts = result.error_type == "success" or (final and independent_of_earlier_tests(result))
    return result if counts else None


def independent_of_earlier_tests(failure: TestResult) -> bool:
    """Whether a failure does not depend on what ran before in the same process. Memory and recursion depth do."""
    return not failure.detail.startswith(("memory limit", "RecursionError"))


def stdio_result(
    report: dict, output: bytes, expected: bytes, problem: Problem, is_right: Rule, output_limit: int
) -> TestResult:
    """The result of one run of a stdio program."""
    status = report["exit"]
    last_line = _last_line(report["stderr"]) if status else ""
    limit = _limit_name(last_line) if status else ""
    out_of_memory = report["memory"] > problem.memory_limit << 20
    if ending := _no_regular_end(report, report["compiled"], out_of_memory):
        error_type, detail = ending
    elif status == 1 and limit == "memory limit":
        error_type, detail = "runtime_error", limit
    elif report["size"] >= output_limit:
        error_type, detail = "runtime_error", "output limit"
    elif status != 0:
        explained = status == 1 and _EXCEPTION.match(last_line)
        error_type, detail = "runtime_error", limit if explained else _exit_text(status)
    else:
        error_type, detail = "success" if is_right(output, expected) else "wrong_answer", ""
    shown = output[: VALUE_LENGTH * 4].decode("utf-8", "replace")[:VALUE_LENGTH]
    return TestResult(error_type, float(report["cpu"]), detail[:DETAIL_LENGTH], shown)


def case_results(records: list, cases: range, report: dict, problem: Problem, cpu: float) -> dict[int, tuple]:
    """The (result, traceback) of each of these cases of a function test, up to the case in which the program ended.

    `records`: of this test, as `tester` writes them; `report`: on both processes; `cpu`: seconds per case.
    """
    results, around = {}, None
    for record in records:
        if isinstance(record[1], int):
            _, case, ending, detail, value, traceback = record
            detail = _limit_name(detail)[:DETAIL_LENGTH]
            result = TestResult(_ENDINGS[ending], cpu, detail, value[:VALUE_LENGTH])
            if case < 0:
                around = result, traceback  # raised by the code around the cases
            else:
                results[case] = result, traceback
    complete = bool(records) and records[-1][1] == "end"
    out_of_memory = report["memory"] > problem.memory_limit << 20
    if out_of_memory or not complete:
        ending = _program_ended(report, out_of_memory, cpu), report["stderr"]
        if not records or out_of_memory:
            return dict.fromkeys(cases, ending)
        results[min((case for case in cases if case not in results), default=cases[-1])] = ending
        return results
    if around is not None and len(results) == len(cases):
        results[cases[-1]] = around
    return {case: results.get(case) or around or (TestResult("success", cpu), "") for case in cases}


def _program_ended(report: dict, out_of_memory: bool, cpu: float) -> TestResult:
    """The result of a program that ended, or was ended, before its tests did."""
    last_line = _last_line(report["stderr"]) if report["exit"] == 1 else ""
    explained = _limit_name(last_line) if _EXCEPTION.match(last_line) else ""
    out_of_memory = out_of_memory or explained == "memory limit"
    how = "it cut the connection" if report["exit"] is None else _exit_text(report["exit"])
    left_early = "runtime_error", explained or f"left before the test ended: {how}"
    ending = _no_regular_end(report, report["how"].startswith("compiled"), out_of_memory)
    error_type, detail = ending or left_early
    return TestResult(error_type, cpu, detail[:DETAIL_LENGTH])


def _no_regular_end(report: dict, compiled: bool, out_of_memory: bool) -> tuple[str, str] | None:
    """Error type and detail of a program that met the memory or time limit or was not compiled, else None."""
    if out_of_memory:  # before the time limit: it was exceeded first
        return "runtime_error" if compiled else "syntax_error", "memory limit"
    if report["killed"]:
        detail = "time limit" if report["killed"] == "cpu" else "wall-clock limit (asleep or waiting)"
        return "timeout", detail + ("" if compiled else " while compiling")
    if not compiled:
        return "syntax_error", _last_line(report["stderr"]) or f"the compiler ended: {_exit_text(report['exit'] or 0)}"
    return None


def verdict(
    results: list[tuple[int, TestResult, str]], problem: Problem, program: str, total: int, by_reference: int = 0
) -> Verdict:
    """The verdict on ordered results, each (number of its test, result, its stderr). Of `total` tests or cases, those
    without a result count as not passed."""
    tests = tuple(result for _, result, _ in results)
    passed = sum(result.error_type == "success" for result in tests)
    failures = [result.error_type for result in tests if result.error_type != "success"]
    not_ended = [error_type for error_type in failures if error_type != "wrong_answer"]
    return Verdict(
        accepted=passed == total,
        pass_ratio=passed / total,
        error_type=(not_ended or failures or ["success"])[0],
        passed=passed,
        total=total,
        judge_time=sum(result.judge_time for result in tests),
        tests=tests,
        feedback="" if passed == total else _feedback(results, problem, program),
        by_reference=by_reference,
    )


def failed_judge(problem: Problem, reason: str) -> Verdict:
    """The verdict that says nothing about the program."""
    return Verdict(False, 0.0, "api_error", 0, len(problem.tests), 0.0, feedback=f"The judge failed: {reason}")


def _feedback(results: list[tuple[int, TestResult, str]], problem: Problem, program: str) -> str:
    """What a person or a model may read: a failing public test in full; of a hidden test, only how it ended."""
    number, result, stderr = next(row for row in results if row[1].error_type != "success")
    test = problem.tests[number]
    traceback = with_source_lines(stderr, program)
    if result.error_type == "syntax_error":
        return (traceback or result.detail)[-FEEDBACK_LENGTH:]
    ending = result.error_type.replace("_", " ")
    if test.visibility != "public":
        kind = result.detail.split(":")[0]
        return f"A hidden test ended in: {ending}" + (f" ({kind})" if kind and ending != "wrong answer" else "")
    in_traceback = bool(result.detail) and _last_line(stderr) == result.detail
    reason = f" ({result.detail})" if result.detail and not in_traceback and result.detail != "AssertionError" else ""
    parts = [f"Test {number + 1} ended in: {ending}{reason}"]
    if problem.kind == "function":
        parts.append(f"Test:\n{test.input[:VALUE_LENGTH]}")
        if result.got:
            parts.append(f"The last call returned: {result.got}")
    else:
        parts += [f"Input:\n{test.input[:VALUE_LENGTH]}", f"Expected output:\n{test.output[:VALUE_LENGTH]}"]
        parts.append(f"Output:\n{result.got}")
    if in_traceback and result.error_type != "wrong_answer":
        parts.append(traceback[-FEEDBACK_LENGTH // 2 :])
    return "\n".join(part.rstrip("\n") for part in parts)[:FEEDBACK_LENGTH]


def with_source_lines(stderr: str, program: str) -> str:
    """A traceback of the sandbox, where the program is not a file: with its lines, without this machine's paths and the
    judge's own frames, which exceptions chained to one of the program may have."""
    source, lines, hidden = program.splitlines(), [], False
    for line in stderr.replace(_LIBRARY, "python").splitlines():
        if frame := _FRAME.match(line):
            hidden = not _SHOWN.match(frame[1])
        elif not line.lstrip(" |").startswith(("^", "~")) and not line.startswith("    "):
            hidden = False
        if hidden:
            continue
        lines.append(line)
        if (place := _PROGRAM_LINE.match(line)) and ", in " in line and int(place[1]) <= len(source):
            lines.append(f"    {source[int(place[1]) - 1].strip()}")
    return "\n".join(lines)


def _last_line(stderr: str) -> str:
    return next((line.strip() for line in reversed(stderr.splitlines()) if line.strip()), "")


def _limit_name(exception: str) -> str:
    """The name of the limit that caused this exception (the last line of a traceback), else the line itself."""
    return next((limit for beginning, limit in _LIMITS.items() if exception.startswith(beginning)), exception)


def _exit_text(status: int) -> str:
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
