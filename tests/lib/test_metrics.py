from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.judge.verdict import ERROR_TYPES, Verdict
from lib.metrics import (
    JudgeFailure,
    Record,
    by_difficulty,
    mcnemar_exact,
    mean_sd,
    paired_bootstrap,
    pass_at_k,
    require_judge,
    summarize,
    summarize_times,
    wilson,
)


def record(error_type: str, passed: int = 0, judge_time: float = 0.5, gen_tokens: int = 10, **more) -> Record:
    verdict = Verdict(error_type == "success", passed / 4, error_type, passed, 4, judge_time)
    text = {"difficulty": "easy", "truncated": False, "format_ok": True} | more
    return Record("contests_test", "p", verdict=verdict, gen_tokens=gen_tokens, **text)


FIVE = [
    record("success", 4, judge_time=0.1, gen_tokens=20),
    record("wrong_answer", 2, judge_time=0.2, gen_tokens=30),
    record("timeout", 1, judge_time=0.9, gen_tokens=40, difficulty="hard"),
    record("syntax_error", 0, judge_time=0.0, gen_tokens=50, difficulty="hard", truncated=True, format_ok=False),
    record("api_error", 0, judge_time=7.0, gen_tokens=999, truncated=True),
]


def test_a_hand_computed_summary():
    summary = summarize(FIVE)
    low, high = summary.pop("accepted_at_1_interval")
    assert low < 0.25 < high
    assert summary.pop("exec_success_rate_interval") == pytest.approx([0.15, 0.85], abs=0.001)
    assert summary == pytest.approx(
        {
            "n": 4,
            "api_errors": 1,
            "accepted_at_1": 1 / 4,
            "pass_ratio_mean": (1 + 0.5 + 0.25 + 0) / 4,
            "pass_ratio_p50": 0.375,
            "pass_ratio_p90": 0.85,
            "exec_success_rate": 2 / 4,
            "zero_reward_rate": 1 / 4,
            "wrong_answer_rate": 1 / 4,
            "syntax_error_rate": 1 / 4,
            "runtime_error_rate": 0.0,
            "timeout_rate": 1 / 4,
            "api_error_rate": 1 / 5,
            "truncation_rate": 1 / 4,
            "format_rate": 3 / 4,
            "avg_gen_tokens": 35.0,
            "cost_per_solved_tokens": 140.0,
        }
    )


def test_times_are_kept_apart_and_leave_out_what_the_judge_did_not_judge():
    assert summarize_times(FIVE) == pytest.approx(
        {"avg_judge_time": 0.3, "judge_time_p50": 0.15, "judge_time_p95": 0.795, "cost_per_solved_judge_s": 1.2}
    )


def test_a_cost_per_solved_problem_does_not_exist_when_nothing_is_solved():
    assert summarize([record("timeout")])["cost_per_solved_tokens"] is None
    assert summarize_times([record("timeout")])["cost_per_solved_judge_s"] is None


def test_when_nothing_was_judged_no_figure_is_made_up():
    summary = summarize([record("api_error")])
    assert (summary["n"], summary["api_errors"], summary["api_error_rate"]) == (0, 1, 1.0)
    assert summary["accepted_at_1"] is summary["pass_ratio_mean"] is summary["avg_gen_tokens"] is None


def test_slices_by_difficulty():
    slices = by_difficulty(FIVE)
    assert {name: (one["n"], one["accepted_at_1"]) for name, one in slices.items()} == {
        "easy": (2, 0.5),
        "hard": (2, 0),
    }


RECORDS = st.lists(
    st.builds(
        record,
        st.sampled_from(ERROR_TYPES[1:]),
        st.integers(0, 3),
        truncated=st.booleans(),
        difficulty=st.sampled_from(["easy", "hard"]),
    )
    | st.just(record("success", 4)),
    min_size=1,
)


@given(RECORDS)
def test_the_error_breakdown_adds_up_and_rates_are_rates(records):
    summary = summarize(records)
    if summary["n"] == 0:
        return
    failures = sum(summary[f"{kind}_rate"] for kind in ("wrong_answer", "syntax_error", "runtime_error", "timeout"))
    assert summary["accepted_at_1"] + failures == pytest.approx(1)
    assert summary["exec_success_rate"] == pytest.approx(summary["accepted_at_1"] + summary["wrong_answer_rate"])
    assert summary["accepted_at_1"] <= summary["pass_ratio_mean"] <= 1 - summary["zero_reward_rate"] + 1e-12
    assert all(0 <= value <= 1 for name, value in summary.items() if name.endswith("_rate"))


