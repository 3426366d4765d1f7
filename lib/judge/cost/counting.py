"""The process that runs programs to count what they cost: `[valgrind ...] python -s -S counting.py <order> <report>`.

`meter` starts it with the folder of the sandbox's modules in PYTHONPATH. It enters namespaces and forks a child for
every run, locked up as in a submission (see `program.enter`). Everything that does not depend on a run, including the
compiling, happens before the first fork, so that two children differ only by what their programs do.

`order`: descriptor of a JSON object: `tier`, `namespaces`, `memory` (bytes), `cpu` (seconds), `sources` (descriptors),
`inputs` (descriptor of the tests' plans), `event` (kind and number of the counter), and `runs`: each [source, stdin,
stdout, test], three descriptors and null or a function test as `tester.run` takes it, whose records then go to stdout.
`report`: descriptor that gets a line of JSON per run: [process id, exit status, count, end of stderr], count null if
valgrind counts, in its log; or a string, the reason why nothing can be counted.
"""

import _socket
import ctypes
import fcntl
import json
import os
import struct
import sys

import calls
import isolation
import landlock
import program
import seccomp
import tester

OUTPUT_LIMIT = 16 << 20  # bytes
_COUNT = struct.Struct("<Q")
_INHERIT, _EXCLUDE_KERNEL, _EXCLUDE_HYPERVISOR = 1 << 1, 1 << 5, 1 << 6


def main() -> None:
    isolation.die_with_parent()
    order_file, report = map(_high, (int(sys.argv[1]), int(sys.argv[2])))
    order = json.loads(os.pread(order_file, os.fstat(order_file).st_size, 0))
    order["inputs"] = _high(order["inputs"])
    runs = [
        (order["sources"].index(source), _high(stdin), _high(out), test) for source, stdin, out, test in order["runs"]
    ]
    sources = [_high(source) for source in order["sources"]]
    for descriptor in (program.REPORT, program.START, program.CALLS):  # reserve these numbers for the programs
        os.dup2(0, descriptor)
    seccomp.prepare()
    isolation.prepare()
    if order["namespaces"]:
        isolation.enter_namespaces()
    process = os.fork()
    if process:
        _, status = os.waitpid(process, 0)
        os._exit(int(status != 0))
    try:
        texts = [os.pread(source, os.fstat(source).st_size, 0) for source in sources]
        _lock_up(order)
        program.limit(order["memory"], b"".join(texts))
        codes = [(text, program.compile_program(text, order["offered"]), b"open" in text) for text in texts]
        for source, stdin, stdout, test in runs:
            line = json.dumps(_count(order, codes[source], stdin, stdout, test)).encode()
            os.write(report, line + b"\n")
    except BaseException as error:
        os.write(report, json.dumps(f"{type(error).__name__}: {error}").encode() + b"\n")
        os._exit(1)
    os._exit(0)


def _lock_up(order: dict) -> None:
    """Isolates this process and cleans its interpreter, as `zygote` does."""
    isolation.die_with_parent()
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


def _high(descriptor: int) -> int:
    """The same file under a number that no program uses."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 64)


def _count(order: dict, code: tuple, stdin: int, stdout: int, test: list | None) -> list:
    """Runs one program in a child, and beside it the test that calls it, if there is one."""
    count, errors, nothing = map(os.memfd_create, ("count", "errors", "nothing"))
    wait, go = os.pipe()
    program_end, tests_end = _socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            isolation.die_with_parent()
            os.close(go)
            os.read(wait, 1)
            calls = [os.dup2(program_end.fileno(), program.CALLS)] if test else []
            descriptors = (stdin, nothing if test else stdout, errors, count, nothing)
            program.enter(descriptors, calls, OUTPUT_LIMIT, order["cpu"])
            _live(order["tier"], order["offered"], *code, *calls)
        except BaseException as error:
            os.write(2, repr(error).encode())
        finally:
            program.leave(1)
    tester_child = os.fork() if test else None
    if tester_child == 0:
        try:
            program_end.close()
            isolation.die_with_parent()
            seccomp.deny_system_calls()
            program.leave(tester.run(tests_end.fileno(), stdout, order["inputs"], [test or []]))
        finally:
            program.leave(1)
    tests_end.close()
    program_end.close()
    os.close(wait)
    event = _open_counter(child, *order["event"]) if order["tier"] == "counter" else None
    os.write(go, b".")
    os.close(go)
    _, status = os.waitpid(child, 0)
    if tester_child:
        os.waitpid(tester_child, 0)
    counted = None
    if event is not None:
        counted, enabled, running = struct.unpack("<QQQ", os.read(event, 24))
        os.close(event)
        if running < enabled:
            raise OSError("the hardware counter was shared with others")
    elif os.fstat(count).st_size == _COUNT.size:
        counted = _COUNT.unpack(os.pread(count, _COUNT.size, 0))[0]
    stderr = os.pread(errors, 300, max(0, os.fstat(errors).st_size - 300)).decode("utf-8", "replace")
    for descriptor in (count, errors, nothing):
        os.close(descriptor)
    return [child, os.waitstatus_to_exitcode(status), counted, stderr]


def _live(tier: str, offered: dict, source: bytes, code, opens_files: bool, calls: int | None = None) -> None:
    """The life of a child: runs the program; in the last tier, counts its bytecodes itself."""
    count, leave = 0, program.leave

    def trace(frame, event, _):
        nonlocal count
        if event == "opcode":
            count += 1
        elif event == "call":
            frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return trace

    def report_and_leave(status: int) -> None:
        sys.settrace(None)
        program.report(_COUNT.pack(count))
        leave(status)

    code = program.start(source, code)
    if tier == "bytecode":
        setattr(program, "leave", report_and_leave)  # noqa: B010
        sys.settrace(trace)
    if calls is not None:
        program.run_functions(code, calls, offered)
    program.leave(program.run(code, opens_files))


def _open_counter(process: int, kind: int, number: int) -> int:
    """The descriptor of a counter of user-mode events of `process` and its threads, from now on. Raises OSError."""
    flags = _INHERIT | _EXCLUDE_KERNEL | _EXCLUDE_HYPERVISOR
    size, with_times = 64, 1 | 2
    attributes = struct.pack("=IIQQQQQIIQ", kind, size, number, 0, 0, with_times, flags, 0, 0, 0)
    everywhere, close_on_exec = -1, 8
    attributes = ctypes.create_string_buffer(attributes, size)
    return calls.system_call("perf_event_open", attributes, process, everywhere, -1, close_on_exec)


main()
