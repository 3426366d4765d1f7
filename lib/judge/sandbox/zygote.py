"""The worker process: `python -s -S zygote.py <socket descriptor> <namespaces | none> [path of a package ...]`.

The judge starts the *guardian*. It holds no socket; it waits until the judge or the zygote is gone and ends the other.
Its child, the *zygote*, is process 1 of the worker's pid namespace, so that its end is the end of everything below it.
The zygote reports what isolates it and serves submissions, each in a process 1 of a namespace of its own. None of these
is ever a fork of the process that trains.
"""

import _socket
import contextlib
import fcntl
import gc
import os
import select
import signal
import sys
from itertools import count

import frames
import isolation
import landlock
import program
import rehearsal
import seccomp
import submission

_MODULES = (
    *("callee", "calls", "carry", "completion", "encoding", "frames", "functions", "isolation", "kinds", "landlock"),
    *("nodes", "operations", "program", "reference", "rehearsal", "seccomp", "stdio", "streams", "submission", "tasks"),
    *("tester", "usual", "watch", "wire"),
)

REHEARSED_AFTER = 64  # submissions: a worker that has fewer would not earn the time back


def main() -> None:
    given = int(sys.argv[1])
    connection = _socket.socket(fileno=fcntl.fcntl(given, fcntl.F_DUPFD_CLOEXEC, 10))
    os.close(given)
    for descriptor in (program.REPORT, program.START, program.CALLS):  # reserve these numbers for the programs
        os.dup2(0, descriptor)
    namespaces, packages, root = sys.argv[2] == "namespaces", sys.argv[3:], os.getuid() == 0
    judge, namespace, layers = os.pidfd_open(os.getppid()), None, []
    try:
        seccomp.prepare()
        isolation.prepare()
        if namespaces:
            isolation.enter_namespaces()
        zygote = os.fork()
        if zygote == 0:
            os.close(judge)
            isolation.die_with_parent()
            namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC) if namespaces else None
            layers = _build_walls(namespaces, root, [os.path.realpath(package) for package in packages])
            _clean_interpreter(packages)
    except (OSError, ImportError) as error:
        frames.send(connection, {"error": str(error)})
        os._exit(1)
    if zygote == 0:
        frames.send(connection, {"layers": layers})
        _serve(connection, namespace)
        os._exit(0)
    connection.close()
    _guard(judge, zygote)


def _guard(judge: int, zygote: int) -> None:
    """The guardian's life. `judge`: descriptor of its process; `zygote`: process id."""
    poll = select.poll()
    for descriptor in (judge, os.pidfd_open(zygote)):
        poll.register(descriptor, select.POLLIN)
    try:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # how the judge ends a worker
        poll.poll()
    finally:
        os.kill(zygote, signal.SIGKILL)
        os.waitpid(zygote, 0)


def _build_walls(namespaces: bool, root: bool, packages: list[str]) -> list[str]:
    """Isolates this process by what the machine offers. Returns what that is, for people."""
    folders = isolation.library_folders()
    if namespaces:
        isolation.replace_root(folders, packages)
        folders += [isolation.PACKAGES] if packages else []
    abi = landlock.restrict(folders, isolation.DEVICES, listed=("/",) if namespaces else ())
    isolation.hide_memory()
    layers = ["namespaces (user, mount, pid, network, ipc, uts)", "read-only root"] if namespaces else ["no namespaces"]
    layers += ["no capabilities", "seccomp", f"Landlock ABI {abi}" if abi else "Landlock not offered by this kernel"]
    if not namespaces:
        layers.append("of files only the Python library can be read" if abi else "this user's files can be read")
    return [*layers, "rlimits", "started by root" if root else "started by an ordinary user"]


def _clean_interpreter(packages: list[str]) -> None:
    """Removes the judge's modules, path and environment from a program's view, imports the packages, so that programs
    need not wait for it, and freezes the heap before any fork. Raises ImportError."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    del sys.path[0]  # the folder of this file
    if packages:
        sys.path.append(isolation.PACKAGES)
    for name in _MODULES:
        del sys.modules[name]
    for name in (os.path.basename(package).removesuffix(".py") for package in packages):
        if name.isidentifier():
            __import__(name)
    os.environ.clear()
    program.prepare_interpreter()
    gc.collect()
    gc.freeze()


def _serve(connection, namespace: int | None) -> None:
    """Serves submissions one after the other. The process of the next submission is forked while the previous one is
    at work, and receives what it is to judge itself: nothing of a submission is ever in the memory of the zygote, of
    which all later processes are copies."""
    following = _fork(connection, namespace)
    for served in count(1):
        child, go = following
        os.write(go, b".")
        os.close(go)
        following = _fork(connection, namespace)
        _, status = os.waitpid(child, 0)
        if status != 0:  # perhaps in the middle of a frame: only the end of the connection can tell the judge
            return
        if served == REHEARSED_AFTER:
            _rehearse(namespace)


def _rehearse(namespace: int | None) -> None:
    if namespace is not None:
        isolation.enter_pid_namespace(namespace)
    rehearsal.rehearse()
    gc.collect()
    gc.freeze()


def _fork(connection, namespace: int | None) -> tuple[int, int]:
    """A process that judges the next submission once a byte is written to the descriptor returned with it."""
    wait, go = os.pipe()
    if namespace is not None:
        isolation.new_pid_namespace(namespace)
    child = os.fork()
    if child == 0:
        _serve_submission(connection, namespace, wait, go)
    os.close(wait)
    return child, go


def _serve_submission(connection, namespace: int | None, wait: int, go: int) -> None:
    try:
        if namespace is None:
            isolation.die_with_parent()
        else:  # the zygote is process 1 of the surrounding namespace: nothing outlives it
            os.close(namespace)
        os.close(go)
        isolation.drop_privileges()
        prepared = submission.Submission(connection, namespace is not None)
        if os.read(wait, 1):
            os.close(wait)
            prepared.take()
            program.limit(prepared.request["memory"], prepared.source)
            prepared.judge()
            os._exit(0)
    except (frames.FrameError, ConnectionError):  # the judge is gone
        pass
    except BaseException as error:
        with contextlib.suppress(BaseException):
            frames.send(connection, {"fault": f"{type(error).__name__}: {error}"})
        os._exit(0)
    finally:
        os._exit(1)


main()
