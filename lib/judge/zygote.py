"""The worker process: `python -s -S zygote.py <socket descriptor> <namespaces | none>`.

Two processes. The *guardian* is what the judge starts; it holds no socket, only waits until the judge or the zygote is
gone, and takes the other one with it. The *zygote* is process 1 of the worker's pid namespace, so that its end is that
of everything below it. It says hello and serves submissions. Neither is ever a fork of the process that trains.
"""

import _socket
import fcntl
import gc
import os
import select
import signal
import sys

import frames
import isolation
import landlock
import program
import seccomp
import submission


def main() -> None:
    given = int(sys.argv[1])
    connection = _socket.socket(fileno=fcntl.fcntl(given, fcntl.F_DUPFD_CLOEXEC, 10))
    os.close(given)
    for descriptor in (program.REPORT, program.START, program.CALLS):  # stay taken, so that no file of ours gets these
        os.dup2(0, descriptor)
    namespaces, root = sys.argv[2] == "namespaces", os.getuid() == 0
    judge = os.pidfd_open(os.getppid())
    try:
        seccomp.prepare()
        isolation.prepare()
        if namespaces:
            isolation.enter_namespaces()
        zygote = os.fork()
        if zygote == 0:
            os.close(judge)
            isolation.die_with_parent()
            own_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC) if namespaces else None
            layers = _build_walls(namespaces, root)
            _become_bare()
    except OSError as error:
        frames.send(connection, {"error": str(error)})
        os._exit(1)
    if zygote == 0:
        frames.send(connection, {"layers": layers})
        submission.serve(connection, own_namespace)
        os._exit(0)
    connection.close()
    poll = select.poll()
    for descriptor in (judge, os.pidfd_open(zygote)):
        poll.register(descriptor, select.POLLIN)
    try:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # how the judge ends a worker
        poll.poll()
    finally:
        os.kill(zygote, signal.SIGKILL)
        os.waitpid(zygote, 0)


def _build_walls(namespaces: bool, root: bool) -> list[str]:
    """Puts this process behind what the machine offers. Returns what that is, for people."""
    folders = isolation.library_folders()
    if namespaces:
        isolation.replace_root(folders)
    abi = landlock.restrict(folders, isolation.DEVICES, listed=("/",) if namespaces else ())
    isolation.hide_memory()
    layers = ["namespaces (user, mount, pid, network, ipc, uts)", "read-only root"] if namespaces else ["no namespaces"]
    layers += ["no capabilities", "seccomp", f"Landlock ABI {abi}" if abi else "Landlock not offered by this kernel"]
    if not namespaces:
        layers.append("of files only the Python library can be read" if abi else "this user's files can be read")
    return [*layers, "rlimits", "started by root" if root else "started by an ordinary user"]


def _become_bare() -> None:
    """Leaves nothing of the judge lying about for a program to stumble over, and freezes the heap before any fork."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    del sys.path[0]  # the folder of this file
    ours = ("callee", "calls", "carry", "frames", "isolation", "landlock", "plain", "program", "seccomp")
    for name in (*ours, "submission", "tester", "watch"):
        del sys.modules[name]
    os.environ.clear()
    program.prepare_interpreter()
    gc.collect()
    gc.freeze()


main()
