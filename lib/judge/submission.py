"""Judges one submission: process 1 of its own pid namespace, one forked child per test. Runs inside the sandbox only.

It knows inputs and limits, never an expected output: what a program wrote goes out as bytes and is compared outside.

The quick pass: one child runs the program on a batch of tests, one after the other, each on its own files. Outputs that
turn out right are proved, since nothing but the right bytes for a test's input can be right. Every other test is run
again in a child of its own, so that what a test left behind can never cost an honest program a test.
"""

import contextlib
import os
import select
import time
from signal import SIGKILL

import frames
import isolation
import program

QUICK_BATCH = 48  # tests, so that their files stay far below the limit of open files
QUICK_OUTPUT = 1 << 20  # bytes a test; a longer output waits for the test's own child
STDERR = 1 << 20  # bytes
STDERR_TAIL = 3000  # bytes, reported


class Submission:
    def __init__(self, connection, request: dict, source: int, inputs: int):
        self.connection, self.request, self.inputs = connection, request, inputs
        self.source = os.pread(source, os.fstat(source).st_size, 0)
        os.close(source)
        self.offsets = [0]
        for size in request["inputs"]:
            self.offsets.append(self.offsets[-1] + size)
        self.code = None  # compiled here once a child has shown that this is cheap
        self.memory, self.time_limit = request["memory"], request["time_limit"]
        self.stdout, self.stderr, self.report = (os.memfd_create(n) for n in ("stdout", "stderr", "report"))

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
        """Returns the tests that still have to be run alone."""
        files = [(self._stdin(test), os.memfd_create("stdout")) for test in tests]
        self._reset(self.stderr, self.report)
        child = os.fork()
        if child == 0:
            self._quick_child(files)
        _, _, usage = self._wait(child, self.request["quick"])
        reported = os.pread(self.report, 1 + len(tests), 0)
        if reported[:1] == b"C" and self.code is None:
            # A child compiled it within the small budget of the quick pass, so it is safe to compile here.
            self.code = compile(self.source.decode("utf-8", "surrogateescape"), "program.py", "exec", dont_inherit=True)
        ended = [test for test, status in zip(tests, reported[1:], strict=False) if status == ord("0")]
        share = _cpu(usage) / max(1, len(reported) - 1)
        if _memory(usage) <= self.memory:
            for test in ended:
                output = files[test - tests[0]][1]
                size = os.fstat(output).st_size
                if size < QUICK_OUTPUT:
                    frames.send(self.connection, {"test": test, "cpu": share}, os.pread(output, size, 0))
        for pair in files:
            for descriptor in pair:
                os.close(descriptor)
        frames.send(self.connection, {"ask": [tests[0], tests[-1] + 1]})
        answer, _ = frames.receive(self.connection)
        return answer["again"]

    def _quick_child(self, files: list[tuple[int, int]]) -> None:
        private = [self.connection.fileno(), self.inputs, self.stdout, self.stderr, self.report]
        descriptors = (files[0][0], files[0][1], self.stderr, self.report)
        program.enter(descriptors, private, self.memory, QUICK_OUTPUT, self.request["quick"])
        code = program.compile_or_leave(self.source, "program.py")
        program.report(b"C")
        for stdin, stdout in files:
            os.dup2(stdin, 0)
            os.dup2(stdout, 1)
            os.close(stdin)
            os.close(stdout)
            program.report(b"0" if program.run(code) == 0 else b"1")
            if "threading" in program.sys.modules:
                break  # an interpreter waits for its threads only once
        os._exit(0)

    def _run_alone(self, test: int) -> bool:
        """Runs one test in a child of its own. Returns whether the submission ends here."""
        function = self.request["kind"] == "function"
        token = os.urandom(16).hex().encode() if function else b""
        stdin = os.memfd_create("stdin") if function else self._stdin(test)
        self._reset(self.stdout, self.stderr, self.report)
        child = os.fork()
        if child == 0:
            self._child(test, stdin, token)
        killed, status, usage = self._wait(child, self.time_limit)
        os.close(stdin)
        reported = os.pread(self.report, 64, 0)
        size = os.fstat(self.stdout).st_size
        cpu = _cpu(usage)
        if cpu > self.time_limit:
            killed = killed or "cpu"
        compiled = reported[:1] == b"C"
        header = {
            "test": test,
            "alone": True,
            "compiled": compiled,
            "killed": killed,
            "exit": os.waitstatus_to_exitcode(status),
            "cpu": cpu,
            "memory": _memory(usage),
            "size": size,
            "finished": bool(token) and reported == b"C" + token,
            "assertion": reported == b"CA",
            "stderr": self._tail(),
        }
        payload = b"" if function or killed else os.pread(self.stdout, size, 0)
        frames.send(self.connection, header, payload)
        return not compiled or (bool(killed) and self.request["stop_at_timeout"])

    def _child(self, test: int, stdin: int, token: bytes) -> None:
        test_source = os.pread(self.inputs, *self._place(test)) if token else b""
        private = [self.connection.fileno(), self.inputs, stdin, self.stdout, self.stderr, self.report]
        descriptors = (stdin, self.stdout, self.stderr, self.report)
        program.enter(descriptors, private, self.memory, self.request["output"], self.time_limit)
        code = self.code or program.compile_or_leave(self.source, "program.py")
        program.report(b"C")
        if token:
            program.run_function_test(code, program.compile_or_leave(test_source, "tests.py"), token)
        os._exit(program.run(code))

    def _wait(self, child: int, cpu_limit: float):
        """Waits for a child without polling. Returns ("" | "cpu" | "wall", wait status, resource usage)."""
        clock = (~child) << 3 | 2  # the CPU clock of that process, see clock_getcpuclockid(3)
        wall_end = time.monotonic() + cpu_limit * self.request["wall_factor"] + 1
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
        isolation.die_with_parent()
        if own_namespace is not None:
            os.close(own_namespace)
        isolation.drop_privileges()
        Submission(connection, request, source, inputs).judge()
        os._exit(0)
    except BaseException as error:
        with contextlib.suppress(BaseException):
            frames.send(connection, {"fault": f"{type(error).__name__}: {error}"})
        os._exit(0)
