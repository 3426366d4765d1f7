"""The process that counts what programs cost: `[valgrind ...] python -s -S counting.py <order>`, for as long as a meter
lives.

`meter` starts it with the folder of the sandbox's modules in PYTHONPATH. It enters namespaces, warms up, and then
answers requests on a socket; every run is a forked child, locked up as in a submission (see `program.enter`), directly
behind a child that runs the empty program. Compiling happens before the two forks, so that the children differ only by
what their programs do: imports, threads and exit functions included.

`order`: JSON with `socket` (descriptor), `tier`, `namespaces`, `event` (kind and number of the hardware counter). A
request is a frame as a worker of the judge receives it (descriptors of the program and of the problem's inputs) with
`empty`, the empty program, and `cpu` in seconds. The answer has `runs`: for each test [report of the empty program,
report], a report being [process id, limit that ended it, exit status, count or null, end of stderr]; the payload is the
outputs of the tests, of the lengths `sizes`; `cpu`: seconds of all processes here so far. Valgrind writes its counts
into its log as the children end.
"""

import _socket
import contextlib
import ctypes
import fcntl
import gc
import importlib
import json
import os
import resource
import signal
import struct
import sys
import time
from typing import Any

import calls
import frames
import isolation
import landlock
import program
import seccomp
import streams
import tester
import watch

OUTPUT_LIMIT = 16 << 20  # bytes
STDERR_TAIL = 300
_INHERIT, _EXCLUDE_KERNEL, _EXCLUDE_HYPERVISOR = 1 << 1, 1 << 5, 1 << 6
# Under valgrind, code costs the most when it runs for the first time in a process, and children begin with what this
# process has run. So everything that many programs do is done here once; modules are imported, because an import would
# cost a program up to twenty times its own work.
with open(__file__.removesuffix("counting.py") + "warm_up.txt", "rb") as _file:
    _WARM_UP = _file.read()
_WARM_UP_INPUT = b"12 1\n" + b" ".join(b"%d" % (n * 7919 % 31 - 9) for n in range(12)) + b"\nsome more\n1 2\n"


def main() -> None:
    order_file = int(sys.argv[1])
    order = json.loads(os.pread(order_file, os.fstat(order_file).st_size, 0))
    connection = _socket.socket(fileno=fcntl.fcntl(order["socket"], fcntl.F_DUPFD_CLOEXEC, 64))
    os.close(order["socket"])
    for descriptor in (program.REPORT, program.START, program.CALLS):  # reserve these numbers for the programs
        os.dup2(0, descriptor)
    try:
        seccomp.prepare()
        isolation.prepare()
        if order["namespaces"]:
            isolation.enter_namespaces()
        process = os.fork()
        if process == 0:
            isolation.die_with_parent()
            _lock_up(order)
    except (OSError, ImportError) as error:
        frames.send(connection, {"error": f"{type(error).__name__}: {error}"})
        os._exit(1)
    if process:
        connection.close()
        os.waitpid(process, 0)
        os._exit(0)
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # see `_wait`
        frames.send(connection, {"cpu": sum(os.times()[:4])})
        while True:
            _serve(connection, order)
    finally:  # the meter is gone
        os._exit(0)


def _lock_up(order: dict) -> None:
    """Isolates this process, cleans its interpreter as `zygote` does, and warms up."""
    folders = isolation.library_folders()
    if order["namespaces"]:
        isolation.replace_root(folders, [])
    landlock.restrict(folders, isolation.DEVICES, listed=("/",) if order["namespaces"] else ())
    if order["tier"] != "counter":  # the kernel lets this process count its children only if they can be traced
        isolation.hide_memory()
    isolation.drop_privileges()
    os.environ.clear()
    ours = {sys.path.pop(0), sys.path.pop(0)}  # the folders of this file and of the sandbox
    for name, module in list(sys.modules.items()):
        if os.path.dirname(getattr(module, "__file__", None) or "") in ours:
            del sys.modules[name]
    program.prepare_interpreter()
    code = program.compile_program(_WARM_UP, {})
    threading: Any = importlib.import_module("threading")
    shutdown, threading._shutdown = threading._shutdown, lambda: None  # it does its work only once
    for _ in range(3):  # the interpreter specializes bytecode that runs repeatedly
        for descriptor, content in enumerate((_WARM_UP_INPUT, b"", b"")):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, content, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
        streams.open_standard()
        if status := program.run(code, False):
            raise OSError(f"the warm-up ended with {status}: {os.pread(2, STDERR_TAIL, 0).decode()}")
    threading._shutdown = shutdown
    _rehearse(threading)
    gc.collect()
    gc.freeze()


def _rehearse(threading) -> None:
    """Does what each child does before its program starts, without effect."""
    threading._after_fork()
    for limit in (resource.RLIMIT_STACK, resource.RLIMIT_AS, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE):
        resource.setrlimit(limit, resource.getrlimit(limit))
    os.closerange(1 << 19, 1 << 20)
    with contextlib.suppress(OSError):
        calls.repeat("getpid", calls.words(-1))
    isolation.die_with_parent()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    read, write = os.pipe()
    os.write(write, b".")
    os.read(read, 1)
    os.dup2(read, write)
    os.close(read)
    os.close(write)


