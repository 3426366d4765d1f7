"""From what a sandbox reports to results, verdicts and feedback. Pure functions."""

import re
import signal
import sysconfig

from lib.judge.compare import same_tokens
from lib.judge.verdict import TestResult, Verdict
from lib.problems import Problem

DETAIL_LENGTH, SHOWN_LENGTH, FEEDBACK_LENGTH = 200, 300, 2000  # characters
_LIBRARY = sysconfig.get_path("stdlib")
_PROGRAM_LINE = re.compile(r'^  File "program\.py", line (\d+)(?:, in .*)?$')
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(:|$)")


def quick_result(report: dict, output: bytes, expected: bytes, problem: Problem, final: bool) -> TestResult | None:
    """The result of a test that ended in the quick pass, if that settles it. A success always does, a failure if it is
    `final`: if the program can carry nothing from test to test. Memory and recursion depth are never the same there."""
    report = {"killed": "", "compiled": True, "memory": 0, **report}
    result = alone_result(report, output, expected, problem, len(output) + 1)
    if result.error_type == "success":
        return result
    return result if final and not result.detail.startswith(("memory limit", "RecursionError")) else None


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
    if header["exit"] == 1 and last_line.startswith("MemoryError"):
        return result("runtime_error", "memory limit")
    if header["size"] >= output_limit:
        return result("runtime_error", "output limit")
    if problem.kind == "function":
        if header["finished"]:
            return result("success")
        if header["assertion"]:
            return result("wrong_answer", last_line)
        if header["exit"] == 1 and _EXCEPTION.match(last_line):
            return result("runtime_error", last_line)
        return result("runtime_error", f"left before the test ended: {_ending(header['exit'])}")
    if header["exit"] != 0:
        explained = header["exit"] == 1 and _EXCEPTION.match(last_line)
        return result("runtime_error", last_line if explained else _ending(header["exit"]))
    return result("success" if same_tokens(output, expected) else "wrong_answer")


def verdict(results: list[TestResult], problem: Problem, program: str, stderr: str) -> Verdict:
    """The verdict over the results of the problem's first tests, in order; tests without one count as not passed.

    `stderr`: of the first test that did not pass.
    """
    total = len(problem.tests)
    passed = sum(result.error_type == "success" for result in results)
    failures = [result.error_type for result in results if result.error_type != "success"]
    broken = [error_type for error_type in failures if error_type != "wrong_answer"]
    return Verdict(
        accepted=passed == total,
        pass_ratio=passed / total,
        error_type=(broken or failures or ["success"])[0],
        passed=passed,
        total=total,
        judge_time=sum(result.judge_time for result in results),
        tests=tuple(results),
        feedback="" if passed == total else _feedback(results, problem, program, stderr),
    )


def failed_judge(problem: Problem, reason: str) -> Verdict:
    """The verdict that says nothing about the program."""
    total = len(problem.tests)
    return Verdict(False, 0.0, "api_error", 0, total, 0.0, feedback=f"The judge failed: {reason}")


def _feedback(results: list[TestResult], problem: Problem, program: str, stderr: str) -> str:
    """What a person or a model may be told: a failing public test in full; of a hidden one, only how it ended."""
    number, result = next((n, r) for n, r in enumerate(results) if r.error_type != "success")
    test = problem.tests[number]
    traceback = with_source_lines(stderr, program)
    if result.error_type == "syntax_error":
        return (traceback or result.detail)[-FEEDBACK_LENGTH:]
    ending = result.error_type.replace("_", " ")
    if test.visibility != "public":
        kind = result.detail.split(":")[0]
        return f"A hidden test ended in: {ending}" + (f" ({kind})" if kind and ending != "wrong answer" else "")
    explained = bool(result.detail) and _last_line(stderr) == result.detail
    parts = [
        f"Test {number + 1} ended in: {ending}" + (f" ({result.detail})" if result.detail and not explained else "")
    ]
    if problem.kind == "function":
        parts.append(f"Test:\n{test.input[:SHOWN_LENGTH]}")
    else:
        parts += [f"Input:\n{test.input[:SHOWN_LENGTH]}", f"Expected output:\n{test.output[:SHOWN_LENGTH]}"]
        parts.append(f"Output:\n{result.got}")
    if explained:
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


def _ending(status: int) -> str:
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
