"""What a real SandboxFusion server answered, replayed by a small HTTP server: testing the backend needs no such server.

    python tests/judge/recorded_server.py http://127.0.0.1:8080 COMMIT

records again, through a server in between, from a real one (COMMIT: of its sources). That is due when `driver` or what
is sent changes: a request that was not recorded gets no answer. The other modules that are sent run here too and are
tested here; `make judge-parity` runs them there.
"""

import base64
import hashlib
import json
import sys
import threading
import zlib
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests
from judged import DOUBLE, DOUBLED, SQUARE, function, stdio

from lib.judge import Judge
from lib.judge.sandbox import frames

RECORDING = Path(__file__).with_name("sandbox_fusion.json")
CASES = {
    "accepted": (DOUBLED, DOUBLE),
    "wrong answer": ("print('swordfish' if input() == '1' else 'cod')", stdio(("1", "swordfish"), ("2", "salmon"))),
    "syntax error": ("print(2 * int(input())", DOUBLE),
    "runtime error": ("print(1 // 0)", DOUBLE),
    "timeout": ("n = input()\nwhile n != '1': pass\nprint(2)", stdio(("1", "2"), ("3", "6"), time_limit=0.2)),
    "memory limit": ("x = bytearray(1 << 40)", DOUBLE),
    "big output": ("print('x' * 300_000)", stdio(("", "x" * 300_000))),
    "function": ("def f(x):\n    return x * x", SQUARE),
    "wrong function": ("def f(x):\n    return x * abs(x)", SQUARE),
    "function that leaves": (
        "import os\ndef f(x):\n    return os._exit(0) if x == 2 else x",
        function("assert f(1) == 1\nassert f(2) == 2\nassert f(3) == 3", "assert f(4) == 4"),
    ),
}
# Requests that provoke what a server does when it fails; a judge here never sends them.
FAULTS = {
    "SandboxError": {"code": "", "language": "python", "files": {"a\0b": ""}},
    "422": {"code": ""},
    "500": {"code": "\ud800", "language": "python"},
    "given up": {"code": "import time; time.sleep(60)", "language": "python", "run_timeout": 0.5},
    "driver killed": {"code": "import os; os.kill(os.getpid(), 9)", "language": "python"},
}
COMPILED = b"the compiled code"  # stands for 70 kB


def readable(body: dict) -> dict:
    """A request as it is compared and recorded."""
    files = {name: base64.b64decode(content) for name, content in body["files"].items()}
    if "sources" in files:
        shown = {"driver": hashlib.sha256(json.loads(files["sources"])["driver"].encode()).hexdigest()}
    else:
        header, payload = frames.receive(frames.Bytes(zlib.decompress(files["submission"])))
        program, inputs = payload[: header["source"]], payload[header["source"] :]
        shown = {"code": files["code"].decode(), "submission": [header, program.decode(), inputs.decode()]}
    return {**body, "files": shown}


class Server(ThreadingHTTPServer):
    """`answer(body)` gives status and JSON. `seen`: requests; `faults`: (status, JSON) to answer submissions first."""

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer, self.seen, self.faults = answer, [], []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.respond(200, "pong")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(body)
        submission = "submission" in body["files"]
        self.respond(*(self.server.faults.pop(0) if submission and self.server.faults else self.server.answer(body)))

    def respond(self, status: int, content) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with suppress(BrokenPipeError):  # who asked has given up
            self.wfile.write(data)

    def log_message(self, *_):
        pass


@contextmanager
def serve(answer):
    with Server(answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def replay():
    """A context: a server that answers what was recorded, and status 501 to everything else."""
    known = {json.dumps(request, sort_keys=True): (status, answer) for request, status, answer in recording()["runs"]}

    def answer(body: dict) -> tuple[int, object]:
        request = json.dumps(readable(body), sort_keys=True)
        return known.get(request, (501, "this request was never recorded: record again"))

    return serve(answer)


def recording() -> dict:
    return json.loads(RECORDING.read_text())


def record(url: str, commit: str) -> None:
    runs, compiled = [], ""

    def answer(body: dict) -> tuple[int, object]:
        nonlocal compiled
        files = {name: compiled if name == "code" else content for name, content in body["files"].items()}
        real = requests.post(f"{url}/run_code", json={**body, "files": files}, timeout=120)
        found = real.json()
        if "code" in found["files"]:
            compiled, found["files"]["code"] = found["files"]["code"], base64.b64encode(COMPILED).decode()
        runs.append([readable(body), real.status_code, found])
        return real.status_code, found

    with serve(answer) as between, Judge(backend="sandbox_fusion", url=between.url, workers=1) as judge:
        for name, (program, problem) in CASES.items():
            print(f"{name}: {judge.judge(program, problem).error_type}")
    faults = {}
    for name, body in FAULTS.items():
        real = requests.post(f"{url}/run_code", json=body, timeout=120)
        faults[name] = [body, real.status_code, {**real.json(), "traceback": ""}]
    about = {"server": f"github.com/bytedance/SandboxFusion at {commit}, without docker, isolation none"}
    lines = [json.dumps(run) for run in runs]
    named = [f"{json.dumps(name)}: {json.dumps(fault)}" for name, fault in faults.items()]
    text = f'{{"about": {json.dumps(about)},\n"runs": [\n' + ",\n".join(lines)
    RECORDING.write_text(text + '\n],\n"faults": {\n' + ",\n".join(named) + "\n}}\n")


if __name__ == "__main__":
    record(*sys.argv[1:3])
