"""Runs a program inside a forked child as `python program.py` would. Runs inside the sandbox only.

What honest programs count on and get: a real `__main__` module, `exit` and `quit`, fresh standard streams over regular
files, the traceback on stderr, non-daemon threads awaited, atexit handlers, everything buffered written at the end.
"""

import atexit
import builtins
import contextlib
import gc
import io
import os
import resource
import site
import sys
import types

import callee
import carry
import plain
import seccomp

REPORT, START, CALLS = 3, 4, 5  # descriptors beside the standard ones: how tests ended, how the child started, calls
STACK = 64 << 20  # bytes; the stack of the main thread can grow up to here, for deep recursion through C code
ADDRESS_SLACK = 384 << 20  # bytes of address space beyond the memory limit: thread stacks are reserved, seldom used
OPEN_FILES = 256

# Run once in the zygote: what an interpreter makes at first use (the compiler's types alone take 1 ms), children share;
# so they do modules that many programs import. Not `random` and `threading`: what these do at each fork costs more.
_WARM_UP = (
    b"import math, collections, heapq, bisect, itertools, copy, string, typing\nclass A:\n"
    b"    def __init__(self): self.x = 1\n"
    b"n = int(input())\na = [x for x in map(int, input().split()) if x]\nprint(*sorted(a), f'{n:.2f}', A().x)",
    b"def f(): return [][0]\nf()",
    b"print(",
)

# Taken now: a program may put its own functions in their place.
leave = os._exit
_exec, _compile, _write = exec, compile, os.write
_run_exit_functions, _objects = atexit._run_exitfuncs, gc.get_objects


def prepare_interpreter() -> None:
    """Gives the zygote what `python -S` leaves out and programs expect."""
    site.setquit()
    site.setcopyright()
    site.sethelper()
    sys.argv[:] = ["program.py"]
    sys.dont_write_bytecode = True
    # Regular files, as the program's will be: a stream asks once whether its file can seek.
    for descriptor in (0, 1, 2):
        file = os.memfd_create("nothing")
        os.dup2(file, descriptor)
        os.close(file)
    os.pwrite(0, b"3\n1 2 3\n" * len(_WARM_UP), 0)
    for source in _WARM_UP:
        open_streams()
        with contextlib.suppress(SyntaxError):
            code = compile_source(source, "program.py")
            carry.carries_nothing(code)
            run(code, False)
    for descriptor in (0, 1, 2):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
    open_streams()


def limit(memory: int) -> None:
    """Limits of this process and its children. `memory` in bytes."""
    address_space = memory + ADDRESS_SLACK
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(resource.RLIMIT_STACK, (STACK if hard < 0 else min(STACK, hard), hard))
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def enter(descriptors: tuple[int, int, int, int, int], keep: list[int], output: int, cpu: float) -> None:
    """Turns this freshly forked child into the cage of a program.

    `descriptors`: stdin, stdout, stderr, report, start. `keep`: other descriptors that stay open, all but them are
    closed. `output` in bytes. `cpu` in seconds: only a backstop here, the process that waits for the child measures
    exactly.
    """
    for target, source in enumerate(descriptors):
        os.dup2(source, target)
    first = START + 1
    for descriptor in sorted(keep):
        if first < descriptor:
            os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, 1 << 20)
    seconds = int(cpu) + 2
    resource.setrlimit(resource.RLIMIT_FSIZE, (output, output))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    seccomp.deny_system_calls()


def compile_source(source: bytes, name: str):
    """The code object of `source`, whatever encoding it claims for itself. Raises anything."""
    return _compile(source.decode("utf-8", "surrogateescape"), name, "exec", dont_inherit=True)


def start(source: bytes, code):
    """The code object of the program, `code` itself where there is one; a program that can't be compiled ends here.

    Either way START learns it, and is closed: what is written there is beyond the program's reach.
    """
    how = b"compiled"
    if code is None:
        try:
            code = compile_source(source, "program.py")
        except BaseException as error:
            _started(b"not compiled")
            sys.excepthook(type(error), error.with_traceback(None), None)
            _flush(0)
            leave(1)
        if carry.carries_nothing(code):
            how = b"compiled, carries nothing"
    _started(how)
    return code


