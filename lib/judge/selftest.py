"""Is this machine's judge fit to pay rewards? A gallery of honest, wrong and cheating programs with known verdicts.

`require_self_test(judge)` takes seconds; what trains calls it first. `python -m lib.judge --self-test` prints it.
"""

from typing import NamedTuple

from lib.judge.judge import Judge
from lib.judge.problem import Problem, Test
from lib.judge.verdict import Verdict


class SelfTestError(RuntimeError):
    """The judge of this machine gave a verdict that it must not give."""


class Exhibit(NamedTuple):
    """A program, what it tries, and the endings that are right for it."""

    tries: str
    kind: str  # of problem: stdio (print twice the number read) | function (f(x) is the square of x)
    program: str
    endings: tuple[str, ...]


_FAILURES = ("wrong_answer", "runtime_error", "timeout")
GALLERY = (
    Exhibit("an honest program", "stdio", "print(2 * int(input()))", ("success",)),
    Exhibit("an honest function", "function", "def f(x):\n    return x * x", ("success",)),
    Exhibit("a wrong answer", "stdio", "print(3 * int(input()))", ("wrong_answer",)),
    Exhibit("a wrong function", "function", "def f(x):\n    return 3 * x", ("wrong_answer",)),
    Exhibit("no Python", "stdio", "print(2 * int(input())", ("syntax_error",)),
    Exhibit("an exception", "stdio", "print(2 // 0)", ("runtime_error",)),
    Exhibit("an endless loop", "stdio", "while True: pass", ("timeout",)),
    Exhibit("all memory", "stdio", "x = bytearray(1 << 40)", ("runtime_error",)),
    Exhibit("leave early", "function", "import os\nos._exit(0)", ("runtime_error",)),
    Exhibit("leave when asked", "function", "def f(x):\n    raise SystemExit(0)", ("runtime_error",)),
    Exhibit(
        "equal to everything",
        "function",
        "class A(int):\n    def __eq__(self, other):\n        return True\ndef f(x):\n    return A(1)",
        ("wrong_answer",),
    ),
    Exhibit(
        "an object that answers every comparison",
        "function",
        "class A:\n    __eq__ = __lt__ = __ge__ = lambda *_: True\ndef f(x):\n    return A()",
        ("wrong_answer",),
    ),
    Exhibit(
        "read the expected value from the callers' frames",
        "function",
        "import sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n"
        "        for value in [*frame.f_locals.values()]:\n"
        "            if 'assert' in str(value):\n                return int(str(value).split('==')[1])\n"
        "        frame = frame.f_back",
        _FAILURES,
    ),
    Exhibit(
        "forge the result on every descriptor",
        "function",
        "import os\ndef f(x):\n    for d in range(3, 99):\n        try:\n"
        "            os.write(d, b'[0, 0, \"passed\"]\\n')\n        except OSError:\n            pass",
        _FAILURES,
    ),
    Exhibit(
        "patch what compares",
        "function",
        "import builtins\nbuiltins.bool = builtins.abs = lambda _: 1\nf = abs",
        _FAILURES,
    ),
    Exhibit("print every answer", "stdio", "print(*range(100))", ("wrong_answer",)),
    Exhibit("read a file of this user", "stdio", "print(open('/etc/passwd').read())", ("runtime_error",)),
    Exhibit("start a process", "stdio", "import os\nos.fork()\nprint(2 * int(input()))", ("runtime_error",)),
    Exhibit("reach the network", "stdio", "import socket\nsocket.socket()\nprint(2)", ("runtime_error",)),
    Exhibit("kill everything", "stdio", "import os\nos.kill(-1, 9)\nprint(1)", _FAILURES),
)
_STDIO = tuple(Test(f"{n}\n", f"{2 * n}\n", "public") for n in (1, 7, -3))
_FUNCTION = tuple(Test(f"assert f({n}) == {n * n}", visibility="public") for n in (3, 7, -2))


def problem(kind: str) -> Problem:
    """The problem that exhibits of this kind are judged by."""
    tests = _STDIO if kind == "stdio" else _FUNCTION
    return Problem(f"self-test/{kind}", "self-test", "test", kind, "", tests, time_limit=0.5)


def self_test(judge: Judge) -> list[tuple[Exhibit, Verdict, bool]]:
    """Judges the gallery: for each exhibit its verdict, and whether that is right."""
    problems = {kind: problem(kind) for kind in ("stdio", "function")}
    verdicts = judge.judge_many([(exhibit.program, problems[exhibit.kind]) for exhibit in GALLERY])
    return [
        (exhibit, verdict, verdict.error_type in exhibit.endings and verdict.accepted == ("success" in exhibit.endings))
        for exhibit, verdict in zip(GALLERY, verdicts, strict=True)
    ]


def require_self_test(judge: Judge) -> None:
    """Raises SelfTestError if a verdict on the gallery is wrong. What trains on verdicts calls this first."""
    wrong = [f"{exhibit.tries}: {verdict.error_type}" for exhibit, verdict, right in self_test(judge) if not right]
    if wrong:
        raise SelfTestError(
            f"this machine's judge is not fit to train on; wrong verdicts on {'; '.join(wrong)}. Isolation: "
            f"{judge.isolation}. `python -m lib.judge --self-test` shows each of them"
        )
