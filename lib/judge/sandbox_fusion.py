"""Judging on SandboxFusion servers (github.com/bytedance/SandboxFusion) instead of this machine.

    Judge(backend="sandbox_fusion", url=["http://one:8080", "http://two:8080"], workers=4)

One `/run_code` a submission, in which the server runs our own judge's inside (`driver`): the same limits of CPU time,
the same separation of tests and program, the same frames. Comparison and verdicts are made here, by the same `Job`, so
that expected outputs of stdio problems never leave this machine. Instead of a process, a worker here is a thread that
speaks to a server; it works for one server after the other, and what one of them failed with goes to the next.

One thing is narrower there: all outputs of a submission together end at 64 MiB, since the server holds them in memory.

What the server adds to the walls, and what it lacks:
- isolation="namespaces" (the default) holds there what it holds here. A container may forbid namespaces: then the start
  says so, and isolation="none" has to be asked for. Seccomp and the limits stay; `Judge.isolation` says whether
  Landlock does. Without it, too, a program can read and write files as the server's user: its own tests are gone from
  the disk before it starts, but one that knows of this page could tamper with the files of a submission that starts at
  the same moment, or with the server. Don't train on such verdicts, and keep nothing else in that container.
- A driver that was ended from outside gives no verdict, whatever it leaves behind.
- The tests of function problems do go to the server: they run there, in a process of their own.
- Whoever runs the server, or speaks on the line to it, can forge every verdict. There is no encryption but https.
"""

import ast
import base64
import json
import os
import threading
import time
import warnings
import zlib
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from socket import socketpair

import requests

from lib.judge import frames
from lib.judge.problem import Problem, Test
from lib.judge.worker import PATIENCE, IsolationError, PreparedProblem, ServerError, Worker, WorkerFault, request_for

CONNECT_SECONDS, START_SECONDS = 5, 60
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 30.0  # seconds that a server is left alone after it failed; doubled each time
LONGEST_RESPONSE = 256 << 20  # bytes
# The server's Python compiles what runs there once, when a judge starts here: it would be half the time of each run.
_COMPILE = """\
import json, marshal
with open("sources") as file:
    sources = json.load(file)
with open("inside", "wb") as file:
    marshal.dump([(name, compile(sources[name], "judge/" + name, "exec", dont_inherit=True)) for name in sources], file)
"""
_START = """\
import marshal, os, sys, types
if sys.flags.hash_randomization:
    python = getattr(sys, "_base_executable", None) or sys.executable
    os.execve(python, [python, "-s", "-S", __file__], {"PYTHONHASHSEED": "0"})
with open("inside", "rb") as file:
    *modules, (_, zygote) = marshal.load(file)
for name, code in modules:
    sys.modules[name] = types.ModuleType(name)
    exec(code, sys.modules[name].__dict__)
sys.modules["driver"].main(zygote, MODE)
"""
_TRIAL = Problem("trial", "", "", "stdio", "", (Test("2\n", "4\n"),))


class _ServerFault(WorkerFault):
    """It is the server that failed, not this one submission."""


class _Server:
    """One server: where it is, what of ours it has compiled, and how long it is left alone after a failure."""

    def __init__(self, url: str):
        self.url, self.python = url.rstrip("/"), ""
        self.layers: list[str] = []
        self.inside, self.checked = b"", False
        self.pause, self.free_at = 0.0, 0.0  # seconds; a time on the monotonic clock

    def failed(self, asked_at: float) -> None:
        """Leaves it alone for a while. Requests that were under way together fail once."""
        if asked_at >= self.free_at - self.pause:
            self.pause = min(2 * self.pause, LONGEST_PAUSE) if self.pause else FIRST_PAUSE
            self.free_at = time.monotonic() + self.pause