@given(RECORDS, st.integers(1, 5))
def test_failures_of_the_judge_change_nothing_but_their_own_count(records, failures):
    more = summarize([*records, *[record("api_error", gen_tokens=500, judge_time=9)] * failures])
    for own in ("api_errors", "api_error_rate"):
        del more[own]
    assert more == {name: value for name, value in summarize(records).items() if name in more}


def test_up_to_one_percent_of_judge_failures_are_borne_and_more_are_not():
    accepted, failed = record("success", 4).verdict, Verdict(False, 0, "api_error", 0, 4, 0, feedback="no worker")
    require_judge([accepted] * 99 + [failed])
    with pytest.raises(JudgeFailure, match=r"2 of 100 programs.*no worker"):
        require_judge([accepted] * 98 + [failed] * 2)


# Newcombe (1998), Statistics in Medicine 17:857, table I, method 3.
@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(k, n, low, high):
    assert wilson(k, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_rate_stays_in_bounds_and_is_symmetric(case):
    k, n = case
    low, high = wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1
    assert wilson(n - k, n) == pytest.approx((1 - high, 1 - low))


def test_wilson_knows_nothing_without_data_and_refuses_what_is_no_rate():
    assert wilson(0, 0) == (0, 1)
    with pytest.raises(ValueError, match="5 of 3"):
        wilson(5, 3)


@pytest.mark.parametrize(("n", "c"), [(6, c) for c in range(7)])
def test_pass_at_k_is_the_share_of_draws_that_hold_a_correct_sample(n, c):
    for k in range(1, n + 1):
        draws = list(combinations([True] * c + [False] * (n - c), k))
        assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_k_equals_the_product_published_with_it():
    for n, c, k in [(200, 7, 1), (200, 7, 10), (200, 7, 100), (200, 150, 100)]:
        product_form = 1.0 if n - c < k else 1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1))
        assert pass_at_k(n, c, k) == pytest.approx(product_form)


@pytest.mark.parametrize(("n", "c", "k"), [(5, 1, 6), (5, 6, 1), (5, 1, 0)])
def test_pass_at_k_refuses_more_draws_than_samples(n, c, k):
    with pytest.raises(ValueError, match="can't be estimated"):
        pass_at_k(n, c, k)


def test_mcnemar_counts_only_problems_on_which_the_runs_differ():
    a = [1, 1, 0, 0, 0, 0, 0, 0]
    b = [1, 0, 1, 1, 1, 1, 1, 0]
    expected = 2 * (comb(6, 0) + comb(6, 1)) / 2**6
    assert mcnemar_exact(a, b) == {"only_a": 1, "only_b": 5, "p_value": pytest.approx(expected)}
    assert mcnemar_exact(a, a)["p_value"] == 1


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_mcnemar_does_not_care_which_run_comes_first(pairs):
    a, b = zip(*pairs, strict=True)
    one, other = mcnemar_exact(a, b), mcnemar_exact(b, a)
    assert one["p_value"] == other["p_value"] <= 1
    assert (one["only_a"], one["only_b"]) == (other["only_b"], other["only_a"])


def test_the_paired_bootstrap_is_near_the_normal_interval_and_repeats_with_its_seed():
    random = np.random.default_rng(0)
    a = random.random(400)
    b = a + random.normal(0.1, 0.2, 400)
    found = paired_bootstrap(a, b, seed=1)
    half = 1.96 * (b - a).std() / 20
    assert found["difference"] == pytest.approx((b - a).mean())
    assert (found["low"], found["high"]) == pytest.approx(
        (found["difference"] - half, found["difference"] + half), abs=2e-3
    )
    assert found == paired_bootstrap(a, b, seed=1) != paired_bootstrap(a, b, seed=2)


@pytest.mark.parametrize("compare", [mcnemar_exact, paired_bootstrap])
@pytest.mark.parametrize(("a", "b"), [([1, 0], [1]), ([], [])])
def test_runs_on_different_problems_are_not_compared(compare, a, b):
    with pytest.raises(ValueError, match="same problems"):
        compare(a, b)


def test_mean_and_spread_over_seeds():
    assert mean_sd([0.6, 0.7, 0.8]) == pytest.approx((0.7, 0.1))
    assert mean_sd([0.6]) == (0.6, None)
