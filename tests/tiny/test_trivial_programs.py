"""Labelled and trivial programs, judged for real."""

import pytest

from lib.judge import ERROR_TYPES, Judge
from lib.problems import Problem, Test
from lib.tiny.trivial_programs import TRIVIAL, judge_labelled, judge_trivial

SUM = "n = int(input())\nprint(sum(map(int, input().split())))"
LENGTH = "print(int(input()))"
TESTS = (
    Test("1\n0\n", "0\n", "public"),
    Test("2\n3 4\n", "7\n", "private"),
    Test("1\n1\n", "1\n", "private"),
    Test("2\n-5 4\n", "-1\n", "generated"),
    Test("1\n9\n", "9\n", "generated"),
)
PROBLEM = Problem("sum", "tiny", "train", "stdio", "", TESTS, time_limit=0.2)


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as judge:
        yield judge


def test_a_label_is_not_a_verdict(judge):
    solved = Problem(**vars(PROBLEM) | {"solutions": (SUM, SUM + " ", LENGTH, "print(")})
    failed = Problem(**vars(PROBLEM) | {"incorrect_solutions": (LENGTH, SUM)})
    table = judge_labelled([solved], [failed], judge)
    assert list(table.columns) == list(ERROR_TYPES)
    assert table.loc["labelled correct"].to_dict() == dict.fromkeys(ERROR_TYPES, 0) | {
        "success": 0.5,
        "wrong_answer": 0.25,
        "syntax_error": 0.25,
    }
    assert table.loc["labelled incorrect", ["success", "wrong_answer"]].to_list() == [0.5, 0.5]


def test_trivial_programs_earn_what_they_pass_of_the_tests_that_a_policy_can_not_see(judge):
    empty = Problem("empty", "tiny", "test", "stdio", "", (Test("0\n\n", "0\n"),), time_limit=0.2)
    earned = judge_trivial([PROBLEM, empty], judge)
    assert list(earned.index) == list(TRIVIAL)
    assert earned.loc["print(0)"].to_dict() == {"earned": 0.5, "solved": 1}, "the public test doesn't count"
    assert earned.loc["print(1)"].to_dict() == {"earned": 0.125, "solved": 0}
    assert earned.loc["print(-1)", "earned"] == 0.125
    assert earned.loc["echo of the list", "earned"] == 0.25, "1 and 9 are the sums of themselves"
    assert earned.loc["echo of the input", "earned"] == 0.5, "the length 0 stands before an empty line"
