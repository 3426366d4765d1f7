"""The ways to judge that are measured beside ours do the same work on programs that can be trusted."""

import pytest

from lib.judge.conformance.naive_runners import available_runners, measure_speed
from lib.problems import Problem, Test

TESTS = tuple(Test(f"{n}\n", f"{2 * n}\n") for n in range(1, 6))
DOUBLE, DOUBLED = Problem("p", "d", "s", "stdio", "?", TESTS), "print(2 * int(input()))\n"


@pytest.mark.parametrize("name", available_runners())
def test_a_peer_passes_a_right_program_and_no_wrong_one(name):
    way = available_runners()[name]
    assert way(DOUBLED, DOUBLE) == 5
    assert way("print(7)", DOUBLE) == 0
    assert way("n = int(input())\nif n > 3: raise SystemExit(1)\nprint(2 * n)", DOUBLE) == 3


def test_speeds_of_different_work_are_not_compared():
    with pytest.raises(ValueError, match="2 of 5 tests passed"):
        measure_speed(lambda program, problem: 2, [(DOUBLED, DOUBLE)])
    assert measure_speed(lambda program, problem: 5, [(DOUBLED, DOUBLE)]) > 0
