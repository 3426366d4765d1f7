"""This side of one worker process: starts it, sends it submissions, notices when it has failed."""

import os
import socket
import subprocess
import time
from collections.abc import Iterable

from ..errors import IsolationError, WorkerFault
from ..sandbox import DETACHED, PYTHON, ZYGOTE, frames
from .prepared import PreparedProblem, memory_file

START_SECONDS = 60
PATIENCE = 30  # seconds of silence beyond every limit; then the worker has failed


class Worker:
    """A worker process, usable after `hello`. One submission at a time. `layers`: what isolates its programs;
    `packages`: paths of what programs may import."""

    def __init__(self, isolation: str, packages: Iterable[str] = ()):
        self.socket, theirs = socket.socketpair()
        environment = {"PYTHONHASHSEED": "0"}  # sets iterate in the same order every time
        environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # for packages that start threads
        with theirs:
            command = [*PYTHON, str(ZYGOTE), str(theirs.fileno()), isolation, *packages]
            self.process = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()], **DETACHED)
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
        """Sends a submission, with the job's order. Raises WorkerFault."""
        source = memory_file(program)
        try:
            self._send(prepared.request(order), (source, prepared.inputs))
        finally:
            os.close(source)
        self._extend_deadline(prepared)

    def receive(self, prepared: PreparedProblem) -> tuple[dict, bytes]:
        """The next frame. Raises WorkerFault."""
        try:
            header, payload = frames.receive(self.socket)
        except (frames.FrameError, OSError) as error:
            raise WorkerFault(f"a worker is gone ({error})") from None
        if "fault" in header:
            raise WorkerFault(str(header["fault"]))
        self._extend_deadline(prepared)
        return header, payload

    def answer(self, header: dict) -> None:
        """Answers a frame. Raises WorkerFault."""
        self._send(header)

    def _send(self, header: dict, descriptors: tuple[int, ...] = ()) -> None:
        try:
            frames.send(self.socket, header, descriptors=descriptors)
        except OSError as error:
            raise WorkerFault(f"a worker is gone ({error})") from None

    def _extend_deadline(self, prepared: PreparedProblem) -> None:
        self.deadline = time.monotonic() + prepared.wall_limit + PATIENCE

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """Ends the worker and every process below it."""
        self.socket.close()
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
