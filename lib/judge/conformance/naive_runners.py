"""Simple ways to run stdio programs, to compare the judge's speed with: what people do without a judge of this kind.

Each takes (program, problem) and returns how many tests passed. None isolates as the judge does; `in_process` does not
isolate at all and must never see a program that is not trusted.
"""

import io
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout, suppress
from functools import partial
from pathlib import Path
from unittest.mock import patch

from ..host.compare import same_tokens
from ..problem import Problem

WALL_LIMIT = 60  # seconds per test: no runner measures CPU time, and a busy machine must not look like a slow program


def in_process(program: str, problem: Problem) -> int:
    """Compiles the program once and runs it in this process with replaced streams, as popular graders do."""
    code, passed = compile(program, "program.py", "exec"), 0
    for test in problem.tests:
        stdin = io.TextIOWrapper(io.BytesIO(test.input.encode()))
        with redirect_stdout(io.StringIO()) as stdout, patch("sys.stdin", stdin), suppress(Exception, SystemExit):
            exec(code, {"__name__": "__main__", "input": partial(_read_line, stdin)})
        passed += same_tokens(stdout.getvalue().encode(), test.output.encode())
    return passed


def _read_line(stdin: io.TextIOWrapper, *_) -> str:
    """Replaces `input`, which a notebook redefines."""
    if not (line := stdin.readline()):
        raise EOFError
    return line.rstrip("\n")


def subprocess_per_test(program: str, problem: Problem, wrapper: tuple[str, ...] = ()) -> int:
    """Starts a new Python for every test."""
    passed = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.py"
        path.write_text(program)
        for test in problem.tests:
            command = [*wrapper, sys.executable, "-I", "-S", str(path)]
            with suppress(subprocess.TimeoutExpired):
                done = subprocess.run(command, input=test.input.encode(), capture_output=True, timeout=WALL_LIMIT)
                passed += done.returncode == 0 and same_tokens(done.stdout, test.output.encode())
    return passed


_BUBBLEWRAP = ("bwrap", "--ro-bind", "/", "/", "--unshare-all", "--die-with-parent")


def available_runners() -> dict[str, Callable[[str, Problem], int]]:
    """The runners that work on this machine, by name."""
    runners: dict[str, Callable[[str, Problem], int]] = {}
    runners |= {"in process, not isolated": in_process, "subprocess per test": subprocess_per_test}
    if shutil.which("bwrap"):
        runners["bubblewrap per test"] = partial(subprocess_per_test, wrapper=_BUBBLEWRAP)
    return runners


def measure_speed(runner: Callable[[str, Problem], int], pairs: Iterable[tuple[str, Problem]]) -> float:
    """Tests per wall second of a runner, on one core. Raises ValueError if not every test passes."""
    pairs, start = list(pairs), time.perf_counter()
    passed = sum(runner(program, problem) for program, problem in pairs)
    seconds = time.perf_counter() - start
    if passed != (total := sum(len(problem.tests) for _, problem in pairs)):
        raise ValueError(f"{passed} of {total} tests passed: times of different work can't be compared")
    return total / seconds
