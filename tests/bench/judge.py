"""How fast is the judge? `python tests/bench/judge.py [workers]` prints wall and CPU seconds, and tests per second.

Three batches like those of a GRPO step (64 programs, 12 small tests each, no two programs equal): all right, all wrong,
and half of each. CPU seconds count everything, the judge's own process and all of its children, start-up left out.
"""

import resource
import sys
import time

from lib.judge import Judge
from lib.problems import Problem, Test

PROGRAMS, TESTS = 64, 12


def problem(number: int) -> Problem:
    lists = [[(number * 7 + test * 5 + i * 3) % 23 - 9 for i in range(test)] for test in range(TESTS)]
    tests = tuple(Test(f"{len(a)}\n{' '.join(map(str, a))}\n", f"{sum(a) + number}\n", "private") for a in lists)
    return Problem(f"bench/{number}", "bench", "test", "stdio", "Add up.", tests, time_limit=0.2)


def program(number: int, right: bool) -> str:
    mistake = "" if right else " * 2 + 1"
    return (
        f"n = int(input())  # {number}\na = list(map(int, input().split()))\n"
        f"total = {number % 8}\nfor x in a:\n    total += x\nprint(total{mistake})\n"
    )


def cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def measure(batch: list[tuple[str, Problem]], workers: int, repeats: int) -> tuple[float, float, int]:
    """Seconds of wall and CPU, and tests, each for one batch; wall is the best of the repeats."""
    walls = []
    start = cpu_seconds()
    with Judge(workers):
        pass
    start_up = cpu_seconds() - start
    start = cpu_seconds()
    with Judge(workers) as judge:
        for repeat in range(repeats):
            fresh = [(f"{source}# {repeat}\n", what) for source, what in batch]  # nothing comes from the cache
            begin = time.perf_counter()
            verdicts = judge.judge_many(fresh)
            walls.append(time.perf_counter() - begin)
    return min(walls), (cpu_seconds() - start - start_up) / repeats, sum(verdict.total for verdict in verdicts)


def main(workers: int = 2, repeats: int = 5) -> None:
    problems = [problem(number) for number in range(8)]
    print(f"{PROGRAMS} programs x {TESTS} tests, {workers} workers, best wall of {repeats}")
    print(f"{'batch':<12}{'wall s':>8}{'CPU s':>8}{'tests/s':>9}")
    for name, right in (("right", lambda n: True), ("half wrong", lambda n: n % 2 == 0), ("wrong", lambda n: False)):
        batch = [(program(n, right(n)), problems[n % 8]) for n in range(PROGRAMS)]
        wall, cpu, tests = measure(batch, workers, repeats)
        print(f"{name:<12}{wall:>8.3f}{cpu:>8.3f}{tests / wall:>9.0f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
