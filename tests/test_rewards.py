import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.judge import Judge
from lib.judge.answers import extract
from lib.judge.cost import Cost
from lib.judge.verdict import TestResult, Verdict
from lib.problems import Problem, Test
from lib.rewards import (
    RETURNS,
    REWARDS,
    Reward,
    Sample,
    dense,
    dense_by_visibility,
    efficiency_score,
    format_reward,
    make_return,
    make_reward,
    soft_overlong,
    sparse,
)

# One public and three private tests: the last of them is what PARTLY_RIGHT fails.
PROBLEM = Problem(
    "echo",
    "tiny",
    "train",
    "stdio",
    "Print it.",
    tuple(Test(f"{n}\n", f"{n}\n", "private" if n else "public") for n in range(4)),
)


def sample(verdict: Verdict, problem: Problem = PROBLEM, tokens: int = 50, format_ok: bool = True) -> Sample:
    cost = {"cost": Cost("superblocks", 300), "pool": (200, 700)}
    return Sample("text", tokens, False, "program", verdict, problem, format_ok, max_tokens=100, **cost)


PASSED, FAILED = TestResult("success"), TestResult("wrong_answer")
ACCEPTED = sample(Verdict(True, 1.0, "success", 4, 4, 0.1, (PASSED,) * 4))
PARTLY_RIGHT = sample(Verdict(False, 0.75, "wrong_answer", 3, 4, 0.1, (*(PASSED,) * 3, FAILED)))
JUDGE_FAILED = sample(Verdict(False, 0.0, "api_error", 0, 4, 0.0))
BY_VERDICT = ["dense", "sparse", "dense_by_visibility"]


def test_dense_is_the_share_of_passed_tests_and_sparse_all_or_nothing():
    assert (dense(ACCEPTED).value, sparse(ACCEPTED).value) == (1.0, 1.0)
    assert (dense(PARTLY_RIGHT).value, sparse(PARTLY_RIGHT).value) == (0.75, 0.0)


@pytest.mark.parametrize("name", BY_VERDICT)
def test_a_failure_of_the_judge_is_no_reward_at_all(name):
    assert make_reward(name)(JUDGE_FAILED) == Reward(None, {})
    assert make_reward({name: 0.1, "format": 1.0})(JUDGE_FAILED) == Reward(None, {}), "of a whole sum neither"
    assert make_reward({"format": 1.0, name: 0.0})(JUDGE_FAILED) == Reward(None, {})
    early = replace(JUDGE_FAILED, verdict=replace(JUDGE_FAILED.verdict, total=0))
    assert make_reward(name)(early) == Reward(None, {}), "also before the judge had counted the cases"


def test_a_sum_of_rewards_that_need_no_judge_is_a_number_whatever_the_judge_did():
    assert make_reward({"format": 1.0, "soft_overlong": 2.0})(JUDGE_FAILED).value == 1.0


@pytest.mark.parametrize("spec", [*REWARDS, {"dense": 1, "soft_overlong": 0.5}])
def test_a_reward_and_its_parts_are_floats_because_trainers_build_tensors_of_them(spec):
    result = make_reward(spec)(ACCEPTED)
    assert {type(value) for value in (result.value, *result.parts.values())} == {float}


@pytest.mark.parametrize("spec", [*REWARDS, {"dense": 1, "soft_overlong": 0.5}])
def test_a_reward_has_the_same_names_of_parts_for_every_sample(spec):
    reward = make_reward(spec)
    assert reward(ACCEPTED).parts.keys() == reward(PARTLY_RIGHT).parts.keys() != set()


def test_the_parts_say_what_the_reward_was_made_of():
    assert dense(PARTLY_RIGHT).parts == {"pass_ratio": 0.75, "accepted": 0.0, "ran_to_the_end": 1.0}
    assert dense(ACCEPTED).parts == {"pass_ratio": 1.0, "accepted": 1.0, "ran_to_the_end": 1.0}
    timeout = replace(PARTLY_RIGHT, verdict=replace(PARTLY_RIGHT.verdict, error_type="timeout"))
    assert sparse(timeout).parts == {"pass_ratio": 0.75, "accepted": 0.0, "ran_to_the_end": 0.0}


