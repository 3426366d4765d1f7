"""Runs somebody's grader in namespaces of its own: `python -m lib.judge.conformance.containment module:function`.

The suite holds programs that end every process they can reach, and most graders do not isolate them. So this server
shuts itself in before it imports the grader: own user, mount, pid, network, ipc and uts namespaces, a read-only root
with empty /tmp and /dev/shm, no capabilities, an ordinary user, limits on memory and processes. Each request runs in a
fork of its own, below a process 1 of its own: nothing outlives it, and a grader that dies or hangs costs this request
only.

The grader's process reports by its exit status alone: there is no descriptor that a program could write on.
Reads requests from stdin as lines of JSON, and writes a line with `result` and `seconds` for each.
"""

import importlib
import json
import os
import random
import resource
import select
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..problem import Problem, Test

sys.path.append(str(Path(__file__).parents[1] / "sandbox"))  # its modules import each other by bare names
import isolation

RESULTS = ("paid", "unpaid", "error", "unsupported", "hung")  # exit status 40, 41, ...; any other: died
_FIRST_STATUS, _ORDINARY_USER = 40, 60001
_MEMORY, _PROCESSES, _DISK = 4 << 30, 256, "64m"
_LARGE = 190_000_000 // resource.getpagesize()
_NOSUID_NODEV = 2 | 4


def main() -> None:
    requests, answers = sys.stdin, os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDWR)
    enter()
    for descriptor in (1, 2):
        os.dup2(null, descriptor)
    try:
        grader = find_grader(sys.argv[1])
        getattr(grader, "load", bool)()
        grader_kinds = getattr(grader, "kinds", ("stdio", "function", "answer"))
        answers.write(json.dumps({"isolation": getattr(grader, "isolation", "")}) + "\n")
    except Exception as error:
        answers.write(json.dumps({"fault": f"{type(error).__name__}: {error}"}) + "\n")
        return
    answers.flush()
    for line in requests:
        request = json.loads(line)
        pairs = [(row["text"], read_problem(row["problem"])) for row in request["rows"]]
        start = time.monotonic()
        result = "unsupported"
        if all(kind_of(problem) in grader_kinds for _, problem in pairs):
            result = run(grader, pairs, request)
        answers.write(json.dumps({"result": result, "seconds": time.monotonic() - start}) + "\n")
        answers.flush()


def find_grader(name: str) -> Callable:
    """The function `function` of `package.module:function`."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def kind_of(problem: Problem) -> str:
    return "answer" if "answer" in problem.tags else problem.kind


def read_problem(fields: dict) -> Problem:
    values: dict[str, Any] = dict(fields)
    values["tests"] = tuple(Test(**test) for test in fields["tests"])
    return Problem(**values)


def enter() -> None:
    """Shuts this process in. Raises OSError if the machine has no namespaces."""
    if os.getuid() == 0:  # limits on processes do not hold for root
        isolation.call("unshare", isolation._CLONE_NEWNS)
        isolation._mount(None, "/", None, isolation._MS_REC | isolation._MS_PRIVATE)
        _reveal({os.path.realpath(path) for path in (sys.base_prefix, sys.prefix, os.getcwd())})
        os.setgroups([])
        os.setresgid(*[_ORDINARY_USER] * 3)
        os.setresuid(*[_ORDINARY_USER] * 3)
        isolation.prctl(isolation._PR_SET_DUMPABLE, 1)  # else the next line may not write its maps
    isolation.enter_namespaces()
    if child := os.fork():  # only a process inside the new pid namespace can make further ones below it
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    isolation.die_with_parent()
    isolation._mount(None, "/", None, isolation._MS_REC | isolation._MS_PRIVATE)
    isolation._make_read_only(["/"])
    isolation.prepare()


def _reveal(paths: Iterable[str]) -> None:
    """Lets an ordinary user reach these paths below folders that are closed to others, and nothing else there."""
    held, folder = {path: os.open(path, os.O_PATH) for path in sorted(paths)}, os.getcwd()
    for path, descriptor in held.items():
        folders = reversed(Path(path).parents)
        closed = next((str(folder) for folder in folders if not os.stat(folder).st_mode & stat.S_IXOTH), None)
        if closed:
            isolation._mount("closed", closed, "tmpfs", _NOSUID_NODEV, "size=1m,mode=755")
        if not os.path.exists(path):
            os.makedirs(path)
            isolation._mount(f"/proc/self/fd/{descriptor}", path, None, isolation._MS_BIND | isolation._MS_REC)
    os.chdir(folder)
    for descriptor in held.values():
        os.close(descriptor)


def run(grader: Callable, pairs: list[tuple[str, Problem]], request: dict) -> str:
    """Runs the grader on these pairs in a process of its own. Returns one of RESULTS, or died."""
    own = os.open("/proc/thread-self/ns/pid", os.O_RDONLY)
    isolation.new_pid_namespace(own)
    first = os.fork()
    if first == 0:
        with suppress(BaseException):
            _process_1(grader, pairs, request)
        os._exit(1)
    os.close(own)
    ended = os.pidfd_open(first)
    if not select.select([ended], [], [], request["seconds"] + 20)[0]:  # a program has stopped its process 1
        os.kill(first, signal.SIGKILL)
    os.close(ended)
    _, status = os.waitpid(first, 0)
    code = os.waitstatus_to_exitcode(status) - _FIRST_STATUS
    return RESULTS[code] if 0 <= code < len(RESULTS) else "died"


def _process_1(grader: Callable, pairs: list[tuple[str, Problem]], request: dict) -> None:
    os.closerange(3, 1024)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    isolation.call("unshare", isolation._CLONE_NEWNS)
    for place in ("/tmp", "/dev/shm"):
        isolation._mount("own", place, "tmpfs", _NOSUID_NODEV, f"size={_DISK},mode=777")
    isolation._mount("proc", "/proc", "proc", _NOSUID_NODEV)
    os.chdir("/tmp")
    if request.get("disturb") == "full":
        with suppress(OSError), open("/tmp/full", "wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
    isolation.drop_privileges()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_NPROC, (_PROCESSES, _PROCESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    child = os.fork()
    if child == 0:
        os.setsid()
        os.sched_setaffinity(0, set(request["cores"]) if request.get("cores") else os.sched_getaffinity(0))
        os._exit(_FIRST_STATUS + RESULTS.index(_grade(grader, pairs)))
    end, kill = time.monotonic() + request["seconds"], request.get("disturb") == "kill"
    while time.monotonic() < end:
        if kill and (large := _large_process()):
            os.kill(large, signal.SIGKILL)
            kill = False
        done, status = os.waitpid(-1, os.WNOHANG)
        if done == child:
            os._exit(max(0, os.waitstatus_to_exitcode(status)))
        time.sleep(0.002)
    os._exit(_FIRST_STATUS + RESULTS.index("hung"))


def _large_process() -> int:
    """A process with more resident memory than a grader needs, the program's then; 0 if there is none. A kernel that
    is short of memory ends such a process."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if int(Path(f"/proc/{pid}/statm").read_text().split()[1]) > _LARGE:
                return int(pid)
    return 0


def _grade(grader: Callable, pairs: list[tuple[str, Problem]]) -> str:
    """`paid` if the grader pays every pair in full."""
    random.seed(0)
    result = "paid"
    for text, problem in pairs:
        try:
            score = grader(text, problem)
        except NotImplementedError:
            return "unsupported"
        except BaseException:
            return "error"
        if score is None:
            return "error"
        if not float(score) >= 1:
            result = "unpaid"
    return result


if __name__ == "__main__":
    main()
