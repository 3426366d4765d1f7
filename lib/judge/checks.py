"""What `02_judge` shows of the judge, in plain rows: references judged, steadiness under load, the machine."""

import multiprocessing
import platform
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from lib.judge import Judge
from lib.judge.problem import Problem
from lib.judge.verdict import Verdict


def references(sets: dict[str, list[Problem]], judge: Judge) -> dict[str, dict[str, int]]:
    """For each set, of how many solutions and of how many incorrect ones (or functions that do nothing) the judge says
    what the set says; api_errors apart."""
    rows = {}
    for name, problems in sets.items():
        right = [(program, problem) for problem in problems for program in problem.solutions]
        wrong = [(program, problem) for problem in problems for program in problem.incorrect_solutions]
        wrong += [
            (f"def {p.entry_point}(*_): pass", p) for p in problems if p.entry_point and not p.incorrect_solutions
        ]
        accepted, rejected = judge.judge_many(right), judge.judge_many(wrong)
        rows[name] = {
            "solutions": len(right),
            "accepted": sum(verdict.accepted for verdict in accepted),
            "incorrect": len(wrong),
            "rejected": sum(not verdict.accepted and verdict.error_type != "api_error" for verdict in rejected),
            "api_errors": sum(verdict.error_type == "api_error" for verdict in (*accepted, *rejected)),
        }
    return rows


def timeless(verdict: Verdict) -> Verdict:
    """The verdict without its times, which no two runs share."""
    return replace(verdict, judge_time=0.0, tests=tuple(replace(test, judge_time=0.0) for test in verdict.tests))


def _burn() -> None:
    while True:
        pass


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keeps the machine busy with `count` processes that only compute."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_burn, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def different(left: list[Verdict], right: list[Verdict]) -> Counter:
    """How often verdicts on the same submissions differ, times aside, by both error types."""
    pairs = [(a.error_type, b.error_type) for a, b in zip(left, right, strict=True) if timeless(a) != timeless(b)]
    return Counter(pairs)


def machine(judge: Judge) -> dict[str, str]:
    """What this machine gives the judge to isolate programs with."""
    facts = {"isolation": judge.isolation, "kernel": platform.release().split("-")[0], "machine": platform.machine()}
    for name, path in (
        ("user namespaces allowed", "/proc/sys/user/max_user_namespaces"),
        ("security modules", "/sys/kernel/security/lsm"),
        ("seccomp actions", "/proc/sys/kernel/seccomp/actions_avail"),
    ):
        try:
            facts[name] = Path(path).read_text().strip()
        except OSError:
            facts[name] = "not told"
    return facts
