"""Runs the tests of a stdio problem: a quick pass over many tests in one child, then single tests in children.

In the quick pass, one child runs the program on a batch of tests, one after the other, each with files of its own. An
output that turns out right counts: only the right bytes for a test's input can be right. Every other test runs again in
a child of its own, so that what a test left behind never costs an honest program a test; unless the program can leave
nothing behind (see `carry`).
"""

import os
import struct
import sys
import time

import frames
import program
import streams
import watch

QUICK_BATCH = 48  # tests, so that their files stay far below the limit of open files
QUICK_OUTPUT = 1 << 20  # bytes per test; a longer output waits for the test's own child
QUICK_ASLEEP = 0.5  # seconds; then the quick pass is given up, which costs no test anything
_REPORT = struct.Struct("<BQd")  # of a test in the quick pass: exit status; when it had ended, size of stderr, CPU time

_process_time = time.process_time  # a program may replace it


def judge(submission) -> None:
    """Runs all tests until one times out; sends a frame per quick pass and per single test, and a last frame."""
    for test in _tests_to_run_alone(submission):
        if submission.safe_to_compile and submission.code is None:  # once for all children
            submission.code = program.compile_source(submission.source, "program.py")
        if _run_alone(submission, test):
            break
    frames.send(submission.connection, {"done": True})


def _tests_to_run_alone(submission):
    """Runs the quick passes, batch by batch, and yields the tests that they leave open; none behind a timeout."""
    count, timeout = len(submission.request["inputs"]), False
    for start in range(0, count, QUICK_BATCH):
        tests = list(range(start, min(start + QUICK_BATCH, count)))
        if submission.request["quick"] and len(tests) > 1:
            tests, timeout = _quick_pass(submission, tests)
        yield from tests
        if timeout:
            return


def _quick_pass(submission, tests: list[int]) -> tuple[list[int], bool]:
    """Runs the tests in one child and sends their outputs. Returns the tests that must run alone, and whether the
    test behind them has timed out.

    The test that runs when the budget is spent gets all of its time here if it alone can be at fault: the first one, or
    any test of a program that can carry nothing. Nothing runs after it. The child says when an earlier test ended, but
    gains nothing by a lie: a right output counts only if all tests together kept to the limit of one.
    """
    request, budget = submission.request, submission.request["quick"]
    limit, files = request["time_limit"], [(submission.stdin(test), os.memfd_create("stdout")) for test in tests]
    submission.reset()
    child = submission.fork(_quick_child, submission, files)
    last = 0.0  # CPU time before the test that gets all of its time
    number = None  # of that test

    def reports() -> list[tuple]:
        written = os.pread(submission.report, _REPORT.size * len(tests), 0)
        return list(_REPORT.iter_unpack(written[: len(written) // _REPORT.size * _REPORT.size]))

    def extend() -> tuple | None:
        nonlocal last, number
        before = reports()
        if before and not submission.started(0).endswith("nothing"):
            return None
        number, last = len(before), min(max(0.0, before[-1][2]), budget) if before else 0.0
        return last + limit, request["asleep"], request["wall"]

    killed, status, usage = watch.wait(child, budget, QUICK_ASLEEP, request["wall"], extend=extend)
    how = submission.started(status)
    submission.safe_to_compile = how.startswith("compiled")
    final = how == "compiled, carries nothing"
    done, cpu, memory = reports(), watch.cpu(usage), watch.memory(usage)
    within_memory = memory <= request["memory"]
    timeout = bool(killed) and number == len(done) and (number == 0 or within_memory)
    ended, outputs, begin = [], [], 0
    for test, (_, stdout), (status, end, _) in zip(tests, files, done if cpu <= limit else done[:number], strict=False):
        size = os.fstat(stdout).st_size
        if within_memory and size < QUICK_OUTPUT and (status == 0 or final):
            ended.append([test, status, size, submission.stderr_tail(begin, end) if status else ""])
            outputs.append(os.pread(stdout, size, 0))
        begin = end
    for pair in files:
        for descriptor in pair:
            os.close(descriptor)
    header = {"tests": [tests[0], tests[-1] + 1], "ended": ended, "final": final, "cpu": cpu / max(1, len(done))}
    if timeout:
        header |= {"tests": [tests[0], tests[number] + 1], "cpu": last / max(1, len(done))}
        header["timeout"] = _report(submission, tests[number], killed, status, cpu - last, memory, begin)
    frames.send(submission.connection, header, b"".join(outputs))
    return submission.answer()["again"], timeout


def _quick_child(submission, files: list[tuple[int, int]]) -> None:
    descriptors = (*files[0], submission.stderr, submission.report, submission.start)
    keep = [descriptor for pair in files for descriptor in pair]
    budget = submission.request["quick"]
    program.enter(descriptors, keep, QUICK_OUTPUT, submission.request["time_limit"] + budget)
    code = program.start(submission.source, None)
    for number, (stdin, stdout) in enumerate(files):
        if number > 0:
            os.dup2(stdin, 0)
            os.dup2(stdout, 1)
            streams.open_standard()
        os.close(stdin)
        os.close(stdout)
        status, used = program.run(code, submission.opens_files), _process_time()
        program.report(_REPORT.pack(status, os.lseek(2, 0, os.SEEK_CUR), used))
        if "threading" in sys.modules or used > budget:
            break  # an interpreter waits for its threads only once
        if os.fstat(1).st_size >= QUICK_OUTPUT:
            break  # what could not be written is still in a stream, and must not go into the next test's file


def _run_alone(submission, test: int) -> bool:
    """Runs one test in a child. Returns whether the submission ends here."""
    request, stdin = submission.request, submission.stdin(test)
    submission.reset()
    child = submission.fork(_child, submission, stdin)
    killed, status, usage = watch.wait(child, request["time_limit"], request["asleep"], request["wall"])
    os.close(stdin)
    cpu = watch.cpu(usage)
    if cpu > request["time_limit"]:
        killed = killed or "cpu"
    header = _report(submission, test, killed, status, cpu, watch.memory(usage))
    submission.safe_to_compile = submission.safe_to_compile or (header["compiled"] and not killed)
    size = header["size"] = os.fstat(submission.stdout).st_size
    frames.send(submission.connection, header, b"" if killed else os.pread(submission.stdout, size, 0))
    return not header["compiled"] or bool(killed)


def _report(submission, test: int, killed: str, status: int, cpu: float, memory: int, stderr: int = 0) -> dict:
    """What the judge is told about a test. `stderr`: where its part of that file begins."""
    return {
        "test": test,
        "compiled": submission.started(status).startswith("compiled"),
        "killed": killed,
        "exit": os.waitstatus_to_exitcode(status),
        "cpu": cpu,
        "memory": memory,
        "size": 0,
        "stderr": submission.stderr_tail(stderr),
    }


def _child(submission, stdin: int) -> None:
    descriptors = (stdin, submission.stdout, submission.stderr, submission.report, submission.start)
    program.enter(descriptors, [], submission.request["output"], submission.request["time_limit"])
    program.leave(program.run(program.start(submission.source, submission.code), submission.opens_files))
