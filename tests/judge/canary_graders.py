"""Graders for the tests of their containment: each tries something that must fail, or fails itself."""

import os
import socket
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def harmless(text, problem):
    """Pays, unless it could do something from which a containment must keep it."""
    reached = []
    for path in (REPOSITORY / "canary", Path("/canary"), Path.home() / "canary", Path("/var/tmp/canary")):
        try:
            path.write_text("")
            reached.append(path)
        except OSError:
            pass
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    reached += [name for name in ("CapEff", "CapPrm", "CapInh") if int(status[name], 16)]
    reached += [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) > 2]  # its process 1, and itself
    reached += [name for _, name in socket.if_nameindex() if name != "lo"]
    Path("/tmp/canary").write_text("an empty /tmp of its own")
    try:
        children = [os.fork() or time.sleep(60) for _ in range(1000)]
        reached.append(f"{len(children)} processes")
    except BlockingIOError:
        pass
    assert not reached
    assert os.listdir("/tmp") == ["canary"]
    return True


def kills(text, problem):
    child = os.fork()
    if child == 0:
        while True:
            os.kill(-1, 9)
    time.sleep(30)


def leaves(text, problem):
    os._exit(0)


def hangs(text, problem):
    while True:
        time.sleep(1)


def generous(text, problem):
    return 1.0


def undecided(text, problem):
    return None


def stdio_only(text, problem):
    if problem.kind != "stdio":
        raise NotImplementedError
    return False


stdio_only.kinds = ("stdio", "function")
