"""The outside end of one worker: starts it, hands it a submission, knows when it has failed."""

import hashlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from lib.judge import frames
from lib.judge.cases import plan
from lib.judge.compare import CHECKERS
from lib.judge.problem import Problem

OUTPUT_LIMIT = 16 << 20  # bytes a test
START_SECONDS = 60
PATIENCE = 30  # seconds of silence beyond every limit, then the worker has failed
_ZYGOTE = Path(__file__).with_name("zygote.py")


class IsolationError(RuntimeError):
    """This machine does not give the judge what it needs to isolate programs."""


class ServerError(RuntimeError):
    """No server is there, or none that can judge."""


class WorkerFault(Exception):
    """A worker failed; nothing is known about the program."""


def check_problem(problem: Problem) -> None:
    """Raises ValueError for a problem that can't be judged by."""
    if not problem.tests:
        raise ValueError(f"problem {problem.id} has no tests: there is nothing to judge by")
    if problem.kind not in ("stdio", "function"):
        raise ValueError(f"problem {problem.id} is of kind {problem.kind!r}, not stdio or function")
    if problem.checker not in CHECKERS:
        raise ValueError(
            f"problem {problem.id} wants the checker {problem.checker!r}; there are: {', '.join(CHECKERS)}"
        )
    if not (0 < problem.time_limit < 3600 and 0 < problem.memory_limit < 1 << 20):
        raise ValueError(
            f"problem {problem.id} has a time limit of {problem.time_limit} s and a memory limit of "
            f"{problem.memory_limit} MiB: at most an hour and a TiB, and more than nothing"
        )


class PreparedProblem:
    """What of a problem is needed again and again: digest, expected outputs, and one file with all inputs.

    The file (anonymous, in memory) is handed to workers as a descriptor, so that inputs are never copied per program.
    """

    def __init__(self, problem: Problem):
        self.problem = problem
        if problem.kind == "stdio":
            inputs = [_encoded(test.input) for test in problem.tests]
            # Correct programs fail on a last line without its end.
            inputs = [text + b"\n" if text and not text.endswith(b"\n") else text for text in inputs]
            self.cases = [1] * len(inputs)
        else:
            plans = [plan(test.input, problem) for test in problem.tests]
            inputs, self.cases = [text for text, _ in plans], [count for _, count in plans]
        self.sizes = [len(text) for text in inputs]
        self.expected = [_encoded(test.output) for test in problem.tests]
        digest = hashlib.sha256(
            repr((problem.kind, problem.time_limit, problem.memory_limit, problem.checker)).encode()
        )
        for text in (*inputs, *self.expected):
            digest.update(len(text).to_bytes(8, "little") + text)
        digest.update(repr([test.visibility for test in problem.tests]).encode())  # decides what feedback may tell
        self.digest = digest.digest()
        self.inputs = file_of(*inputs)

    def close(self) -> None:
        os.close(self.inputs)


def request_for(prepared: PreparedProblem, order: dict) -> dict:
    """What a worker is told of a submission: the limits of the problem, and what its job orders."""
    problem = prepared.problem
    return {
        "kind": problem.kind,
        "inputs": prepared.sizes,
        "time_limit": problem.time_limit,
        "memory": problem.memory_limit << 20,
        "output": OUTPUT_LIMIT,
        "asleep": 5 * problem.time_limit + 1,
        "wall": _wall_limit(problem),
        **order,
    }


class Worker:
    """A worker process; usable after `hello`. One submission at a time. `layers`: what isolates its programs."""

    def __init__(self, isolation: str):
        ours, theirs = socket.socketpair()
        python = getattr(sys, "_base_executable", None) or sys.executable  # the one behind a virtual environment
        with theirs:
            self.process = subprocess.Popen(
                [python, "-s", "-S", str(_ZYGOTE), str(theirs.fileno()), isolation],
                env={"PYTHONHASHSEED": "0"},  # sets iterate in the same order every time
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the judge, which then ends its workers
            )
        self.socket = ours
        self.deadline = 0.0
        self.layers: list[str] = []

    def hello(self) -> None:
        """Waits until the worker is ready. Raises IsolationError with the reason if it can't be."""
        self.socket.settimeout(START_SECONDS)
        try:
            header, _ = frames.receive(self.socket)
        except (frames.FrameError, OSError) as error:
            header = {"error": f"it ended at its start ({error})"}
        if "error" in header:
            self.kill()
            raise IsolationError(
                f"a judge worker can't isolate programs on this machine: {header['error']}. It needs Linux 5.12 or "
                "newer and user namespaces. Check that /proc/sys/user/max_user_namespaces is not 0; on Ubuntu, "
                "`sysctl kernel.apparmor_restrict_unprivileged_userns=0`; in Docker, `--security-opt "
                'seccomp=unconfined`. Judge(isolation="none") runs without namespaces: its `isolation` says what '
                "then keeps programs from this user's files, if anything."
            )
        self.layers = [str(layer) for layer in header.get("layers", [])]
        self.socket.settimeout(PATIENCE)

    def submit(self, program: bytes, prepared: PreparedProblem, order: dict) -> None:
        """Hands over a submission, with what its job orders beyond the limits of the problem. Raises WorkerFault."""
        source = file_of(program)
        try:
            frames.send(self.socket, request_for(prepared, order), descriptors=(source, prepared.inputs))
        except OSError as error:
            raise WorkerFault(f"a worker is gone ({error})") from None
        finally:
            os.close(source)
        self._expect(prepared.problem)

    def receive(self, problem: Problem) -> tuple[dict, bytes]:
        """The next frame. Raises WorkerFault."""
        try:
            header, payload = frames.receive(self.socket)
        except (frames.FrameError, OSError) as error:
            raise WorkerFault(f"a worker is gone ({error})") from None
        if "fault" in header:
            raise WorkerFault(str(header["fault"]))
        self._expect(problem)
        return header, payload

    def answer(self, header: dict) -> None:
        """Answers a frame. Raises WorkerFault."""
        try:
            frames.send(self.socket, header)
        except OSError as error:
            raise WorkerFault(f"a worker is gone ({error})") from None

    def _expect(self, problem: Problem) -> None:
        self.deadline = time.monotonic() + _wall_limit(problem) + PATIENCE

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """Ends the worker and everything below it."""
        self.socket.close()
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _wall_limit(problem: Problem) -> float:
    return 60 * problem.time_limit + 10  # a test alone; far behind the CPU limit, so that a busy machine never meets it


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def file_of(*parts: bytes) -> int:
    descriptor = os.memfd_create("judge")
    with open(descriptor, "wb", closefd=False) as file:
        file.writelines(parts)
    return descriptor
