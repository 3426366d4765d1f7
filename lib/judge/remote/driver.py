"""Runs on a SandboxFusion server: judges one submission with the same code that judges locally. Never imported here.

It runs in a Python without packages and with a fixed hash seed, beside the modules of the sandbox. It starts a zygote,
sends it the submission, answers where the zygote waits for an answer, and writes all frames to a file, which the server
returns. It never sees an expected output of a stdio problem and decides nothing: if it guessed wrong what the judge
wants next, the judge asks again.
"""

import _socket
import os
import sys
import zlib

import frames
import isolation

SUBMISSION, RESULT = "submission", "result"  # files beside the driver
OUTPUT_LIMIT = 64 << 20  # bytes of all tests, then outputs are cut off: the server holds them in memory


def main(zygote, mode: str) -> None:
    """Judges the submission in the file. `zygote`: the code of that module; `mode`: the judge's `isolation`."""
    isolation.hide_memory()  # tests will be in the memory of this process
    folder = os.getcwd()
    os.chdir("/")
    ours, theirs = _socket.socketpair()
    guardian = os.fork()
    if guardian == 0:
        try:
            ours.close()
            sys.argv[:] = ["zygote.py", str(theirs.detach()), mode]
            exec(zygote, {"__name__": "zygote"})
        finally:
            os._exit(0)
    theirs.close()
    result = frames.Bytes()
    ready, _ = frames.receive(ours)
    frames.send(result, {**ready, "python": sys.version})
    if "error" not in ready:
        _judge(ours, result, *_take(f"{folder}/{SUBMISSION}"))
    ours.close()  # this ends the zygote, and everything below it
    os.waitpid(guardian, 0)
    # Created now, when no program is alive that could have it open.
    with open(f"{folder}/{RESULT}", "xb") as file:
        file.write(zlib.compress(result.getvalue(), 1))


def _take(path: str) -> tuple[dict, bytes]:
    """The content of the file, which is deleted: no program finds it."""
    with open(path, "rb") as file:
        os.unlink(path)
        return frames.receive(frames.Bytes(zlib.decompress(file.read())))


def _judge(connection, result: frames.Bytes, request: dict, payload: bytes) -> None:
    source, inputs = (os.memfd_create(name) for name in ("source", "inputs"))
    os.pwrite(source, payload[: request["source"]], 0)
    with open(inputs, "wb", closefd=False) as file:
        file.write(payload[request["source"] :])
    frames.send(connection, request, descriptors=(source, inputs))
    written = 0
    while True:
        header, output = frames.receive(connection)
        written += 0 if "ran" in header else len(output)
        guess = None
        if "ended" in header:  # the quick pass: suppose that all of its outputs are right
            if written > OUTPUT_LIMIT:
                header["ended"], output = [], b""
            ended = {test for test, *_ in header["ended"]} | {header.get("timeout", {}).get("test")}
            guess = {"again": [test for test in range(*header["tests"]) if test not in ended]}
        elif "ran" in header:  # suppose that these results count, and that later tests must run alone
            following = header["ran"][-1][0] + 1
            ends = header["killed"] or not header["how"].startswith("compiled") or following == len(request["inputs"])
            guess = {"run": [] if ends else [[following, 0]], "cpu": request["time_limit"]}
        elif written > OUTPUT_LIMIT:
            header["size"], output = request["output"], output[:1000]
        frames.send(result, {**header, "guess": guess}, output)
        if "done" in header or "fault" in header:
            return
        if guess:
            frames.send(connection, guess)