def _serve(connection, order: dict) -> None:
    """Answers one request. Raises FrameError or OSError once the meter is gone."""
    request, _, (source, inputs) = frames.receive_descriptors(connection, 2)
    text = os.pread(source, os.fstat(source).st_size, 0)
    try:
        empty, code = (program.compile_program(each, request) for each in (request["empty"].encode(), text))
    except BaseException as error:
        frames.send(connection, {"error": f"it can't be compiled: {type(error).__name__}"})
        return
    runs, outputs, offset = [], [], 0
    for size in request["inputs"]:
        test = [0, 0, size, offset] if request["kind"] == "function" else None
        pair = []
        for is_empty, each in ((True, empty), (False, code)):
            files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
            if test is None:
                os.write(files[0], os.pread(inputs, size, offset))
                os.lseek(files[0], 0, os.SEEK_SET)
            pair.append(_count(order, request, (b"" if is_empty else text, each), files, inputs, test))
            pair[-1].append(_tail(files[2]).decode("utf-8", "replace"))
            if not is_empty:
                outputs.append(os.pread(files[1], OUTPUT_LIMIT, 0))
            for descriptor in files:
                os.close(descriptor)
        runs.append(pair)
        offset += size
    for descriptor in (source, inputs):
        os.close(descriptor)
    answer = {"runs": runs, "sizes": [len(output) for output in outputs], "cpu": sum(os.times()[:4])}
    frames.send(connection, answer, b"".join(outputs))


def _count(order: dict, request: dict, code: tuple, files: list[int], inputs: int, test: list | None) -> list:
    """Runs one program in a child, and beside it the test that calls it, if there is one. `files`: of its standard
    streams; of a test, standard output gets the records."""
    nothing = os.memfd_create("nothing")
    wait, go = os.pipe()
    program_end, tests_end = _socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            os.close(go)
            os.read(wait, 1)
            calls = [os.dup2(program_end.fileno(), program.CALLS)] if test else []
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            program.limit(request["memory"], code[0])
            descriptors = (files[0], nothing if test else files[1], files[2], nothing, nothing)
            program.enter(descriptors, calls, OUTPUT_LIMIT, request["cpu"])
            _live(request, *code, *calls)
        except BaseException as error:
            os.write(2, repr(error).encode())
        finally:
            program.leave(1)
    tester_child = os.fork() if test else None
    if tester_child == 0:
        try:
            program_end.close()
            seccomp.deny_system_calls()
            program.leave(tester.run(tests_end.fileno(), files[1], inputs, [test or []]))
        finally:
            program.leave(1)
    for closed in (tests_end, program_end):
        closed.close()
    os.close(wait)
    event = _open_counter(child, *order["event"]) if order["tier"] == "counter" else None
    os.write(go, b".")
    os.close(go)
    limit, status = _wait(child, request["cpu"], request["asleep"])
    if tester_child:
        os.waitpid(tester_child, 0)
    os.close(nothing)
    counted = None
    if event is not None:
        counted, enabled, running = struct.unpack("<QQQ", os.read(event, 24))
        os.close(event)
        if running < enabled:
            raise OSError("the hardware counter was shared with others")
    return [child, limit, os.waitstatus_to_exitcode(status), counted]


def _live(request: dict, source: bytes, code, calls: int | None = None) -> None:
    """The life of a child."""
    code = program.start(source, code)
    gc.freeze()  # also sets its counters to 0: collections come at the same places in every run
    if calls is not None:
        program.run_functions(code, calls, request)
    program.leave(program.run(code, b"open" in source))


def _wait(child: int, cpu_limit: float, asleep_limit: float) -> tuple[str, int]:
    """Waits for a child. Returns the limit that ended it ("cpu", "wall" or "") and its wait status.

    As `watch.wait`, without descriptors of processes, which valgrind does not know: the end of a child is a signal,
    which stays blocked here.
    """
    used = asleep = 0.0
    last, limit = time.monotonic(), ""
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if signal.sigtimedwait({signal.SIGCHLD}, 1.0) is not None:
            continue
        before, used, now = used, watch.cpu_time(child), time.monotonic()
        if used - before < 0.01 * (now - last):
            asleep += (now - last) * watch.cpu_share()
        last = now
        if used >= cpu_limit or asleep >= asleep_limit:
            limit = "cpu" if used >= cpu_limit else "wall"
            os.kill(child, signal.SIGKILL)
            break
    _, status, usage = os.wait4(child, 0)
    if os.WIFSIGNALED(status) and watch.cpu(usage) >= cpu_limit:  # by the backstop, see `program.enter`
        limit = "cpu"
    return limit, status


def _tail(descriptor: int) -> bytes:
    return os.pread(descriptor, STDERR_TAIL, max(0, os.fstat(descriptor).st_size - STDERR_TAIL))


def _open_counter(process: int, kind: int, number: int) -> int:
    """The descriptor of a counter of user-mode events of `process` and its threads, from now on. Raises OSError."""
    flags = _INHERIT | _EXCLUDE_KERNEL | _EXCLUDE_HYPERVISOR
    size, with_times = 64, 1 | 2
    attributes = struct.pack("=IIQQQQQIIQ", kind, size, number, 0, 0, with_times, flags, 0, 0, 0)
    everywhere, close_on_exec = -1, 8
    attributes = ctypes.create_string_buffer(attributes, size)
    return calls.system_call("perf_event_open", attributes, process, everywhere, -1, close_on_exec)


main()