class Servers:
    """The servers at `url` (one or several); `isolation` as for `Judge`.

    Raises ValueError for what is no address, ServerError if no server can judge, IsolationError if one can't isolate.
    One that does not answer while others do is a warning.
    """

    def __init__(self, url: str | Iterable[str] | None, isolation: str):
        urls = [url] if isinstance(url, str) else list(url or ())
        if not urls or not all(isinstance(one, str) and one.startswith(("http://", "https://")) for one in urls):
            raise ValueError(f"url must be one or several addresses such as http://127.0.0.1:8080, not {url!r}")
        self._isolation = isolation
        self._servers = [_Server(one) for one in urls]
        self._lock = threading.Lock()
        faults = []
        with requests.Session() as session:
            for server in self._servers:
                try:
                    self._check(server, session)
                except WorkerFault as fault:
                    server.failed(time.monotonic())
                    faults.append(str(fault))
        if len(faults) == len(self._servers):
            raise ServerError(
                f"no SandboxFusion server can judge: {'; '.join(faults)}. Start one (see "
                "github.com/bytedance/SandboxFusion), check from this machine that `curl <url>/v1/ping` answers pong, "
                'and give its address as `url`. Judge(backend="local") needs no server'
            )
        for fault in faults:
            warnings.warn(f"{fault}; other servers do its work until it answers", stacklevel=3)

    def __str__(self) -> str:
        pythons = sorted({server.python.split(" ")[0] for server in self._servers if server.python})
        return f"SandboxFusion with Python {', '.join(pythons)}"

    @property
    def layers(self) -> list[str]:
        """What keeps programs apart from the servers; where they differ, what each of them says."""
        said = dict.fromkeys(", ".join(server.layers) for server in self._servers if server.layers)
        return [str(self), *said]

    def run(self, session: requests.Session, request: dict, program: bytes, inputs: bytes) -> deque[tuple[dict, bytes]]:
        """The frames of a submission, from the next server that is free; waits while all of them are left alone.

        Raises WorkerFault, and IsolationError from a server that comes back as another."""
        server = self._next()
        asked_at = time.monotonic()
        try:
            if not server.checked:
                self._check(server, session)
            found = self._submit(server, session, request, program, inputs)
        except _ServerFault:
            with self._lock:
                server.failed(asked_at)
            raise
        except WorkerFault:
            server.checked = False  # perhaps it has started again, with another Python
            raise
        server.pause = 0.0
        return found

    def _next(self) -> _Server:
        with self._lock:
            now = time.monotonic()
            free = [server for server in self._servers if server.free_at <= now]
            server = free[0] if free else min(self._servers, key=lambda server: server.free_at)
            self._servers.remove(server)  # to the end of the line
            self._servers.append(server)
        time.sleep(max(0.0, server.free_at - now))
        return server

    def _check(self, server: _Server, session: requests.Session) -> None:
        """Has a server compile the inside, and tries that. Raises WorkerFault, IsolationError."""
        answer = _asked(session, "GET", f"{server.url}/v1/ping", START_SECONDS)
        if answer != "pong":
            raise _ServerFault(f"{server.url} is no SandboxFusion server: its /v1/ping gave {str(answer)[:50]!r}")
        files = {"sources": json.dumps(_inside()).encode()}
        server.inside = _run_code(session, server.url, _COMPILE, files, "inside", START_SECONDS)
        prepared = PreparedProblem(_TRIAL)
        request = request_for(prepared, {"quick": 0.0, "stop_at_timeout": True})
        prepared.close()
        try:
            found = self._submit(server, session, request, b"print(2 * int(input()))", b"2\n")
        except WorkerFault as fault:
            raise _ServerFault(f"{server.url} can't judge: {fault}") from None
        if found[0][1] != b"4\n":
            raise _ServerFault(f"{server.url} can't judge: twice 2 gave {found[0]!r:.500}")
        server.checked = True

    def _submit(self, server: _Server, session, request: dict, program: bytes, inputs: bytes) -> deque:
        submission = frames.Bytes()
        frames.send(submission, {**request, "stop_at_failure": False, "source": len(program)}, program + inputs)
        files = {"inside": server.inside, "given": zlib.compress(submission.getvalue(), 1)}
        code = _START.replace("MODE", repr(self._isolation))
        result = _run_code(session, server.url, code, files, "result", _longest(request))
        found: deque[tuple[dict, bytes]] = deque()
        try:
            result = frames.Bytes(zlib.decompressobj().decompress(result, LONGEST_RESPONSE))
            while not found or not found[-1][0].keys() & {"done", "fault", "error"}:
                found.append(frames.receive(result))
        except (zlib.error, frames.FrameError) as error:
            raise _ServerFault(f"{server.url} gave no frames ({error})") from None
        started, ended = found.popleft()[0], found[-1][0] if found else {}
        if "error" in started:
            raise IsolationError(
                f"{server.url} can't isolate programs: {started['error']}. In Docker, `--security-opt "
                'seccomp=unconfined` allows it; Judge(isolation="none") does without namespaces there (see '
                "lib/judge/sandbox_fusion.py for what programs can do then)"
            )
        if "fault" in ended:
            raise WorkerFault(f"{server.url}: {ended['fault']}")
        server.python, server.layers = started["python"], started["layers"]
        return found


