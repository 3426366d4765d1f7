"""The checks that `02_judge` shows: references judged, verdicts on a busy machine, what isolates programs here."""

import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ..judge import Judge
from ..problem import Problem
from ..verdict import Verdict


def judge_references(sets: dict[str, list[Problem]], judge: Judge) -> dict[str, dict[str, int]]:
    """For each set, how many of its solutions are accepted and how many of its incorrect programs are rejected;
    api_errors are counted apart. For function problems without incorrect programs, a function that does nothing."""
    rows = {}
    for name, problems in sets.items():
        right = [(program, problem) for problem in problems for program in problem.solutions]
        wrong = [(program, problem) for problem in problems for program in problem.incorrect_solutions]
        empty = [p for p in problems if p.entry_point and not p.incorrect_solutions]
        wrong += [(f"def {problem.entry_point}(*_): pass", problem) for problem in empty]
        accepted, rejected = judge.judge_many(right), judge.judge_many(wrong)
        rows[name] = {
            "solutions": len(right),
            "accepted": sum(verdict.accepted for verdict in accepted),
            "incorrect": len(wrong),
            "rejected": sum(not verdict.accepted and verdict.error_type != "api_error" for verdict in rejected),
            "api_errors": sum(verdict.error_type == "api_error" for verdict in (*accepted, *rejected)),
        }
    return rows


def without_times(verdict: Verdict) -> Verdict:
    """The verdict with all times set to 0: times differ between any two runs."""
    return replace(verdict, judge_time=0.0, tests=tuple(replace(test, judge_time=0.0) for test in verdict.tests))


def count_differences(left: list[Verdict], right: list[Verdict]) -> Counter:
    """How often two verdicts on the same submission differ, times aside, by their two error types."""
    pairs = zip(left, right, strict=True)
    return Counter((a.error_type, b.error_type) for a, b in pairs if without_times(a) != without_times(b))


@contextmanager
def busy_processes(count: int) -> Generator[None]:
    """Keeps the machine busy with `count` processes that only compute."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def describe_machine(judge: Judge) -> dict[str, str]:
    """What this machine offers the judge to isolate programs with."""
    facts = {"isolation": judge.isolation, "kernel": platform.release().split("-")[0], "machine": platform.machine()}
    for name, path in (
        ("user namespaces allowed", "/proc/sys/user/max_user_namespaces"),
        ("security modules", "/sys/kernel/security/lsm"),
        ("seccomp actions", "/proc/sys/kernel/seccomp/actions_avail"),
    ):
        try:
            facts[name] = Path(path).read_text().strip()
        except OSError:
            facts[name] = "unknown"
    return facts