def test_groups_of_tests_can_have_equal_weight_however_many_tests_they_hold():
    assert dense_by_visibility(PARTLY_RIGHT).value == pytest.approx((1 + 2 / 3) / 2)
    assert dense_by_visibility(ACCEPTED).value == 1.0
    three = replace(PROBLEM, tests=(*PROBLEM.tests[:3], replace(PROBLEM.tests[3], visibility="generated")))
    assert dense_by_visibility(replace(PARTLY_RIGHT, problem=three)).value == pytest.approx((1 + 1 + 0) / 3)
    assert dense_by_visibility(sample(ACCEPTED.verdict, replace(PROBLEM, tests=PROBLEM.tests[1:]))).value == 1.0


def test_tests_that_were_not_run_count_as_failed_in_every_weighting():
    with Judge(workers=1) as judge:
        stopped = judge.judge("n = input()\nwhile n == '1': pass\nprint(n)", PROBLEM)
    assert stopped.error_type == "timeout"
    assert len(stopped.tests) < 4
    assert dense(sample(stopped)).value == 0.25
    assert dense_by_visibility(sample(stopped)).value == 0.5


def test_cases_of_unknown_visibility_are_not_guessed():
    tests = (Test("assert f()", visibility="public"), Test("check(f)"))
    function = replace(PARTLY_RIGHT, problem=Problem("f", "tiny", "train", "function", "f", tests))
    with pytest.raises(ValueError, match="4 cases come from 2 tests"):
        dense_by_visibility(function)
    assert dense(function).value == 0.75


def test_format_is_1_for_exactly_the_form_that_was_asked_for():
    assert format_reward(sample(ACCEPTED.verdict, format_ok=True)) == Reward(1.0, {"format_ok": 1.0})
    assert format_reward(sample(ACCEPTED.verdict, format_ok=False)).value == 0.0


@pytest.mark.parametrize(("tokens", "value"), [(0, 0), (80, 0), (81, -0.05), (90, -0.5), (99, -0.95), (100, -1)])
def test_soft_overlong_falls_from_0_to_minus_1_over_the_last_fifth_of_the_token_limit(tokens, value):
    """DAPO, arXiv 2503.14476, eq. 13: with a maximum of 20480 tokens the cache has 4096."""
    assert soft_overlong(sample(ACCEPTED.verdict, tokens=tokens)).value == pytest.approx(value)
    long = replace(ACCEPTED, tokens=16384 + 1024, max_tokens=20480)
    assert soft_overlong(long) == Reward(-0.25, {"share_of_token_limit": 0.85})
    assert soft_overlong(replace(long, tokens=30000)).value == -1, "beyond the limit"


def test_soft_overlong_needs_the_token_limit():
    with pytest.raises(ValueError, match="needs the number of generated tokens and their limit"):
        soft_overlong(replace(ACCEPTED, max_tokens=0))


def test_a_mapping_of_weights_is_their_sum_and_every_term_and_part_is_reported():
    reward = make_reward({"dense": 2, "soft_overlong": 0.5})
    result = reward(replace(PARTLY_RIGHT, tokens=90))
    assert result.value == 2 * 0.75 + 0.5 * -0.5
    assert (result.parts["dense"], result.parts["soft_overlong"]) == (0.75, -0.5)
    assert {"pass_ratio", "accepted", "ran_to_the_end", "share_of_token_limit"} < result.parts.keys()
    assert reward.__name__ == "2 dense + 0.5 soft_overlong"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dens", r"unknown reward 'dens'; choose one of dense, sparse, dense_by_visibility, format, soft_overlong"),
        ({"dense": 1, "dens": 1}, "unknown reward 'dens'"),
        ({}, "is empty"),
        ({"dense": "1"}, "the weight of the reward dense is '1': it must be a number"),
        ({"dense": True}, "it must be a number"),
    ],
)
def test_a_wrong_description_of_a_reward_is_an_error_that_says_what_there_is(spec, message):
    with pytest.raises(ValueError, match=message):
        make_reward(spec)


DIALOGUE = [PARTLY_RIGHT.verdict, PARTLY_RIGHT.verdict, ACCEPTED.verdict]


def test_a_return_is_the_formula_of_the_design():
    assert make_return("last", 0.05)(DIALOGUE) == pytest.approx(1 + 0.2 - 0.05 * 2)
    assert make_return("sum", 0.05)(DIALOGUE) == pytest.approx(0.75 + 0.75 + 1 + 0.2 - 0.05 * 2)
    for earned in (make_return(name, 0.05) for name in RETURNS):
        assert earned(DIALOGUE[2:]) == pytest.approx(1.2), "one round costs no penalty"
        assert earned(DIALOGUE[:1]) == pytest.approx(0.75), "and nothing is added for what is not accepted"


