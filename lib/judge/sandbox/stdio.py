"""Runs the tests of a stdio problem: a quick pass over many tests in one child, then single tests in children.

In the quick pass, one child runs the program on a batch of tests, one after the other, each with files of its own. An
output that turns out right counts: only the right bytes for a test's input can be right. Every other test runs again in
a child of its own, so that what a test left behind never costs an honest program a test; unless the program can leave
nothing behind (see `carry`).
"""

import os
import struct
import sys

import frames
import program
import streams
import watch

QUICK_BATCH = 48  # tests, so that their files stay far below the limit of open files
QUICK_OUTPUT = 1 << 20  # bytes per test; a longer output waits for the test's own child
QUICK_WALL = 10  # times the CPU budget; then the quick pass is given up, which costs no test anything
_REPORT = struct.Struct("<BQ")  # of a test in the quick pass: exit status, size of stderr when it had ended


def judge(submission) -> None:
    """Runs all tests until one times out; sends a frame per quick pass and per single test, and a last frame."""
    for test in _tests_to_run_alone(submission):
        if submission.safe_to_compile and submission.code is None:  # once for all children
            submission.code = program.compile_source(submission.source, "program.py")
        if _run_alone(submission, test):
            break
    frames.send(submission.connection, {"done": True})


def _tests_to_run_alone(submission):
    """Runs the quick passes, batch by batch, and yields the tests that they leave open."""
    count = len(submission.request["inputs"])
    for start in range(0, count, QUICK_BATCH):
        tests = list(range(start, min(start + QUICK_BATCH, count)))
        yield from _quick_pass(submission, tests) if submission.request["quick"] and len(tests) > 1 else tests


def _quick_pass(submission, tests: list[int]) -> list[int]:
    """Runs the tests in one child and sends their outputs. Returns the tests that must run alone."""
    files = [(submission.stdin(test), os.memfd_create("stdout")) for test in tests]
    submission.reset()
    child = submission.fork(_quick_child, submission, files)
    budget = submission.request["quick"]
    _, status, usage = watch.wait(child, budget, QUICK_WALL * budget, QUICK_WALL * budget)
    how = submission.started(status)
    submission.safe_to_compile = how.startswith("compiled")
    final = how == "compiled, carries nothing"
    written = os.pread(submission.report, _REPORT.size * len(tests), 0)
    reports = list(_REPORT.iter_unpack(written[: len(written) // _REPORT.size * _REPORT.size]))
    ended, outputs, begin = [], [], 0
    if watch.memory(usage) <= submission.request["memory"]:
        for test, (_, stdout), (status, end) in zip(tests, files, reports, strict=False):
            size = os.fstat(stdout).st_size
            if size < QUICK_OUTPUT and (status == 0 or final):
                ended.append([test, status, size, submission.stderr_tail(begin, end) if status else ""])
                outputs.append(os.pread(stdout, size, 0))
            begin = end
    for pair in files:
        for descriptor in pair:
            os.close(descriptor)
    cpu = watch.cpu(usage) / max(1, len(reports))
    header = {"tests": [tests[0], tests[-1] + 1], "ended": ended, "final": final, "cpu": cpu}
    frames.send(submission.connection, header, b"".join(outputs))
    return submission.answer()["again"]


def _quick_child(submission, files: list[tuple[int, int]]) -> None:
    descriptors = (*files[0], submission.stderr, submission.report, submission.start)
    keep = [descriptor for pair in files for descriptor in pair]
    program.enter(descriptors, keep, QUICK_OUTPUT, submission.request["quick"])
    code = program.start(submission.source, None)
    for number, (stdin, stdout) in enumerate(files):
        if number > 0:
            os.dup2(stdin, 0)
            os.dup2(stdout, 1)
            streams.open_standard()
        os.close(stdin)
        os.close(stdout)
        status = program.run(code, submission.opens_files)
        program.report(_REPORT.pack(status, os.lseek(2, 0, os.SEEK_CUR)))
        if "threading" in sys.modules:
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
    compiled, cpu = submission.started(status).startswith("compiled"), watch.cpu(usage)
    submission.safe_to_compile = submission.safe_to_compile or (compiled and not killed)
    if cpu > request["time_limit"]:
        killed = killed or "cpu"
    size = os.fstat(submission.stdout).st_size
    header = {
        "test": test,
        "compiled": compiled,
        "killed": killed,
        "exit": os.waitstatus_to_exitcode(status),
        "cpu": cpu,
        "memory": watch.memory(usage),
        "size": size,
        "stderr": submission.stderr_tail(),
    }
    frames.send(submission.connection, header, b"" if killed else os.pread(submission.stdout, size, 0))
    return not compiled or bool(killed)


def _child(submission, stdin: int) -> None:
    descriptors = (stdin, submission.stdout, submission.stderr, submission.report, submission.start)
    program.enter(descriptors, [], submission.request["output"], submission.request["time_limit"])
    program.leave(program.run(program.start(submission.source, submission.code), submission.opens_files))