def failed(error: BaseException) -> None:
    """Tells START that the judge failed in this child; in vain once the program has had its turn."""
    with contextlib.suppress(BaseException):
        _started(b"failed: " + repr(error).encode("ascii", "replace")[:300])


def _started(how: bytes) -> None:
    _write(START, how)
    os.close(START)


def report(data: bytes) -> None:
    """Tells REPORT how a test ended. A program can write there as well, but has nothing to gain that way."""
    _write(REPORT, data)


def run(code, opens_files: bool) -> int:
    """Runs `code` as `__main__` on the standard streams, to the very end. Returns the exit status; never raises."""
    module = _new_module("__main__")
    status = _exit_status(_guarded(code, module.__dict__))
    try:
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        _run_exit_functions()
    except BaseException as error:
        _print_error(error)
    status = _flush(status)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    if opens_files:
        _flush_open_files()
    sys.modules.pop("__main__", None)
    module.__dict__.clear()  # what the program's objects do when they go, they do now
    return _flush(status)


def _flush_open_files() -> None:
    """Writes out what files left open still hold, as the end of an interpreter does; a bare gc.collect can lose it."""
    objects = _objects()  # without those of the zygote, which are frozen
    for kind in (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom):
        for file in objects:
            if issubclass(type(file), kind):
                with contextlib.suppress(BaseException):
                    kind.flush(file)


def _flush(status: int) -> int:
    for stream in (sys.stdout, sys.stderr):
        try:
            if not stream.closed:
                stream.flush()
        except BaseException:
            status = status or 120  # as Python does
    return status


def run_functions(code, calls: int) -> None:
    """Does what the tests at the other end of the socket `calls` ask of the program. Never returns."""
    error: BaseException | None = None
    try:
        callee.serve(code, lambda: _new_module("solution").__dict__, _exec, calls)
    except plain.Gone:  # the tests are through
        pass
    except callee.Ended as ended:
        error = ended.args[0]
        _print_ending(error)
    except BaseException as other:
        error = other
        _print_ending(error)
    _flush(0)
    leave(_exit_status(error))


def _new_module(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__builtins__ = builtins
    module.__file__ = "program.py"
    sys.modules[name] = module
    return module


def open_streams() -> None:
    """New standard streams, for each run: a stream remembers what it has read ahead. What `open` does, without its
    questions about terminals."""
    for name, descriptor, mode, errors, newline in (
        ("stdin", 0, "r", "surrogateescape", None),
        ("stdout", 1, "w", "surrogateescape", "\n"),
        ("stderr", 2, "w", "backslashreplace", "\n"),
    ):
        raw = io.FileIO(descriptor, mode, closefd=False)
        buffer = (io.BufferedReader if mode == "r" else io.BufferedWriter)(raw, raw._blksize)
        stream = io.TextIOWrapper(buffer, "utf-8", errors, newline)
        stream.mode = mode
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _guarded(code, namespace: dict) -> BaseException | None:
    """Runs `code`; what it raised has been printed as Python would."""
    try:
        _exec(code, namespace)
    except BaseException as error:
        _print_ending(error)
        return error
    return None


def _print_ending(error: BaseException) -> None:
    """Prints what Python prints when this ends a program."""
    if not isinstance(error, SystemExit):
        _print_error(error)
    elif not isinstance(error.code, int | None):
        _print(str(error.code))


def _exit_status(error: BaseException | None) -> int:
    if isinstance(error, SystemExit) and isinstance(error.code, int | None):
        return 0 if error.code is None else int.__and__(error.code, 255)
    return 0 if error is None else 1


def _print_error(error: BaseException) -> None:
    try:
        traceback = plain.within_program(error)
        sys.excepthook(type(error), error.with_traceback(traceback), traceback)
    except BaseException:
        pass


def _print(text: str) -> None:
    with contextlib.suppress(BaseException):
        print(text, file=sys.stderr)
