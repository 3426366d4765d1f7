"""The worker of the SandboxFusion backend (github.com/bytedance/SandboxFusion): a thread in the place of a process.

    Judge(backend="sandbox_fusion", url=["http://first:8080", "http://second:8080"], workers=4)

Each submission is one `/run_code` request, in which the server runs the judge's own sandbox: the same limits, the same
separation of tests and program, the same frames. Outputs are compared and scored here, by the same `Job`. README.md
says what is different on a server.
"""

import os
import threading
from collections import deque
from contextlib import suppress
from itertools import accumulate
from socket import socketpair

import requests

from ..host.prepared import PreparedProblem
from ..host.worker import PATIENCE, Worker
from ..sandbox import frames
from .servers import LONGEST_PAUSE, START_SECONDS, Frames, Servers


class RemoteWorker(Worker):
    """Takes and gives the frames of a `Worker`; sends each submission to the next free server."""

    def __init__(self, servers: Servers):
        self.servers = servers
        self.socket, theirs = socketpair()
        self.socket.settimeout(PATIENCE)
        self.deadline, self.layers = 0.0, servers.layers
        threading.Thread(target=self._serve, args=(theirs,), daemon=True, name="sandbox_fusion").start()

    def hello(self) -> None:
        """Nothing to wait for: the servers have been checked."""

    @property
    def alive(self) -> bool:
        return True

    def kill(self) -> None:
        """Ends the thread once a server has answered it. A server can't be told to stop; its limits end the run."""
        self.socket.close()

    def _extend_deadline(self, prepared: PreparedProblem) -> None:
        """Waits longer than the thread's own requests can take."""
        super()._extend_deadline(prepared)
        tests, limit = len(prepared.sizes), prepared.problem.time_limit
        self.deadline += LONGEST_PAUSE + 3 * (START_SECONDS + PATIENCE) + tests * (limit + 2)

    def _serve(self, connection) -> None:
        with suppress(frames.FrameError, OSError), connection, requests.Session() as session:
            while True:
                request, _, descriptors = frames.receive_descriptors(connection, 2)
                program, inputs = map(_read_and_close, descriptors)
                try:
                    self._judge(connection, session, request, program, inputs)
                except OSError:  # the judge is gone; errors of requests have become faults
                    raise
                except Exception as error:
                    frames.send(connection, {"fault": str(error) or type(error).__name__})

    def _judge(self, connection, session, request: dict, program: bytes, inputs: bytes) -> None:
        answer = self.servers.run(session, request, program, inputs)
        while True:
            header, payload = answer.popleft()
            frames.send(connection, header, payload)
            if "done" in header:
                return
            guess = header.get("guess")
            if guess and (order := frames.receive(connection)[0]) != guess:  # the judge wants something else next
                answer = self._run_again(session, request, program, inputs, header, order)
            if not answer:
                return frames.send(connection, {"done": True})

    def _run_again(self, session, request: dict, program: bytes, inputs: bytes, header: dict, order: dict) -> Frames:
        """The frames of what the judge orders after the frame with this header."""
        if "run" in order:
            return self.servers.run(session, request | order, program, inputs) if order["run"] else deque()
        tests = [*order["again"]]
        if "timeout" not in header:
            tests += range(header["tests"][1], len(request["inputs"]))
        if not tests:
            return deque()
        ends, sizes = [*accumulate(request["inputs"])], [request["inputs"][test] for test in tests]
        parts = [inputs[ends[test] - request["inputs"][test] : ends[test]] for test in tests]
        alone = {**request, "inputs": sizes, "quick": 0.0}
        answer = self.servers.run(session, alone, program, b"".join(parts))
        for header, _ in answer:
            if "test" in header:
                header["test"] = tests[header["test"]]
        return answer


def _read_and_close(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        return os.pread(descriptor, os.fstat(file.fileno()).st_size, 0)
