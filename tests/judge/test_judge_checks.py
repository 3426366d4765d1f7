"""The checks that the notebook 02_judge shows."""

import os
import time
from dataclasses import replace

import pytest

from lib.judge import Judge
from lib.judge.conformance.judge_checks import busy_processes, count_differences, describe_machine, judge_references
from lib.problems import Problem, Test

DOUBLE = Problem("p", "d", "s", "stdio", "?", (Test("1\n", "2\n"), Test("4\n", "8\n")))
SQUARE = Problem("f", "d", "s", "function", "?", (Test("assert f(3) == 9"),))
DOUBLED = "print(2 * int(input()))"


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as made:
        yield made


def test_references_are_counted_by_what_the_set_says_of_them(judge):
    contests = replace(DOUBLE, solutions=(DOUBLED, "print(7)"), incorrect_solutions=("print(1)", DOUBLED, "print(0)"))
    functions = replace(SQUARE, solutions=("def f(x): return x * x",), entry_point="f")
    assert judge_references({"contests": [contests], "functions": [functions]}, judge) == {
        "contests": {"solutions": 2, "accepted": 1, "incorrect": 3, "rejected": 2, "api_errors": 0},
        "functions": {"solutions": 1, "accepted": 1, "incorrect": 1, "rejected": 1, "api_errors": 0},
    }


def test_times_make_no_difference_and_everything_else_does(judge):
    verdict = judge.judge(DOUBLED, DOUBLE)
    slower = replace(verdict, judge_time=9.0, tests=tuple(replace(test, judge_time=9.0) for test in verdict.tests))
    assert not count_differences([verdict], [slower])
    assert count_differences([verdict], [replace(verdict, error_type="timeout")]) == {("success", "timeout"): 1}
    assert count_differences([verdict], [replace(verdict, feedback="other")]) == {("success", "success"): 1}


def test_busy_processes_are_gone_afterwards():
    with busy_processes(1):
        patience = time.monotonic() + 20
        while "while True: pass" not in "".join(children()):  # between fork and exec a process has no command line yet
            assert time.monotonic() < patience, "no busy process was started"
            time.sleep(0.01)
    assert "while True: pass" not in "".join(children())


def children() -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as stat, open(f"/proc/{pid}/cmdline") as line:
                if int(stat.read().rpartition(")")[2].split()[1]) == os.getpid():
                    found.append(line.read())
        except OSError:
            pass
    return found


def test_the_machine_is_described(judge):
    facts = describe_machine(judge)
    assert facts["isolation"] == judge.isolation
    assert all(isinstance(value, str) and value for value in facts.values())
