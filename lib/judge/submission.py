"""Judges one submission: process 1 of its own pid namespace, one forked child per test. Runs inside the sandbox only.

It knows inputs and limits, never an expected output: what a program wrote goes out as bytes and is compared outside.

The quick pass: one child runs the program on a batch of tests, one after the other, each on its own files. Outputs that
turn out right are proved, since nothing but the right bytes for a test's input can be right. Every other test is run
again in a child of its own, so that what a test left behind can never cost an honest program a test.
"""

import contextlib
import os
import re
import select
import sys
import time
from signal import SIGKILL

import frames
import isolation
import program

QUICK_BATCH = 48  # tests, so that their files stay far below the limit of open files
QUICK_OUTPUT = 1 << 20  # bytes a test; a longer output waits for the test's own child
STDERR_TAIL = 3000  # bytes, reported
_OPENS_FILES = re.compile(rb"open\s*\(|FileIO|Buffered|TextIOWrapper")


class Submission:
    def __init__(self, connection, request: dict, source: int, inputs: int, own_namespace: bool):
        self.connection, self.request, self.inputs, self.own_namespace = connection, request, inputs, own_namespace
        self.source = os.pread(source, os.fstat(source).st_size, 0)
        os.close(source)
        self.offsets = [0]
        for size in request["inputs"]:
            self.offsets.append(self.offsets[-1] + size)
        self.opens_files = _OPENS_FILES.search(self.source) is not None
        self.compiles_quickly = False  # seen in a child: then it is safe to compile here, once for all children
        self.code = None
        self.memory, self.time_limit = request["memory"], request["time_limit"]
        self.stdout, self.stderr, self.report, self.start = map(os.memfd_create, ("out", "err", "report", "start"))

    def judge(self) -> None:
        """Runs all tests, sends a frame for each and a last one."""
        count = len(self.request["inputs"])
        for start in range(0, count, QUICK_BATCH):
            tests = list(range(start, min(start + QUICK_BATCH, count)))
            if self.request["quick"] and len(tests) > 1:
                tests = self._quick_pass(tests)
            for test in tests:
                ended_early = self._run_alone(test)
                if ended_early:
                    frames.send(self.connection, {"done": True})
                    return
        frames.send(self.connection, {"done": True})

    def _quick_pass(self, tests: list[int]) -> list[int]:
        """Runs the tests in one child and sends their outputs. Returns the tests that still have to be run alone."""
        files = [(self._stdin(test), os.memfd_create("stdout")) for test in tests]
        self._reset(self.stderr, self.report, self.start)
        child = os.fork()
        if child == 0:
            self._guard(self._quick_child, files)
        _, status, usage = self._wait(child, self.request["quick"], 0)
        self.compiles_quickly = self._compiled(status)
        statuses = os.pread(self.report, len(tests), 0)
        ended, outputs = [], []
        if _memory(usage) <= self.memory:
            for test, status, (_, stdout) in zip(tests, statuses, files, strict=False):
                size = os.fstat(stdout).st_size
                if status == ord("0") and size < QUICK_OUTPUT:
                    ended.append([test, size])
                    outputs.append(os.pread(stdout, size, 0))
        for pair in files:
            for descriptor in pair:
                os.close(descriptor)
        share = _cpu(usage) / max(1, len(statuses))
        header = {"tests": [tests[0], tests[-1] + 1], "ended": ended, "cpu": share}
        frames.send(self.connection, header, b"".join(outputs))
        answer, _ = frames.receive(self.connection)
        return answer["again"]

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
            program.report(b"0" if program.run(code, self.opens_files) == 0 else b"1")
            if "threading" in sys.modules:
                break  # an interpreter waits for its threads only once

    def _run_alone(self, test: int) -> bool:
        """Runs one test in a child of its own. Returns whether the submission ends here."""
        if self.compiles_quickly and self.code is None:
            self.code = program.compile_source(self.source, "program.py")
        function = self.request["kind"] == "function"
        token = os.urandom(16).hex().encode() if function else b""
        stdin = os.memfd_create("stdin") if function else self._stdin(test)
        self._reset(self.stdout, self.stderr, self.report, self.start)
        child = os.fork()
        if child == 0:
            self._guard(self._child, test, stdin, token)
        killed, status, usage = self._wait(child, self.time_limit, 1)
        os.close(stdin)
        compiled = self._compiled(status)
        reported = os.pread(self.report, 64, 0)
        size = os.fstat(self.stdout).st_size
        cpu = _cpu(usage)
        if cpu > self.time_limit:
            killed = killed or "cpu"
        header = {
            "test": test,
            "compiled": compiled,
            "killed": killed,
            "exit": os.waitstatus_to_exitcode(status),
            "cpu": cpu,
            "memory": _memory(usage),
            "size": size,
            "finished": bool(token) and reported == token,
            "assertion": reported == b"A",
            "stderr": self._tail(),
        }
        payload = b"" if function or killed else os.pread(self.stdout, size, 0)
        frames.send(self.connection, header, payload)
        return not compiled or (bool(killed) and self.request["stop_at_timeout"])

    def _child(self, test: int, stdin: int, token: bytes) -> None:
        test_source = os.pread(self.inputs, *self._place(test)) if token else b""
        descriptors = (stdin, self.stdout, self.stderr, self.report, self.start)
        program.enter(descriptors, [], self.request["output"], self.time_limit)
        test_code = program.compile_source(test_source, "tests.py")  # before the program can touch anything
        code = program.start(self.source, self.code)
        if token:
            program.run_function_test(code, test_code, token)
        program.leave(program.run(code, self.opens_files))

    def _wait(self, child: int, cpu_limit: float, grace: float):
        """Waits for a child, asleep. Returns ("" | "cpu" | "wall", wait status, resource usage). Times in seconds."""
        clock = (~child) << 3 | 2  # the CPU clock of that process, see clock_getcpuclockid(3)
        wall_end = time.monotonic() + cpu_limit * self.request["wall_factor"] + grace
        killed, left = "", cpu_limit
        descriptor = os.pidfd_open(child)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while not poll.poll(max(1, left * 1000)):
            try:
                left = cpu_limit - time.clock_gettime(clock)
            except OSError:  # it ended just now
                continue
            if left <= 0 or time.monotonic() > wall_end:
                killed = "cpu" if left <= 0 else "wall"
                os.kill(child, SIGKILL)
                break
        os.close(descriptor)
        _, status, usage = os.wait4(child, 0)
        return killed, status, usage

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

    def _compiled(self, status: int) -> bool:
        """Whether the child compiled the program. Raises if it failed before: that is no fault of the program."""
        how = os.pread(self.start, 400, 0)
        if how in (b"compiled", b"not compiled") or os.WIFSIGNALED(status):
            return how == b"compiled"
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

    def _tail(self) -> str:
        size = os.fstat(self.stderr).st_size
        return os.pread(self.stderr, STDERR_TAIL, max(0, size - STDERR_TAIL)).decode("utf-8", "replace")


