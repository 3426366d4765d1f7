"""Runs a program inside a forked child as `python program.py` would. Runs inside the sandbox only.

What honest programs count on and get: a real `__main__` module, `exit` and `quit`, fresh standard streams over regular
files, the traceback on stderr, non-daemon threads awaited, atexit handlers, everything buffered written at the end.
"""

import atexit
import builtins
import contextlib
import gc
import os
import resource
import site
import sys
import types

import isolation

REPORT = 3  # the descriptor of the child's report, beside the standard streams
STACK = 64 << 20  # bytes; the stack of the main thread can grow up to here, for deep recursion through C code
ADDRESS_SLACK = 512 << 20  # bytes of address space beyond the memory limit: thread stacks are reserved, seldom used
OPEN_FILES = 256

# Taken now: a program may put its own functions in their place.
_exec, _compile, _write, _leave = exec, compile, os.write, os._exit
_run_exit_functions, _collect = atexit._run_exitfuncs, gc.collect


def prepare_interpreter() -> None:
    """Gives the zygote what `python -S` leaves out and programs expect."""
    site.setquit()
    site.setcopyright()
    site.sethelper()
    sys.argv[:] = ["program.py"]
    sys.dont_write_bytecode = True


def enter(descriptors: tuple[int, int, int, int], private: list[int], memory: int, output: int, cpu: float) -> None:
    """Turns this freshly forked child into the cage of a program.

    `descriptors`: stdin, stdout, stderr, report. `private`: descriptors to close. `memory` in bytes, `output` in bytes,
    `cpu` in seconds: only a backstop here, the process that waits for the child measures exactly.
    """
    isolation.die_with_parent()
    for target, source in enumerate(descriptors):
        os.dup2(source, target)
    for descriptor in private:
        os.close(descriptor)
    address_space = memory + ADDRESS_SLACK
    seconds = int(cpu) + 2
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(resource.RLIMIT_STACK, (STACK if hard < 0 else min(STACK, hard), hard))
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_FSIZE, (output, output))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    isolation.deny_system_calls()


def compile_or_leave(source: bytes, name: str):
    """The code object of `source`; on an error prints it as Python does and ends this process."""
    try:
        return _compile(source.decode("utf-8", "surrogateescape"), name, "exec", dont_inherit=True)
    except BaseException as error:
        _open_streams()
        sys.excepthook(type(error), error.with_traceback(None), None)
        sys.stderr.flush()
        _leave(1)


def report(data: bytes) -> None:
    _write(REPORT, data)


def run(code) -> int:
    """Runs `code` as `__main__` on the standard streams, to the very end. Returns the exit status; never raises."""
    module = _new_module("__main__")
    _open_streams()
    status = _guarded(code, module.__dict__)
    try:
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        _run_exit_functions()
    except BaseException as error:
        _print_error(error)
    status = _flush(status)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    sys.modules.pop("__main__", None)
    module.__dict__.clear()  # files that the program left open are written now, as at the end of an interpreter
    _collect()
    return _flush(status) & 255


def _flush(status: int) -> int:
    for stream in (sys.stdout, sys.stderr):
        try:
            if not stream.closed:
                stream.flush()
        except BaseException:
            status = status or 120  # as Python does
    return status


def run_function_test(program, test, token: bytes) -> None:
    """Runs `program`, then `test` in the same module; reports `token` only if the test ran to its end. Never returns.

    The token lives in this frame alone. That defeats every way of leaving early; a program that walks the frames of its
    callers could still find it.
    """
    module = _new_module("solution")
    _open_streams()
    if _guarded(program, module.__dict__) == 0:
        failed_assertion: list[bool] = []
        if _guarded(test, module.__dict__, failed_assertion) == 0:
            report(token)
            _leave(0)
        if failed_assertion:
            report(b"A")
    with contextlib.suppress(BaseException):
        sys.stderr.flush()
    _leave(1)


def _new_module(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__builtins__ = builtins
    module.__file__ = "program.py"
    sys.modules[name] = module
    return module


def _open_streams() -> None:
    # Built anew for each run: a stream remembers whether its file can seek, and what it has read ahead.
    for name, descriptor, mode, errors in (
        ("stdin", 0, "r", "surrogateescape"),
        ("stdout", 1, "w", "surrogateescape"),
        ("stderr", 2, "w", "backslashreplace"),
    ):
        newline = None if mode == "r" else "\n"
        stream = open(descriptor, mode, encoding="utf-8", errors=errors, newline=newline, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _guarded(code, namespace: dict, failed_assertion: list[bool] | None = None) -> int:
    try:
        _exec(code, namespace)
    except SystemExit as leaving:
        if leaving.code is None:
            return 1 if failed_assertion is not None else 0
        if isinstance(leaving.code, int):
            return leaving.code or (1 if failed_assertion is not None else 0)
        _print(str(leaving.code))
        return 1
    except BaseException as error:
        if failed_assertion is not None and isinstance(error, AssertionError):
            failed_assertion.append(True)
        _print_error(error)
        return 1
    return 0


def _print_error(error: BaseException) -> None:
    try:
        traceback = error.__traceback__ and error.__traceback__.tb_next  # without the frame of this module
        sys.excepthook(type(error), error.with_traceback(traceback), traceback)
    except BaseException:
        pass


def _print(text: str) -> None:
    with contextlib.suppress(BaseException):
        print(text, file=sys.stderr)
