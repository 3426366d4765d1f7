"""Runs the sandbox's code a few times in the zygote, on programs of this file.

All later processes are copies of the zygote. What it has run is specialised by the interpreter, and writes to less
memory, which every copy would have to copy. It takes as long as some ten submissions, so the zygote does it once it has
served 64: workers that live shortly start as fast as before.
"""

import _socket
import contextlib
import json
import os
import sys

import callee
import frames
import program
import submission
import tester
import wire

_ROUNDS = 10  # the interpreter specialises a function after eight calls
_STDIO = {"kind": "stdio", "inputs": [2] * 3, "time_limit": 1.0, "memory": 1 << 28, "output": 1 << 20, "quick": 0.5}
_FUNCTION = {**_STDIO, "kind": "function", "run": [[0, 0], [1, 0]], "cpu": 0.5, "usual": False}
_LIMITS = {"asleep": 1.0, "wall": 10.0}
_PROGRAM = b"def rehearsed(x, k=None):\n    x.append(k)\n    return x\n"
_TEST = """
if __judge__.wanted(0):
    with __judge__:
        assert rehearsed([1, 'a', 2.5], k={2: (3, True)}) == [1, 'a', 2.5, {2: (3, True)}]
if __judge__.wanted(1):
    with __judge__:
        assert rehearsed([], 1) == [1] and rehearsed([None])[0] is None
"""
_PLAN = {
    "source": _TEST,
    "names": ["rehearsed"],
    "modules": [],
    "classes": [],
    "offers": [],
    "patches": [],
    "seed": False,
}


class _Submission(submission.Submission):
    """Its children do nothing."""

    def fork(self, life, *arguments) -> int:
        child = os.fork()
        if child == 0:
            os.write(self.start, b"compiled, carries nothing")
            program.leave(0)
        return child


def rehearse() -> None:
    for _ in range(_ROUNDS):
        _judge(_STDIO, {"again": [2]})
        _judge(_FUNCTION, {"run": []})
    for tests_here in (True, False):
        _call(tests_here)


def _judge(request: dict, answer: dict) -> None:
    ours, theirs = _socket.socketpair()
    files = [os.memfd_create(name) for name in ("source", "inputs")]
    os.pwrite(files[0], _PROGRAM, 0)
    os.pwrite(files[1], b"1\n" * 3, 0)
    frames.send(theirs, {**request, **_LIMITS}, descriptors=tuple(files))
    frames.send(theirs, answer)
    judged = _Submission(ours, True)
    judged.take()
    judged.judge()
    for descriptor in (*files, judged.inputs, judged.stdout, judged.stderr, judged.report, judged.start):
        os.close(descriptor)


def _call(tests_here: bool) -> None:
    """Runs tests of a function, or the program that they call, in this process; the other part in another process."""
    ours, theirs = _socket.socketpair()
    inputs, records, plan = os.memfd_create("inputs"), os.memfd_create("records"), json.dumps(_PLAN).encode()
    os.pwrite(inputs, plan, 0)
    child = os.fork()
    end = ours if (child == 0) != tests_here else theirs
    (theirs if end is ours else ours).close()
    if (child == 0) != tests_here:
        places = [[test, 0, len(plan), 0] for test in range(_ROUNDS)]
        tester.run(end.fileno(), records, inputs, places)
    else:
        code = program.compile_source(_PROGRAM, "program.py")
        with contextlib.suppress(wire.PeerGone):
            callee.serve([code], program.new_functions_module, exec, False, end.fileno())
    if child == 0:
        program.leave(0)
    end.close()
    os.waitpid(child, 0)
    for descriptor in (inputs, records):
        os.close(descriptor)
    for name in ("__main__", "solution"):
        sys.modules.pop(name, None)
