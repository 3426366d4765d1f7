"""The naive runners, which the judge is compared with, do the same work on programs that can be trusted."""

import pytest

from lib.judge.conformance.naive_runners import available_runners, measure_speed
from lib.problems import Problem, Test

TESTS = tuple(Test(f"{n}\n", f"{2 * n}\n") for n in range(1, 6))
DOUBLE, DOUBLED = Problem("p", "d", "s", "stdio", "?", TESTS), "print(2 * int(input()))\n"


@pytest.mark.parametrize("name", available_runners())
def test_a_runner_passes_a_right_program_and_no_wrong_one(name):
    runner = available_runners()[name]
    assert runner(DOUBLED, DOUBLE) == 5
    assert runner("print(7)", DOUBLE) == 0
    assert runner("n = int(input())\nif n > 3: raise SystemExit(1)\nprint(2 * n)", DOUBLE) == 3


def test_speeds_of_different_work_are_not_compared():
    with pytest.raises(ValueError, match="2 of 5 tests passed"):
        measure_speed(lambda program, problem: 2, [(DOUBLED, DOUBLE)])
    assert measure_speed(lambda program, problem: 5, [(DOUBLED, DOUBLE)]) > 0