def _cpu(usage) -> float:
    return usage.ru_utime + usage.ru_stime


def _memory(usage) -> int:
    return usage.ru_maxrss * 1024


def serve(connection, own_namespace: int | None) -> None:
    """The life of a zygote: takes one submission after the other, each in a forked process 1 of a fresh namespace."""
    while True:
        try:
            request, _, (source, inputs) = frames.receive_descriptors(connection, 2)
        except (frames.FrameError, OSError):
            return
        if own_namespace is not None:
            isolation.new_pid_namespace(own_namespace)
        child = os.fork()
        if child == 0:
            _serve_one(connection, own_namespace, request, source, inputs)
        os.close(source)
        os.close(inputs)
        _, status = os.waitpid(child, 0)
        if status != 0:
            frames.send(connection, {"fault": f"the process of the submission ended with status {status}"})


def _serve_one(connection, own_namespace: int | None, request: dict, source: int, inputs: int) -> None:
    try:
        if own_namespace is None:
            isolation.die_with_parent()
        else:  # the zygote is process 1 of the namespace around this one: nothing outlives it
            os.close(own_namespace)
        isolation.drop_privileges()
        program.limit(request["memory"])
        Submission(connection, request, source, inputs, own_namespace is not None).judge()
        os._exit(0)
    except BaseException as error:
        with contextlib.suppress(BaseException):
            frames.send(connection, {"fault": f"{type(error).__name__}: {error}"})
        os._exit(0)