def test_a_further_round_costs_return_last_its_penalty_and_can_pay_under_return_sum():
    once, twice = DIALOGUE[2:], DIALOGUE[1:]
    assert make_return("last", 0.03)(once) - make_return("last", 0.03)(twice) == pytest.approx(0.03)
    assert make_return("sum", 0.03)(twice) > make_return("sum", 0.03)(once)


def test_a_failure_of_the_judge_is_no_return_where_its_verdict_counts():
    failed, accepted = JUDGE_FAILED.verdict, ACCEPTED.verdict
    assert make_return("last", 0.03)([failed, accepted]) == pytest.approx(1.17)
    assert make_return("sum", 0.03)([failed, accepted]) is None
    assert [make_return(name, 0.03)([accepted, failed]) for name in RETURNS] == [None, None]


def test_an_unknown_return_is_an_error_that_says_what_there_is():
    with pytest.raises(ValueError, match="unknown return 'A'; choose one of last, sum"):
        make_return("A", 0.03)


@pytest.mark.parametrize("name", REWARDS)
def test_a_name_gives_the_reward_function_itself_and_so_its_own_parts_in_the_log(name):
    assert make_reward(name) is REWARDS[name]


COSTS = st.floats(1, 1e9)


@given(COSTS, st.lists(COSTS, min_size=1, max_size=6))
def test_the_efficiency_score_is_the_papers_formula(cost, pool):
    score, c, g = efficiency_score(cost, pool), -math.log(cost), [-math.log(n) for n in pool]
    s_max = min(2.0, 1 + max(g) - min(g))
    assert 1 <= score <= 2
    if max(g) == min(g):
        assert score == 1
    elif min(g) <= c <= max(g):
        assert score == pytest.approx(1 + (c - min(g)) * (s_max - 1) / (max(g) - min(g)), abs=1e-9)
    if c <= min(g):
        assert score == pytest.approx(1)


@pytest.mark.parametrize(("cost", "score"), [(100, 2.0), (1000, 1.5), (10_000, 1.0), (50_000, 1.0), (10, 2.0)])
def test_a_wide_pool_spreads_scores_over_its_logarithm(cost, score):
    assert efficiency_score(cost, (100, 10_000)) == pytest.approx(score)


def test_a_narrow_pool_pays_little():
    assert efficiency_score(100, (100, 110)) == pytest.approx(1 + math.log(1.1))


def answer(completion: str, verdict: Verdict, problem: Problem = PROBLEM, **options) -> Sample:
    return Sample(completion, 9, False, extract(completion).program, verdict, problem, **options)


WRONG = Verdict(False, 0.0, "wrong_answer", 0, 4, 0.1)
SQUARE = replace(PROBLEM, kind="function", entry_point="f")
REWARDED = [
    (answer("print(1)", ACCEPTED.verdict, cost=Cost("t", 1000), pool=(100, 10_000)), 1.5, 1.0),
    (answer("print(1)", ACCEPTED.verdict, cost=Cost("t", None, "timeout"), pool=(1, 2)), 0.0, 1.0),
    (answer("print(1)", ACCEPTED.verdict, cost=Cost("t", None, "api_error"), pool=(1, 2)), None, 1.0),
    (answer("print(1)", JUDGE_FAILED.verdict), None, None),
    (answer("print(1)", WRONG), 0.0, 0.0),
    (answer("", WRONG), -1.5, -1.5),
    (answer("I do not know.", WRONG), -1.5, -1.5),
    (answer("def g(): pass", WRONG, SQUARE), -0.5, -0.5),
    (answer("def f(): pass", WRONG, SQUARE), 0.0, 0.0),
    (answer("f = lambda: 1", WRONG, SQUARE), 0.0, 0.0),
    (answer("```python\ndef f(:\n```", WRONG, SQUARE), 0.0, 0.0),
]


@pytest.mark.parametrize(("judged", "efficient", "correct"), REWARDED)
def test_rewards_of_efficiency_and_of_its_control(judged, efficient, correct):
    assert REWARDS["efficiency"](judged).value == (efficient and pytest.approx(efficient))
    assert REWARDS["correctness"](judged).value == correct


def test_an_accepted_program_without_a_cost_is_an_error():
    with pytest.raises(ValueError, match="needs the cost"):
        REWARDS["efficiency"](replace(ACCEPTED, cost=None))