class RemoteWorker(Worker):
    """A thread in the place of a worker's process: it takes the same frames, and gives the same ones."""

    def __init__(self, servers: Servers):
        self.servers = servers
        self.socket, theirs = socketpair()
        self.socket.settimeout(PATIENCE)
        self.deadline = 0.0
        self.layers = servers.layers
        threading.Thread(target=self._serve, args=(theirs,), daemon=True, name="sandbox_fusion").start()

    def hello(self) -> None:
        """The servers have been checked."""

    @property
    def alive(self) -> bool:
        return True

    def kill(self) -> None:
        """Ends the thread, once a server has answered it. No server can be told to stop; it ends by its limits."""
        self.socket.close()

    def _expect(self, problem: Problem) -> None:
        """Never before the requests of the thread have run into their own limits."""
        super()._expect(problem)
        self.deadline += (
            LONGEST_PAUSE + 3 * (START_SECONDS + PATIENCE) + len(problem.tests) * (5 * problem.time_limit + 1)
        )

    def _serve(self, connection) -> None:
        with suppress(frames.FrameError, OSError), connection, requests.Session() as session:
            while True:
                request, _, descriptors = frames.receive_descriptors(connection, 2)
                program, inputs = map(_content, descriptors)
                try:
                    self._judge(connection, session, request, program, inputs)
                except OSError:  # requests' own are faults by now
                    raise
                except Exception as error:
                    frames.send(connection, {"fault": str(error) or type(error).__name__})

    def _judge(self, connection, session, request: dict, program: bytes, inputs: bytes) -> None:
        found = self.servers.run(session, request, program, inputs)
        while True:
            header, payload = found.popleft()
            frames.send(connection, header, payload)
            if "done" in header:
                return
            guess = header.get("guess")
            answer = frames.receive(connection)[0] if guess or request["stop_at_failure"] else {}
            if guess and answer != guess:
                if "run" in answer:
                    tests, again = answer["run"], (request | answer, inputs)
                else:
                    later = [] if answer["stop"] else range(header["tests"][1], len(request["inputs"]))
                    tests = [*answer["again"], *later]
                    again = _part(request, inputs, tests)
                found = self.servers.run(session, again[0], program, again[1]) if tests else deque()
                for header, _ in found:
                    if "test" in header:
                        header["test"] = tests[header["test"]]
            if not found or (not guess and answer.get("stop")):
                return frames.send(connection, {"done": True})


def _part(request: dict, inputs: bytes, tests: list[int]) -> tuple[dict, bytes]:
    """The request and inputs for some of its tests, each run alone."""
    ends = [*accumulate(request["inputs"])]
    sizes = [request["inputs"][test] for test in tests]
    parts = [inputs[ends[test] - request["inputs"][test] : ends[test]] for test in tests]
    return {**request, "inputs": sizes, "quick": 0.0}, b"".join(parts)


def _inside() -> dict[str, str]:
    """The sources of all modules that run there, each after those that it imports; `zygote` is the last."""
    folder, found = Path(__file__).parent, {}

    def add(file: str) -> None:
        source = (folder / file).read_text()
        for node in ast.walk(ast.parse(source)):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module] if isinstance(node, ast.ImportFrom) else []
            for module in imported:
                if module not in found and (folder / f"{module}.py").exists():
                    add(f"{module}.py")
        found[Path(file).stem] = source

    add("driver.py")
    add("zygote.py")
    return found


def _longest(request: dict) -> float:
    """Seconds after which a server gives a run up: more than all limits together, also on a busy machine."""
    each = 2 * request["time_limit"] if request["stop_at_timeout"] else request["asleep"]
    return request["wall"] + len(request["inputs"]) * each


def _content(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        return os.pread(descriptor, os.fstat(file.fileno()).st_size, 0)


def _run_code(session, url: str, code: str, files: dict[str, bytes], wanted: str, seconds: float) -> bytes:
    """Runs `code` among `files`, for at most so many seconds; the file that it makes. Raises WorkerFault."""
    encoded = {name: base64.b64encode(content).decode() for name, content in files.items()}
    body = {"code": code, "language": "python", "run_timeout": seconds, "files": encoded, "fetch_files": [wanted]}
    answer = _asked(session, "POST", f"{url}/run_code", seconds + PATIENCE, body)
    try:
        ran = answer["run_result"] or {}
        if answer["status"] == "SandboxError":
            raise _ServerFault(f"{url} failed: {answer['message']:.300}")
        if ran["status"] != "Finished":
            raise WorkerFault(f"{url} gave a run up after {ran['execution_time']:.0f} s: {ran['status']}")
        if ran["return_code"] != 0 or wanted not in answer["files"]:
            raise WorkerFault(f"{url}: the driver ended with status {ran['return_code']}: {ran['stderr'][-300:]}")
        return base64.b64decode(answer["files"][wanted], validate=True)
    except (TypeError, KeyError, ValueError) as error:
        raise _ServerFault(f"{url} gave no answer that makes sense ({error!r}): {answer!r:.300}") from None


def _asked(session: requests.Session, method: str, address: str, seconds: float, body: dict | None = None):
    """The JSON that a server answers. Raises _ServerFault for everything else."""
    try:
        with session.request(method, address, json=body, timeout=(CONNECT_SECONDS, seconds), stream=True) as response:
            text = bytearray()
            for part in response.iter_content(1 << 20):
                text += part
                if len(text) > LONGEST_RESPONSE:
                    raise _ServerFault(f"{address} answers with more than {LONGEST_RESPONSE} bytes")
            if response.status_code != 200:
                shown = bytes(text[:300]).decode("utf-8", "replace")
                raise _ServerFault(f"{address} answers with status {response.status_code}: {shown}")
            return json.loads(text)
    except (requests.RequestException, ValueError) as error:
        raise _ServerFault(f"{address} does not answer: {error}") from None
