"""How fast is the judge? `python tests/bench/judge.py [workers [programs [URL]]]` prints one table, from one run.

The load: programs (no two equal) with 20 small stdin tests each, on one core and on `workers`. Ways: the judge with its
quick pass; the judge strict, a process in a namespace of its own for every test; peers that this machine offers; where
the URL of a SandboxFusion server is given, one request a test as others use it, and as a backend of the judge. Then
batches like those of a GRPO step (64 programs, 12 tests), asserts of function problems, and mixed batches with a tenth
of endless programs: all different, or equal but for comments. Start-up is left out.
"""

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import requests

from lib.judge import Judge
from lib.judge.conformance.naive_runners import available_runners, measure_speed
from lib.judge.host.compare import same_tokens
from lib.problems import Problem, Test

TESTS, REPEATS = 20, 3


def problem(number: int, tests: int = TESTS) -> Problem:
    lists = [[(number * 7 + test * 5 + i * 3) % 23 - 9 for i in range(test)] for test in range(tests)]
    made = tuple(Test(f"{len(a)}\n{' '.join(map(str, a))}\n", f"{sum(a) + number}\n", "private") for a in lists)
    return Problem(f"bench/{number}", "bench", "test", "stdio", "Add up.", made, time_limit=0.2)


def program(number: int, right: bool = True) -> str:
    mistake = "" if right else " * 2 + 1"
    return (
        f"n = int(input())  # {number}\na = list(map(int, input().split()))\n"
        f"total = {number % 8}\nfor x in a:\n    total += x\nprint(total{mistake})\n"
    )


def mixed(number: int, equal: bool) -> str:
    """Of ten in a row, one is endless, one has a syntax error, one a runtime error, two are wrong, five are right."""
    endless = "while n + 1: pass" if equal else f"k = {number + 1}\nwhile k: n += 1"
    ends = {3: f"n = int(input())\n{endless}", 4: f"print({number}", 5: "n = int(input())\nprint(n // (n - 3))"}
    return ends.get(number % 10) or program(number, number % 10 < 8)


def judged_per_second(judge: Judge, batch: list[tuple[str, Problem]], repeat: int) -> float:
    """Tests a second; no pair is equal to one of another repeat, comments aside."""
    fresh = [(f"{source}\nrepeat = {repeat}\n", what) for source, what in batch]
    begin = time.perf_counter()
    verdicts = judge.judge_many(fresh)
    assert not any(verdict.error_type == "api_error" for verdict in verdicts)
    return sum(verdict.total for verdict in verdicts) / (time.perf_counter() - begin)


def best_of(ways: dict[str, Callable[[int], float]]) -> dict[str, float]:
    """The best speed of each way; they take turns, so that a busy minute of the machine hits all of them."""
    found = dict.fromkeys(ways, 0.0)
    for repeat in range(REPEATS):
        for name, way in ways.items():
            found[name] = max(found[name], way(repeat))
    return found


def one_request_a_test(url: str):
    """A SandboxFusion server as it is mostly used."""

    def way(source: str, what: Problem) -> int:
        passed = 0
        for test in what.tests:
            body = {"code": source, "language": "python", "stdin": test.input, "run_timeout": 60}
            ran = requests.post(f"{url}/run_code", json=body, timeout=120).json()["run_result"]
            passed += ran["return_code"] == 0 and same_tokens(ran["stdout"].encode(), test.output.encode())
        return passed

    return way


def main(workers: int = 2, programs: int = 40, url: str = "") -> None:
    problems = [problem(number) for number in range(8)]
    load = [(program(number), problems[number % 8]) for number in range(programs)]
    few = load[: max(1, programs // 8)]  # of the slow ways
    peers = available_runners() | ({"SandboxFusion per test": one_request_a_test(url)} if url else {})
    judges = {"judge, strict": {"strict": True}, "judge": {}}
    judges |= {"SandboxFusion": {"backend": "sandbox_fusion", "url": url}} if url else {}
    with ExitStack() as stack:
        ways = {name: lambda _, way=way: measure_speed(way, few) for name, way in peers.items()}
        for name, options in judges.items():
            for count in (1, workers):
                judge = stack.enter_context(Judge(workers=count, **options))
                ways[f"{name}, {count} worker{'s' * (count > 1)}"] = partial(judged_per_second, judge, load)
        found = best_of(ways)
    base = found["subprocess per test"]
    print(f"{programs} programs x {TESTS} tests\n{'way':<28}{'tests/s':>9}{'programs/s':>12}{'x subprocess':>14}")
    for name, speed in found.items():
        print(f"{name:<28}{speed:>9.0f}{speed / TESTS:>12.1f}{speed / base:>14.1f}")

    small = [problem(number, 12) for number in range(8)]
    asserts = tuple(Test(f"assert f({n}) == {n * n}") for n in range(3))
    square = Problem("bench/f", "bench", "test", "function", "", asserts, time_limit=1.0)
    batches = {
        name: [(program(n, right(n)), small[n % 8]) for n in range(64)]
        for name, right in (("right", lambda n: True), ("half wrong", lambda n: n % 2 == 0), ("wrong", lambda n: False))
    }
    batches["functions of 3 asserts"] = [(f"def f(x): return x * x  # {n}", square) for n in range(64)]
    batches["a tenth endless, different"] = [(f"{mixed(n, False)}  # {n}", small[3]) for n in range(64)]
    batches["a tenth endless, equal"] = [(f"{mixed(n, True)}  # {n}", small[3]) for n in range(64)]
    with Judge(workers=workers) as judge:
        found = best_of({name: partial(judged_per_second, judge, batch) for name, batch in batches.items()})
    print(f"\n64 programs, 12 tests each, {workers} workers\n{'batch':<28}{'tests/s':>9}{'wall s':>9}")
    for name, speed in found.items():
        print(f"{name:<28}{speed:>9.0f}{sum(len(what.tests) for _, what in batches[name]) / speed:>9.3f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]), *sys.argv[3:])
