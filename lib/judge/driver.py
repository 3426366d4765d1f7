"""What runs on a SandboxFusion server: one submission, judged by the very code that judges here. Never imported here.

`start` runs it in a Python without packages and with a fixed hash seed, beside the modules of the inside (see the
package). It takes the place of `worker`: starts a zygote, hands it the submission, answers where a worker waits for an
answer, and writes the frames that come back to a file, which the server gives to whoever asked. It never knows an
expected output of a stdio problem, nor decides anything: if it guessed wrong what is wanted next, it is asked again.
"""

import _socket
import os
import sys
import zlib

import frames
import isolation

GIVEN, RESULT = "given", "result"  # files beside the driver
MOST_OUTPUT = 64 << 20  # bytes of all tests, then outputs are too long; the server holds them in memory


def main(zygote, mode: str) -> None:
    """Judges what is in GIVEN. `zygote`: the code of that module; `mode`: as `Judge` calls isolation."""
    isolation.hide_memory()  # of this process: tests will be in it
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
        _judge(ours, result, *_taken(f"{folder}/{GIVEN}"))
    ours.close()  # the zygote ends by that, and everything below it
    os.waitpid(guardian, 0)
    # Made now, when no program is alive that could have it open.
    with open(f"{folder}/{RESULT}", "xb") as file:
        file.write(zlib.compress(result.getvalue(), 1))


def _taken(path: str) -> tuple[dict, bytes]:
    """The content of the file, which no program finds there any more."""
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
        if "ended" in header:  # the quick pass: suppose that what came out is right
            if written > MOST_OUTPUT:
                header["ended"], output = [], b""
            ended = {test for test, *_ in header["ended"]}
            guess = {"again": [test for test in range(*header["tests"]) if test not in ended], "stop": False}
        elif "ran" in header:  # suppose that it counts, and that each test behind it has to be run alone
            following = header["ran"][-1][0] + 1
            ends = header["killed"] or not header["how"].startswith("compiled") or following == len(request["inputs"])
            guess = {"run": [] if ends else [[following, 0]], "cpu": request["time_limit"]}
        elif written > MOST_OUTPUT:
            header["size"], output = request["output"], output[:1000]
        frames.send(result, {**header, "guess": guess}, output)
        if "done" in header or "fault" in header:
            return
        if guess:
            frames.send(connection, guess)
