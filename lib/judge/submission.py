"""Judges one submission: process 1 of its own pid namespace, one forked child per test. Runs inside the sandbox only.

It knows inputs and limits, never an expected output: what a program wrote goes out as bytes and is compared outside.

The quick pass: one child runs the program on a batch of tests, one after the other, each on its own files. Outputs that
turn out right are proved, since nothing but the right bytes for a test's input can be right. Every other test is run
again in a child of its own, so that what a test left behind can never cost an honest program a test; unless the program
can leave nothing behind (see `carry`).
"""

import _socket
import contextlib
import os
import re
import struct
import sys
from signal import SIGKILL

import frames
import isolation
import program
import seccomp
import tester
import watch

QUICK_BATCH = 48  # tests, so that their files stay far below the limit of open files
QUICK_OUTPUT = 1 << 20  # bytes a test; a longer output waits for the test's own child
QUICK_WALL = 10  # times its CPU budget; then the quick pass is given up, which costs no test anything
STDERR_TAIL = 3000  # bytes, reported
_REPORT = struct.Struct("<BQ")  # of a test in the quick pass: exit status, size of stderr when it had ended
_OPENS_FILES = re.compile(rb"open\s*\(|FileIO|Buffered|TextIOWrapper")


class Submission:
    """Made before it is known what will be submitted: `take` waits for that."""

    def __init__(self, connection, own_namespace: bool):
        self.connection, self.own_namespace = connection, own_namespace
        self.stdout, self.stderr, self.report, self.start = map(os.memfd_create, ("out", "err", "report", "start"))

    def take(self) -> None:
        """Waits for the submission. Raises FrameError if the judge is gone."""
        request, _, (source, self.inputs) = frames.receive_descriptors(self.connection, 2)
        program.limit(request["memory"])
        self.request = request
        self.source = os.pread(source, os.fstat(source).st_size, 0)
        os.close(source)
        self.offsets = [0]
        for size in request["inputs"]:
            self.offsets.append(self.offsets[-1] + size)
        self.opens_files = _OPENS_FILES.search(self.source) is not None
        self.compiles_quickly = False  # seen in a child: then it is safe to compile here, once for all children
        self.code = None
        self.memory, self.time_limit = request["memory"], request["time_limit"]

    def judge(self) -> None:
        """Runs all tests, sends a frame for each and a last one."""
        if self.request["kind"] == "function":
            return self._judge_functions()
        count, ends_here = len(self.request["inputs"]), False
        for start in range(0, count, QUICK_BATCH):
            tests = list(range(start, min(start + QUICK_BATCH, count)))
            if self.request["quick"] and len(tests) > 1:
                tests, ends_here = self._quick_pass(tests)
            for test in tests:
                if self._run_alone(test) or (self.request["stop_at_failure"] and self._answer()["stop"]):
                    ends_here = True
                    break
            if ends_here:
                break
        frames.send(self.connection, {"done": True})

    def _quick_pass(self, tests: list[int]) -> tuple[list[int], bool]:
        """Runs the tests in one child and sends their outputs. Returns the tests that still have to be run alone, and
        whether the submission ends after them."""
        files = [(self._stdin(test), os.memfd_create("stdout")) for test in tests]
        self._reset(self.stderr, self.report, self.start)
        child = os.fork()
        if child == 0:
            self._guard(self._quick_child, files)
        budget = self.request["quick"]
        _, status, usage = watch.wait(child, budget, QUICK_WALL * budget, QUICK_WALL * budget)
        how = self._started(status)
        self.compiles_quickly = how.startswith(b"compiled")
        final = how == b"compiled, carries nothing"
        written = os.pread(self.report, _REPORT.size * len(tests), 0)
        reports = list(_REPORT.iter_unpack(written[: len(written) // _REPORT.size * _REPORT.size]))
        ended, outputs, begin = [], [], 0
        if watch.memory(usage) <= self.memory:
            for test, (_, stdout), (status, end) in zip(tests, files, reports, strict=False):
                size = os.fstat(stdout).st_size
                if size < QUICK_OUTPUT and (status == 0 or final):
                    ended.append([test, status, size, self._tail(begin, end) if status else ""])
                    outputs.append(os.pread(stdout, size, 0))
                begin = end
        for pair in files:
            for descriptor in pair:
                os.close(descriptor)
        share = watch.cpu(usage) / max(1, len(reports))
        header = {"tests": [tests[0], tests[-1] + 1], "ended": ended, "final": final, "cpu": share}
        frames.send(self.connection, header, b"".join(outputs))
        answer = self._answer()
        return answer["again"], answer["stop"]

    def _answer(self) -> dict:
        return frames.receive(self.connection)[0]

    def _quick_child(self, files: list[tuple[int, int]]) -> None:
        descriptors = (*files[0], self.stderr, self.report, self.start)
        keep = [descriptor for pair in files for descriptor in pair]
        program.enter(descriptors, keep, QUICK_OUTPUT, self.request["quick"])
        code = program.start(self.source, None)
        for number, (stdin, stdout) in enumerate(files):
            if number > 0:
                os.dup2(stdin, 0)
                os.dup2(stdout, 1)
                program.open_streams()
            os.close(stdin)
            os.close(stdout)
            status = program.run(code, self.opens_files)
            program.report(_REPORT.pack(status, os.lseek(2, 0, os.SEEK_CUR)))
            if "threading" in sys.modules:
                break  # an interpreter waits for its threads only once
            if os.fstat(1).st_size >= QUICK_OUTPUT:
                break  # what could not be written is still in a stream, and must not go to the next test's file

    def _run_alone(self, test: int) -> bool:
        """Runs one test in a child of its own. Returns whether the submission ends here."""
        if self.compiles_quickly and self.code is None:
            self.code = program.compile_source(self.source, "program.py")
        stdin = self._stdin(test)
        self._reset(self.stdout, self.stderr, self.report, self.start)
        child = os.fork()
        if child == 0:
            self._guard(self._child, stdin)
        killed, status, usage = watch.wait(child, self.time_limit, self.request["asleep"], self.request["wall"])
        os.close(stdin)
        compiled = self._started(status).startswith(b"compiled")
        self.compiles_quickly = self.compiles_quickly or (compiled and not killed)
        size = os.fstat(self.stdout).st_size
        cpu = watch.cpu(usage)
        if cpu > self.time_limit:
            killed = killed or "cpu"
        header = {
            "test": test,
            "compiled": compiled,
            "killed": killed,
            "exit": os.waitstatus_to_exitcode(status),
            "cpu": cpu,
            "memory": watch.memory(usage),
            "size": size,
            "stderr": self._tail(0, os.fstat(self.stderr).st_size),
        }
        payload = b"" if killed else os.pread(self.stdout, size, 0)
        frames.send(self.connection, header, payload)
        return not compiled or (bool(killed) and self.request["stop_at_timeout"])

    def _child(self, stdin: int) -> None:
        descriptors = (stdin, self.stdout, self.stderr, self.report, self.start)
        program.enter(descriptors, [], self.request["output"], self.time_limit)
        program.leave(program.run(program.start(self.source, self.code), self.opens_files))

    def _judge_functions(self) -> None:
        """Runs tests of a function problem as the judge outside orders, group by group."""
        order = self.request
        while order["run"]:
            if self._run_functions(order["run"], order["cpu"]):
                return
            order = self._answer()
        frames.send(self.connection, {"done": True})

    def _run_functions(self, tests: list[list[int]], cpu_limit: float) -> bool:
        """Runs tests, each [number, first case], in one process that calls the program in another one; sends the
        records of the first as they are. This process never reads them, nor the tests: a later child is its copy.
        Returns whether the submission ends here: its only test has come to its end."""
        program_end, tests_end = _socket.socketpair()
        self._reset(self.stdout, self.stderr, self.report, self.start)
        child = os.fork()
        if child == 0:
            self._guard(self._program_child, program_end.fileno(), cpu_limit)
        tester_child = os.fork()
        if tester_child == 0:
            program_end.close()
            self._guard(self._tests_child, tests_end.fileno(), tests)
        program_end.close()
        tests_end.close()
        limits = (cpu_limit, self.request["asleep"], self.request["wall"])
        killed, tester_status, _ = watch.wait(tester_child, *limits, child)
        exit_status = watch.end(child, 0.5 if tester_status else 0.0)
        _, status, usage = os.wait4(child, 0)
        if exit_status == -SIGKILL and watch.cpu(usage) > cpu_limit:  # by the backstop, see `program.enter`
            killed = killed or "cpu"
        size = os.fstat(self.report).st_size
        header = {
            "ran": tests,
            "how": self._started(status).decode(),
            "killed": killed,
            "exit": exit_status,
            "tests_exit": os.waitstatus_to_exitcode(tester_status),
            "cpu": watch.cpu(usage),
            "memory": watch.memory(usage),
            "stderr": self._tail(0, os.fstat(self.stderr).st_size),
        }
        ends_here = len(self.request["inputs"]) == 1 and tester_status == 0 and not killed
        if ends_here:
            header["done"] = True
        frames.send(self.connection, header, payload_file=(self.report, size))
        return ends_here

    def _program_child(self, calls: int, cpu_limit: float) -> None:
        calls = os.dup2(calls, program.CALLS)
        stdin = os.memfd_create("stdin")
        descriptors = (stdin, self.stdout, self.stderr, os.memfd_create("nothing"), self.start)
        program.enter(descriptors, [calls], self.request["output"], cpu_limit)
        program.run_functions(program.start(self.source, self.code), calls)

    def _tests_child(self, calls: int, tests: list[list[int]]) -> None:
        seccomp.deny_system_calls()
        places = [[test, skipped, *self._place(test)] for test, skipped in tests]
        program.leave(tester.run(calls, self.report, self.inputs, places))

    def _guard(self, life, *arguments) -> None:
        """The whole life of a forked child: whatever happens, it never returns into the code of process 1."""
        try:
            if not self.own_namespace:  # else the end of process 1, which runs this, is the end of all
                isolation.die_with_parent()
            life(*arguments)
        except BaseException as error:
            program.failed(error)
        finally:
            program.leave(1)

    def _started(self, status: int) -> bytes:
        """How the child started, as `program.start` says. Raises if it failed: that is no fault of the program."""
        how = os.pread(self.start, 400, 0)
        if how.startswith((b"compiled", b"not compiled")) or os.WIFSIGNALED(status):
            return how
        raise RuntimeError(f"a child {how.decode() or 'failed early'}")

    def _place(self, test: int) -> tuple[int, int]:
        return self.offsets[test + 1] - self.offsets[test], self.offsets[test]

    def _stdin(self, test: int) -> int:
        """A fresh file with the input: the program may change its own copy."""
        descriptor = os.memfd_create("stdin")
        size, offset = self._place(test)
        while size > 0:
            sent = os.sendfile(descriptor, self.inputs, offset, size)
            if sent == 0:
                raise OSError("the inputs are shorter than announced")
            size, offset = size - sent, offset + sent
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def _reset(self, *descriptors: int) -> None:
        for descriptor in descriptors:
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)

    def _tail(self, begin: int, end: int) -> str:
        """The end of what was written to stderr between two offsets."""
        begin = max(begin, end - STDERR_TAIL, 0)
        return os.pread(self.stderr, min(max(0, end - begin), STDERR_TAIL), begin).decode("utf-8", "replace")


def serve(connection, own_namespace: int | None) -> None:
    """The life of a zygote: one submission after the other, each in a forked process 1 of a fresh namespace. That is
    forked while the one before is at work, and what it is to judge it receives itself: nothing of a submission is ever
    in the memory of the zygote, of which all later processes are copies."""
    following = _fork(connection, own_namespace)
    while True:
        child, go = following
        os.write(go, b".")
        os.close(go)
        following = _fork(connection, own_namespace)
        _, status = os.waitpid(child, 0)
        if status != 0:  # perhaps in the middle of a frame: only the end of the connection can tell the judge
            return


def _fork(connection, own_namespace: int | None) -> tuple[int, int]:
    """A process that judges the next submission once a byte is written to the descriptor returned beside it."""
    wait, go = os.pipe()
    if own_namespace is not None:
        isolation.new_pid_namespace(own_namespace)
    child = os.fork()
    if child == 0:
        _serve_one(connection, own_namespace, wait, go)
    os.close(wait)
    return child, go


def _serve_one(connection, own_namespace: int | None, wait: int, go: int) -> None:
    try:
        if own_namespace is None:
            isolation.die_with_parent()
        else:  # the zygote is process 1 of the namespace around this one: nothing outlives it
            os.close(own_namespace)
        os.close(go)
        isolation.drop_privileges()
        submission = Submission(connection, own_namespace is not None)
        if os.read(wait, 1):
            os.close(wait)
            submission.take()
            submission.judge()
            os._exit(0)
    except (frames.FrameError, ConnectionError):  # the judge is gone
        pass
    except BaseException as error:
        with contextlib.suppress(BaseException):
            frames.send(connection, {"fault": f"{type(error).__name__}: {error}"})
        os._exit(0)
    finally:
        os._exit(1)
