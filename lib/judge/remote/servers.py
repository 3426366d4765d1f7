"""SandboxFusion servers over HTTP: which server is next, how long a failed one is left alone, what its answers mean.

A server runs `driver` beside the modules of `sandbox`. Their compiled code is fetched from each server once, since
compiling would take half the time of every run, and sent along with each submission.
"""

import ast
import base64
import json
import threading
import time
import warnings
import zlib
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import requests

from ..errors import IsolationError, ServerError, WorkerFault
from ..host.prepared import PreparedProblem
from ..host.worker import PATIENCE
from ..problem import Problem, Test
from ..sandbox import ZYGOTE, frames

Frames = deque[tuple[dict, bytes]]

CONNECT_SECONDS, START_SECONDS = 5, 60
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 30.0  # seconds that a server is left alone after a failure; doubled each time
LONGEST_RESPONSE = 256 << 20  # bytes
_COMPILE = """\
import json, marshal
with open("sources") as file:
    sources = json.load(file)
with open("code", "wb") as file:
    marshal.dump([(name, compile(sources[name], "judge/" + name, "exec", dont_inherit=True)) for name in sources], file)
"""
_START = """\
import marshal, os, sys, types
if sys.flags.hash_randomization:
    python = getattr(sys, "_base_executable", None) or sys.executable
    os.execve(python, [python, "-s", "-S", __file__], {"PYTHONHASHSEED": "0"})
with open("code", "rb") as file:
    *modules, (_, zygote) = marshal.load(file)
for name, code in modules:
    sys.modules[name] = types.ModuleType(name)
    exec(code, sys.modules[name].__dict__)
sys.modules["driver"].main(zygote, MODE)
"""
_TRIAL = Problem("trial", "", "", "stdio", "", (Test("2\n", "4\n"),))


class _ServerFault(WorkerFault):
    """The server failed, not only this submission."""


class _Server:
    """One server: its address, the code that it has compiled, and when it may be asked again after a failure."""

    def __init__(self, url: str):
        self.url, self.python = url.rstrip("/"), ""
        self.layers: list[str] = []
        self.code, self.checked = b"", False
        self.pause, self.free_at = 0.0, 0.0  # seconds; a time of the monotonic clock

    def failed(self, asked_at: float) -> None:
        """Leaves the server alone for a while. Simultaneous requests count as one failure."""
        if asked_at >= self.free_at - self.pause:
            self.pause = min(2 * self.pause, LONGEST_PAUSE) if self.pause else FIRST_PAUSE
            self.free_at = time.monotonic() + self.pause


class Servers:
    """The servers at `url` (one or several); `isolation` as for `Judge`.

    Raises ValueError for something that is not an address, ServerError if no server can judge, IsolationError if a
    server can't isolate. A server that does not answer while others do is a warning.
    """

    def __init__(self, url: str | Iterable[str] | None, isolation: str):
        urls = [url] if isinstance(url, str) else list(url or ())
        if not urls or not all(isinstance(u, str) and u.startswith(("http://", "https://")) for u in urls):
            raise ValueError(f"url must be one or several addresses such as http://127.0.0.1:8080, not {url!r}")
        self._start = _START.replace("MODE", repr(isolation))
        self._servers = [_Server(url) for url in urls]
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
        """What keeps programs apart from the servers; each description once, if servers differ."""
        return [str(self), *dict.fromkeys(", ".join(server.layers) for server in self._servers if server.layers)]

    def run(self, session: requests.Session, request: dict, program: bytes, inputs: bytes) -> Frames:
        """The frames of a submission, from the next free server; waits while all of them are left alone.

        Raises WorkerFault; IsolationError if a restarted server can't isolate any more."""
        server = self._next()
        asked_at = time.monotonic()
        try:
            if not server.checked:
                self._check(server, session)
            answer = self._submit(server, session, request, program, inputs)
        except _ServerFault:
            with self._lock:
                server.failed(asked_at)
            raise
        except WorkerFault:
            server.checked = False  # perhaps it has restarted, with another Python
            raise
        server.pause = 0.0
        return answer

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
        """Has a server compile the code, and judges a trial program with it. Raises WorkerFault, IsolationError."""
        answer = _ask(session, "GET", f"{server.url}/v1/ping", START_SECONDS)
        if answer != "pong":
            raise _ServerFault(f"{server.url} is no SandboxFusion server: its /v1/ping gave {str(answer)[:50]!r}")
        files = {"sources": json.dumps(_sources()).encode()}
        server.code = run_code(session, server.url, _COMPILE, files, "code", START_SECONDS)
        prepared = PreparedProblem(_TRIAL)
        request = prepared.request({"quick": 0.0})
        prepared.close()
        try:
            answer = self._submit(server, session, request, b"print(2 * int(input()))", b"2\n")
        except WorkerFault as fault:
            raise _ServerFault(f"{server.url} can't judge: {fault}") from None
        if answer[0][1] != b"4\n":
            raise _ServerFault(f"{server.url} can't judge: twice 2 gave {answer[0]!r:.500}")
        server.checked = True

    def _submit(self, server: _Server, session, request: dict, program: bytes, inputs: bytes) -> Frames:
        submission = frames.Bytes()
        frames.send(submission, {**request, "source": len(program)}, program + inputs)
        files = {"code": server.code, "submission": zlib.compress(submission.getvalue(), 1)}
        result = run_code(session, server.url, self._start, files, "result", run_seconds(request))
        answer: Frames = deque()
        try:
            result = frames.Bytes(zlib.decompressobj().decompress(result, LONGEST_RESPONSE))
            while not answer or not answer[-1][0].keys() & {"done", "fault", "error"}:
                answer.append(frames.receive(result))
        except (zlib.error, frames.FrameError) as error:
            raise _ServerFault(f"{server.url} gave no frames ({error})") from None
        started, ended = answer.popleft()[0], answer[-1][0] if answer else {}
        if "error" in started:
            raise IsolationError(
                f"{server.url} can't isolate programs: {started['error']}. In Docker, `--security-opt "
                'seccomp=unconfined` allows it; Judge(isolation="none") does without namespaces there (see '
                "lib/judge/README.md for what programs can do then)"
            )
        if "fault" in ended:
            raise WorkerFault(f"{server.url}: {ended['fault']}")
        server.python, server.layers = started["python"], started["layers"]
        return answer


