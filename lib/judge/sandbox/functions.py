"""Runs the tests of a function problem: they live in a process of their own and call the program in another."""

import _socket
import os
from signal import SIGKILL

import frames
import program
import seccomp
import tester
import watch


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
    request = submission.request
    program_end, tests_end = _socket.socketpair()
    submission.reset()
    child = submission.fork(_program_child, submission, program_end.fileno(), cpu_limit)
    tester_child = submission.fork(_tests_child, submission, program_end, tests_end.fileno(), tests)
    program_end.close()
    tests_end.close()
    limits = (cpu_limit, request["asleep"], request["wall"])
    killed, tester_status, _ = watch.wait(tester_child, *limits, child)
    exit_status = watch.end(child, 0.5 if tester_status else 0.0)
    _, status, usage = os.wait4(child, 0)
    if exit_status == -SIGKILL and watch.cpu(usage) > cpu_limit:  # by the backstop, see `program.enter`
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
    ends_here = len(request["inputs"]) == 1 and tester_status == 0 and not killed
    if ends_here:
        header["done"] = True
    size = os.fstat(submission.report).st_size
    frames.send(submission.connection, header, payload_file=(submission.report, size))
    return ends_here


def _program_child(submission, calls: int, cpu_limit: float) -> None:
    calls = os.dup2(calls, program.CALLS)
    nothing = os.memfd_create("nothing")
    descriptors = (os.memfd_create("stdin"), submission.stdout, submission.stderr, nothing, submission.start)
    program.enter(descriptors, [calls], submission.request["output"], cpu_limit)
    program.run_functions(program.start(submission.source, None, submission.request), calls, submission.request)


def _tests_child(submission, program_end, calls: int, tests: list[list[int]]) -> None:
    program_end.close()
    seccomp.deny_system_calls()
    places = [[test, skipped, *submission.place(test)] for test, skipped in tests]
    program.leave(tester.run(calls, submission.report, submission.inputs, places))
