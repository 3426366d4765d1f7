"""Runs the tests of a function problem: they live in a process of their own and call the program in another."""

import _socket
import os
import struct
from signal import SIGKILL

import frames
import program
import seccomp
import tester
import watch

PROGRESS = struct.Struct("<Qd")  # of the tests' process: tests begun, the program's CPU seconds when the last one began


def judge(submission) -> None:
    """Runs the groups of tests that the judge orders, until it orders none."""
    order = submission.request
    while order["run"]:
        if _run(submission, order["run"], order["cpu"]):
            return
        order = submission.answer()
    frames.send(submission.connection, {"done": True})


def _run(submission, tests: list[list[int]], cpu_limit: float) -> bool:
    """Runs tests, each [number, first case], against one program process; sends the records of the tests' process as
    they are. This process never reads them, nor the tests: later children are its copies. Returns whether the
    submission ends here: its only test has come to its end."""
    request, quick = submission.request, len(tests) > 1
    program_end, tests_end = _socket.socketpair()
    submission.reset()
    progress = os.memfd_create("progress")
    child = submission.fork(_program_child, submission, program_end.fileno(), request["time_limit"] + request["quick"])
    tester_child = submission.fork(_tests_child, submission, program_end, tests_end.fileno(), tests, progress, child)
    program_end.close()
    tests_end.close()
    limits = (request["asleep"], request["wall"])
    at_fault = 0  # number of the test that gets all of its time, counted from 1

    def extend() -> tuple | None:
        """As in `stdio`: all of its time for the test that now runs, if it alone can be at fault."""
        nonlocal at_fault
        begun, before = _progress(progress)
        if begun > 1 and not submission.started(0).endswith("nothing"):
            return None
        at_fault = begun or 1
        return (before if begun > 1 else 0.0) + request["time_limit"], *limits

    killed, tester_status, _ = watch.wait(tester_child, cpu_limit, *limits, child, extend if quick else None)
    exit_status = watch.end(child, 0.5 if tester_status else 0.0)
    _, status, usage = os.wait4(child, 0)
    begun, _ = _progress(progress)
    os.close(progress)
    if exit_status == -SIGKILL and watch.cpu(usage) > request["time_limit"]:  # by the backstop, see `program.enter`
        killed = killed or "cpu"
    header = {
        "ran": tests,
        "how": submission.started(status),
        "killed": killed,
        "exit": exit_status,
        "tests_exit": os.waitstatus_to_exitcode(tester_status),
        "cpu": watch.cpu(usage),
        "memory": watch.memory(usage),
        "stderr": submission.stderr_tail(),
    }
    if killed and at_fault and at_fault == max(begun, 1) and watch.memory(usage) <= request["memory"]:
        header["timeout"] = tests[at_fault - 1][0]
    ends_here = len(request["inputs"]) == 1 and tester_status == 0 and not killed
    if ends_here:
        header["done"] = True
    size = os.fstat(submission.report).st_size
    frames.send(submission.connection, header, payload_file=(submission.report, size))
    return ends_here


def _progress(descriptor: int) -> tuple[int, float]:
    written = os.pread(descriptor, PROGRESS.size, 0)
    return PROGRESS.unpack(written) if written else (0, 0.0)


def _program_child(submission, calls: int, cpu_limit: float) -> None:
    calls = os.dup2(calls, program.CALLS)
    nothing = os.memfd_create("nothing")
    descriptors = (os.memfd_create("stdin"), submission.stdout, submission.stderr, nothing, submission.start)
    program.enter(descriptors, [calls], submission.request["output"], cpu_limit)
    program.run_functions(program.start(submission.source, None, submission.request), calls, submission.request)


def _tests_child(
    submission, program_end, calls: int, tests: list[list[int]], progress: int, program_child: int
) -> None:
    program_end.close()
    seccomp.deny_system_calls()
    places = [[test, skipped, *submission.place(test)] for test, skipped in tests]

    def begin(number: int) -> None:
        os.pwrite(progress, PROGRESS.pack(number, watch.cpu_time(program_child)), 0)

    program.leave(tester.run(calls, submission.report, submission.inputs, places, begin))
