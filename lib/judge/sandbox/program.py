"""Runs a program in a forked child as `python program.py` would.

Honest programs get what they expect: a real `__main__` module, `exit` and `quit`, new standard streams over regular
files, the traceback on stderr; at the end threads are awaited, atexit handlers called, buffers written.
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
import completion
import seccomp
import streams
import wire

REPORT, START, CALLS = 3, 4, 5  # descriptors: how the tests ended, how the child started, the wire to the tests
STACK = 64 << 20  # bytes to which the main thread's stack can grow, for deep recursion through C code
ADDRESS_SLACK = 384 << 20  # bytes of address space beyond the memory limit, for what is reserved and seldom used
THREAD_STACKS = 2 << 30  # the same for a program that sets the size of its threads' stacks: they are reserved whole
OPEN_FILES = 256

# Run once in the zygote, so that children share what an interpreter creates at first use (the compiler's types alone
# take 1 ms) and modules that many programs import. Not `random` and `threading`: they do work at each fork.
_WARM_UP = (
    b"import math, collections, heapq, bisect, itertools, copy, string, typing\nclass A:\n"
    b"    def __init__(self): self.x = 1\n"
    b"n = int(input())\na = [x for x in map(int, input().split()) if x]\nprint(*sorted(a), f'{n:.2f}', A().x)",
    b"def f(): return [][0]\nf()",
    b"print(",
)

# Bound at import: a program may replace these functions.
leave = os._exit
_exec, _compile, _write = exec, compile, os.write
_run_exit_functions, _objects = atexit._run_exitfuncs, gc.get_objects


def prepare_interpreter() -> None:
    """Adds what `python -S` leaves out and programs expect, and warms the interpreter up."""
    site.setquit()
    site.setcopyright()
    site.sethelper()
    sys.argv[:] = ["program.py"]
    sys.set_int_max_str_digits(0)
    os.environ["ONLINE_JUDGE"] = "true"
    sys.dont_write_bytecode = True
    # Regular files, as programs will have: a stream asks only once whether its file can seek.
    for descriptor in (0, 1, 2):
        file = os.memfd_create("nothing")
        os.dup2(file, descriptor)
        os.close(file)
    os.pwrite(0, b"3\n1 2 3\n", 0)
    for source in _WARM_UP * 4:  # the interpreter specialises a function after eight calls
        os.lseek(0, 0, os.SEEK_SET)
        streams.open_standard()
        with contextlib.suppress(SyntaxError):
            code = compile_source(source, "program.py")
            carry.carries_nothing(code)
            run(code, False)
    for descriptor in (0, 1, 2):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
    streams.open_standard()


def limit(memory: int, source: bytes) -> None:
    """Sets the limits of this process and its children. `memory` in bytes: more than that can be reserved, but whoever
    waits for a child looks at how much it used."""
    address_space = memory + ADDRESS_SLACK + (THREAD_STACKS if b"stack_size" in source else 0)
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(resource.RLIMIT_STACK, (STACK if hard < 0 else min(STACK, hard), hard))
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def enter(descriptors: tuple[int, int, int, int, int], keep: list[int], output: int, cpu: float) -> None:
    """Locks this newly forked child up: descriptors, limits, system calls.

    `descriptors`: stdin, stdout, stderr, report, start. `keep`: other descriptors that stay open; the rest is closed.
    `output` in bytes. `cpu` in seconds: only a backstop, the process that waits for the child measures exactly.
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
    """The code object of `source`, whatever encoding it declares. Raises anything."""
    source = source.removeprefix(b"\xef\xbb\xbf")  # a byte order mark, which Python accepts in a file too
    return _compile(source.decode("utf-8", "surrogateescape"), name, "exec", dont_inherit=True)


def compile_program(source: bytes, offered: dict):
    """The code object of a program, which may be the body alone of the function that the prompt begins. `offered`: what
    the prompt offers, see `host/prompt.py`. Raises anything."""
    try:
        return compile_source(source, "program.py")
    except SyntaxError:
        body = source.decode("utf-8", "surrogateescape")
        if not offered.get("prompt") or not (code := completion.of_body(offered["prompt"], body, offered["indent"])):
            raise
        return code


def start(source: bytes, code, offered: dict | None = None):
    """The code object of the program: `code` unless it is None; a program that can't be compiled ends here.

    Either way the result is written to START, which is then closed: the program can't change it.
    """
    if b"/dev/" in source or b"/proc/" in source:
        streams.know_paths()
    how = b"compiled"
    if code is None:
        try:
            code = compile_program(source, offered or {})
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
    """Writes to START that the judge failed in this child; without effect once the program has started."""
    with contextlib.suppress(BaseException):
        _started(b"failed: " + repr(error).encode("ascii", "replace")[:300])


def _started(how: bytes) -> None:
    _write(START, how)
    os.close(START)


def report(data: bytes) -> None:
    """Writes to REPORT how a test ended. A program can write there too, but gains nothing by it."""
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
    module.__dict__.clear()  # finalizers of the program's objects run now
    return _flush(status)


def _flush_open_files() -> None:
    """Flushes files that were left open, as an interpreter does at its end; gc.collect alone can lose their content."""
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


def run_functions(code, calls: int, offered: dict) -> None:
    """Does what the tests at the other end of the socket `calls` ask of the program. Never returns."""
    error: BaseException | None = None
    try:
        helpers = offered.get("helpers")
        codes = [_compile(helpers, "prompt.py", "exec", dont_inherit=True), code] if helpers else [code]
        callee.serve(codes, new_functions_module, _exec, offered["usual"], calls)
    except wire.PeerGone:  # the tests are through
        pass
    except BaseException as raised:
        error = raised.args[0] if isinstance(raised, wire.Ended) else raised
        _print_ending(error)
    _flush(0)
    leave(_exit_status(error))


def _new_module(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__.update({"__builtins__": builtins, "__file__": "program.py"})
    sys.modules[name] = module
    return module


def new_functions_module() -> dict:
    """Globals of a program whose functions are called. It is `__main__` for those who look there (doctest, pickle), but
    not by name: its main part does not run."""
    module = sys.modules["__main__"] = _new_module("solution")
    return module.__dict__


def _guarded(code, namespace: dict) -> BaseException | None:
    """Runs `code` and returns what it raised, printed as Python would."""
    try:
        _exec(code, namespace)
    except BaseException as error:
        _print_ending(error)
        return error
    return None


def _print_ending(error: BaseException) -> None:
    """Prints what Python prints when this error ends a program."""
    if not isinstance(error, SystemExit):
        _print_error(error)
    elif not isinstance(error.code, int | None):
        text = str(error.code)
        with contextlib.suppress(BaseException):
            print(text, file=sys.stderr)


def _exit_status(error: BaseException | None) -> int:
    if isinstance(error, SystemExit) and isinstance(error.code, int | None):
        return 0 if error.code is None else int.__and__(error.code, 255)
    return 0 if error is None else 1


def _print_error(error: BaseException) -> None:
    with contextlib.suppress(BaseException):
        traceback = wire.within_program(error)
        sys.excepthook(type(error), error.with_traceback(traceback), traceback)