def run_seconds(request: dict) -> float:
    """Seconds after which a server gives up on a run: more than all limits together, also on a busy machine."""
    return request["wall"] + len(request["inputs"]) * 2 * request["time_limit"]


def _sources() -> dict[str, str]:
    """The sources of all modules that run on a server, each after those that it imports; `zygote` is the last."""
    files = {path.stem: path for path in (*ZYGOTE.parent.glob("*.py"), Path(__file__).with_name("driver.py"))}
    sources: dict[str, str] = {}

    def add(module: str) -> None:
        source = files[module].read_text()
        for node in ast.walk(ast.parse(source)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in names:
                if name in files and name not in sources:
                    add(name)
        sources[module] = source

    add("driver")
    add("zygote")
    return sources


def run_code(session, url: str, code: str, files: dict[str, bytes], wanted: str, seconds: float) -> bytes:
    """Runs `code` beside `files` on a server; returns the file `wanted` that it creates. Raises WorkerFault."""
    encoded = {name: base64.b64encode(content).decode() for name, content in files.items()}
    body = {"code": code, "language": "python", "run_timeout": seconds, "files": encoded, "fetch_files": [wanted]}
    answer = _ask(session, "POST", f"{url}/run_code", seconds + PATIENCE, body)
    try:
        run = answer["run_result"] or {}
        if answer["status"] == "SandboxError":
            raise _ServerFault(f"{url} failed: {answer['message']:.300}")
        if run["status"] != "Finished":
            raise WorkerFault(f"{url} gave up on a run after {run['execution_time']:.0f} s: {run['status']}")
        if run["return_code"] != 0 or wanted not in answer["files"]:
            raise WorkerFault(f"{url}: the driver ended with status {run['return_code']}: {run['stderr'][-300:]}")
        return base64.b64decode(answer["files"][wanted], validate=True)
    except (TypeError, KeyError, ValueError) as error:
        raise _ServerFault(f"{url} gave no answer that makes sense ({error!r}): {answer!r:.300}") from None


def _ask(session: requests.Session, method: str, address: str, seconds: float, body: dict | None = None):
    """The JSON that a server answers. Raises _ServerFault for anything else."""
    try:
        with session.request(method, address, json=body, timeout=(CONNECT_SECONDS, seconds), stream=True) as response:
            text = bytearray()
            for part in response.iter_content(1 << 20):
                text += part
                if len(text) > LONGEST_RESPONSE:
                    raise _ServerFault(f"{address} answers with more than {LONGEST_RESPONSE} bytes")
            if response.status_code != 200:
                excerpt = bytes(text[:300]).decode("utf-8", "replace")
                raise _ServerFault(f"{address} answers with status {response.status_code}: {excerpt}")
            return json.loads(text)
    except (requests.RequestException, ValueError) as error:
        raise _ServerFault(f"{address} does not answer: {error}") from None
