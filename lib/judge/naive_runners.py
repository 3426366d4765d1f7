"""Other ways to judge stdio programs, to measure beside: what people do without a judge of this kind.

For comparison only. Each takes (program, problem) and returns how many tests passed. None isolates as the judge does;
`in_process` does not isolate at all and must never see a program that is not trusted.
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

from lib.judge.compare import same_tokens
from lib.judge.problem import Problem

_WALL = 60  # seconds a test: none of these ways knows CPU time, and a busy machine must not look like a slow program


def in_process(program: str, problem: Problem) -> int:
    """As the popular graders do: the program is compiled once and run in this process with its streams replaced."""
    code, passed = compile(program, "program.py", "exec"), 0
    for test in problem.tests:
        stdin = io.TextIOWrapper(io.BytesIO(test.input.encode()))
        with redirect_stdout(io.StringIO()) as stdout, patch("sys.stdin", stdin), suppress(Exception, SystemExit):
            exec(code, {"__name__": "__main__", "input": partial(_line, stdin)})
        passed += same_tokens(stdout.getvalue().encode(), test.output.encode())
    return passed


def _line(stdin: io.TextIOWrapper, *_) -> str:
    """Stands for `input`, which means something else in a notebook."""
    if not (line := stdin.readline()):
        raise EOFError
    return line.rstrip("\n")


def subprocess_per_test(program: str, problem: Problem, wrapper: tuple[str, ...] = ()) -> int:
    """A new Python for every test."""
    passed = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.py"
        path.write_text(program)
        for test in problem.tests:
            command = [*wrapper, sys.executable, "-I", "-S", str(path)]
            with suppress(subprocess.TimeoutExpired):
                done = subprocess.run(command, input=test.input.encode(), capture_output=True, timeout=_WALL)
                passed += done.returncode == 0 and same_tokens(done.stdout, test.output.encode())
    return passed


def bubblewrap_per_test(program: str, problem: Problem) -> int:
    """The same inside bubblewrap."""
    return subprocess_per_test(program, problem, ("bwrap", "--ro-bind", "/", "/", "--unshare-all", "--die-with-parent"))


def peers_here() -> dict[str, Callable[[str, Problem], int]]:
    """The ways that this machine offers."""
    found = {"in process, not isolated": in_process, "subprocess per test": subprocess_per_test}
    return found | ({"bubblewrap per test": bubblewrap_per_test} if shutil.which("bwrap") else {})


def throughput(way: Callable[[str, Problem], int], pairs: Iterable[tuple[str, Problem]]) -> float:
    """Tests per wall second of a way, on one core. Raises ValueError if it does not pass every test."""
    pairs, start = list(pairs), time.perf_counter()
    passed = sum(way(program, problem) for program, problem in pairs)
    seconds = time.perf_counter() - start
    if passed != (total := sum(len(problem.tests) for _, problem in pairs)):
        raise ValueError(f"{passed} of {total} tests passed: times of different work can't be compared")
    return total / seconds
