import pytest

from lib.judge import Judge
from lib.judge.verdict import TestResult, Verdict
from lib.problems import Problem, Test
from lib.rewards import RETURNS, REWARDS, Reward, dense, dense_by_visibility, return_a, return_b, score, sparse

ACCEPTED = Verdict(True, 1.0, "success", 4, 4, 0.1, tuple(TestResult("success") for _ in range(4)))
PARTLY_RIGHT = Verdict(
    False, 0.75, "wrong_answer", 3, 4, 0.1, (*(TestResult("success"),) * 3, TestResult("wrong_answer"))
)
JUDGE_FAILED = Verdict(False, 0.0, "api_error", 0, 4, 0.0)
# One public and three private tests: the last of them is what PARTLY_RIGHT fails.
PROBLEM = Problem(
    "echo",
    "tiny",
    "train",
    "stdio",
    "Print it.",
    tuple(Test(f"{n}\n", f"{n}\n", "private" if n else "public") for n in range(4)),
)


def test_dense_pays_the_share_of_passed_tests_and_sparse_all_or_nothing():
    assert (dense(ACCEPTED), sparse(ACCEPTED)) == (1.0, 1.0)
    assert (dense(PARTLY_RIGHT), sparse(PARTLY_RIGHT)) == (0.75, 0.0)


@pytest.mark.parametrize("name", REWARDS)
def test_a_failure_of_the_judge_is_no_reward_at_all(name):
    assert REWARDS[name](JUDGE_FAILED, PROBLEM) is None
    assert score(JUDGE_FAILED, PROBLEM, name) == Reward(None, {})


@pytest.mark.parametrize("name", REWARDS)
def test_a_reward_is_a_float_because_trainers_build_tensors_of_it(name):
    assert type(REWARDS[name](ACCEPTED, PROBLEM)) is float
    found = score(ACCEPTED, PROBLEM, name)
    assert {type(one) for one in (found.value, *found.parts.values())} == {float}


def test_a_reward_comes_with_its_parts_the_same_names_for_every_verdict():
    parts = {"pass_ratio": 0.75, "accepted": 0.0, "ran_to_the_end": 1.0}
    assert score(PARTLY_RIGHT, PROBLEM) == Reward(0.75, parts)
    assert score(PARTLY_RIGHT, PROBLEM, "sparse") == Reward(0.0, parts)
    assert score(ACCEPTED, PROBLEM).parts.keys() == parts.keys()


def test_groups_of_tests_can_weigh_the_same_however_many_tests_they_have():
    assert dense_by_visibility(PARTLY_RIGHT, PROBLEM) == pytest.approx((1 + 2 / 3) / 2)
    assert dense_by_visibility(ACCEPTED, PROBLEM) == 1.0


def test_tests_that_were_not_run_count_as_failed_in_every_weighting():
    with Judge(workers=1) as judge:
        stopped = judge.judge("n = input()\nwhile n == '1': pass\nprint(n)", PROBLEM)
    assert stopped.error_type == "timeout"
    assert len(stopped.tests) < 4
    assert score(stopped, PROBLEM).value == 0.25
    assert score(stopped, PROBLEM, "dense_by_visibility").value == 0.5


def test_cases_of_unknown_visibility_are_not_guessed():
    function = Problem(
        "f", "tiny", "train", "function", "f", (Test("assert f()", visibility="public"), Test("check(f)"))
    )
    with pytest.raises(ValueError, match="4 cases come from 2 tests"):
        score(PARTLY_RIGHT, function, "dense_by_visibility")
    assert score(PARTLY_RIGHT, function).value == 0.75


def test_an_unknown_reward_is_told_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"no reward 'dens'; there are dense, sparse, dense_by_visibility"):
        score(ACCEPTED, PROBLEM, "dens")


def test_a_return_is_the_formula_of_the_design():
    dialogue = [PARTLY_RIGHT, PARTLY_RIGHT, ACCEPTED]
    assert return_a(dialogue, 0.05) == pytest.approx(1 + 0.2 - 0.05 * 2)
    assert return_b(dialogue, 0.05) == pytest.approx(0.75 + 0.75 + 1 + 0.2 - 0.05 * 2)
    for earned in RETURNS.values():
        assert earned([ACCEPTED], 0.05) == pytest.approx(1.2), "one round costs no penalty"
        assert earned([PARTLY_RIGHT], 0.05) == pytest.approx(0.75), "and nothing is added for what is not accepted"


def test_a_round_more_costs_return_a_its_penalty_and_can_pay_under_return_b():
    once, twice = [ACCEPTED], [PARTLY_RIGHT, ACCEPTED]
    assert return_a(once, 0.03) - return_a(twice, 0.03) == pytest.approx(0.03)
    assert return_b(twice, 0.03) > return_b(once, 0.03)


def test_a_failure_of_the_judge_is_no_return_where_its_verdict_counts():
    assert return_a([JUDGE_FAILED, ACCEPTED], 0.03) == pytest.approx(1.17)
    assert return_b([JUDGE_FAILED, ACCEPTED], 0.03) is None
    assert [earned([ACCEPTED, JUDGE_FAILED], 0.03) for earned in RETURNS.values()] == [None, None]
