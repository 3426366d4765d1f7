"""Is this machine's judge fit to pay rewards? Judges a gallery of honest, wrong and cheating programs.

`require_self_test(judge)` takes seconds; trainings call it first. `python -m lib.judge --self-test` prints it.
"""

import tomllib
from pathlib import Path
from typing import NamedTuple

from ..judge import Judge
from ..problem import Problem, Test
from ..verdict import Verdict


class SelfTestError(RuntimeError):
    """The judge of this machine gave a wrong verdict on a program of the gallery."""


class Exhibit(NamedTuple):
    """A program, what it tries, and the error types that are right for it."""

    tries: str
    kind: str  # of problem: stdio (print twice the number read) | function (f(x) is the square of x)
    program: str
    endings: tuple[str, ...]


_GALLERY = tomllib.loads(Path(__file__).with_name("gallery.toml").read_text())["program"]
GALLERY = tuple(Exhibit(row["tries"], row["kind"], row["source"], tuple(row["endings"])) for row in _GALLERY)
_TESTS = {
    "stdio": tuple(Test(f"{n}\n", f"{2 * n}\n", "public") for n in (1, 7, -3)),
    "function": tuple(Test(f"assert f({n}) == {n * n}", visibility="public") for n in (3, 7, -2)),
}


def problem(kind: str) -> Problem:
    """The problem on which exhibits of this kind are judged."""
    return Problem(f"self-test/{kind}", "self-test", "test", kind, "", _TESTS[kind], time_limit=0.5)


def self_test(judge: Judge) -> list[tuple[Exhibit, Verdict, bool]]:
    """Judges the gallery: for each exhibit its verdict, and whether that is right."""
    problems = {kind: problem(kind) for kind in _TESTS}
    verdicts = judge.judge_many([(exhibit.program, problems[exhibit.kind]) for exhibit in GALLERY])
    return [
        (exhibit, verdict, verdict.error_type in exhibit.endings and verdict.accepted == ("success" in exhibit.endings))
        for exhibit, verdict in zip(GALLERY, verdicts, strict=True)
    ]


def require_self_test(judge: Judge) -> None:
    """Raises SelfTestError if a verdict on the gallery is wrong. Call it before training on verdicts."""
    wrong = [f"{exhibit.tries}: {verdict.error_type}" for exhibit, verdict, right in self_test(judge) if not right]
    if wrong:
        raise SelfTestError(
            f"this machine's judge is not fit to train on; wrong verdicts on {'; '.join(wrong)}. Isolation: "
            f"{judge.isolation}. `python -m lib.judge --self-test` shows each of them"
        )
