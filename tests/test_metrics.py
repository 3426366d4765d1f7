import math
from itertools import combinations, count

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import metrics
from lib.judge.verdict import ERROR_TYPES, Verdict
from lib.metrics import JudgeFailure, require_judge
from lib.statistics import bootstrap, detectable_difference, wilson

IDS = count()


def record(error_type: str, passed: int = 0, judge_time: float = 0.5, gen_tokens: int = 10, **more) -> dict:
    text = {"difficulty": "easy", "truncated": False, "format_ok": True, "problem_id": f"p{next(IDS)}"} | more
    verdict = {"error_type": error_type, "pass_ratio": passed / 4, "judge_time": judge_time}
    return verdict | {"gen_tokens": gen_tokens} | text


def summarize(records: list[dict], **options) -> dict:
    return metrics.summarize(pd.DataFrame(records), **options)


def summarize_times(records: list[dict]) -> dict:
    return metrics.summarize_times(pd.DataFrame(records))


FIVE = [
    record("success", 4, judge_time=0.1, gen_tokens=20),
    record("wrong_answer", 2, judge_time=0.2, gen_tokens=30),
    record("timeout", 1, judge_time=0.9, gen_tokens=40, difficulty="hard"),
    record("syntax_error", 0, judge_time=0.0, gen_tokens=50, difficulty="hard", truncated=True, format_ok=False),
    record("api_error", 0, judge_time=7.0, gen_tokens=999, truncated=True),
]


def test_a_hand_computed_summary():
    summary = summarize(FIVE)
    intervals = {name: summary.pop(name) for name in list(summary) if name.endswith("_interval")}
    assert {f"{name}_interval" for name in summary if name.endswith("_rate")} - intervals.keys() == {
        "api_error_rate_interval"
    }, "every rate of programs has an interval"
    assert intervals["exec_success_rate_interval"] == pytest.approx([0.15, 0.85], abs=0.001)
    assert intervals["timeout_rate_interval"] == list(wilson(1, 4))
    assert intervals["pass_ratio_mean_interval"] == list(bootstrap([1, 0.5, 0.25, 0], resamples=2000))
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
            "detectable_difference": None,  # four problems show nothing
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
    slices = metrics.by_difficulty(pd.DataFrame([*FIVE, record("success", 4, difficulty="")]))
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
    accepted = Verdict(True, 1, "success", 4, 4, 0)
    failed = Verdict(False, 0, "api_error", 0, 4, 0, feedback="no worker")
    require_judge([accepted] * 99 + [failed])
    with pytest.raises(JudgeFailure, match=r"2 of 100 programs.*no worker"):
        require_judge([accepted] * 98 + [failed] * 2)


def samples(problem_id: str, outcomes: str, tokens: int = 10, **more) -> list[dict]:
    """One record per letter: A accepted, W wrong, E judge failed."""
    kinds = {"A": ("success", 4), "W": ("wrong_answer", 0), "E": ("api_error", 0)}
    return [record(*kinds[letter], gen_tokens=tokens, problem_id=problem_id, **more) for letter in outcomes]


def test_samples_of_a_problem_are_averaged_before_problems_are():
    found = summarize([*samples("a", "AAWW"), *samples("b", "WWWW")], ks=(1, 2, 4))
    assert (found["n"], found["accepted_at_1"]) == (2, 0.25)
    assert found["accepted_at_1_interval"] == list(bootstrap([0.5, 0], resamples=2000))
    assert found["pass_at_1"] == pytest.approx(0.25)
    assert found["pass_at_2"] == pytest.approx((1 - 1 / 6) / 2)
    assert found["pass_at_4"] == 0.5
    assert found["pass_at_4_interval"] == [0, 1]


def test_an_interval_resamples_the_problems_in_their_order_with_the_seed():
    solved = {f"p{7 * n % 20:02}": n * n % 10 for n in range(20)}  # of 9 samples; in no order of names
    rates = {name: k / 9 for name, k in solved.items()}
    records = [sample for name, k in solved.items() for sample in samples(name, ("A" * k).ljust(9, "W"))]
    for options, seed in (({}, 0), ({"seed": 3}, 3)):
        found = summarize(records, ks=(1,), **options)
        expected = list(bootstrap(list(rates.values()), resamples=2000, seed=seed))
        assert found["accepted_at_1_interval"] == pytest.approx(expected) == found["pass_at_1_interval"]
    by_name = [rates[name] for name in sorted(rates)]
    others = bootstrap(by_name, resamples=2000, seed=3), bootstrap(list(rates.values()), resamples=2000, seed=0)
    for other in (*others, bootstrap(list(rates.values()), seed=3)):
        assert list(other) != pytest.approx(expected)


def test_the_detectable_difference_is_that_of_two_runs_that_differ_as_if_unrelated():
    found = summarize([record("success", 4) for _ in range(60)] + [record("wrong_answer") for _ in range(140)])
    assert found["detectable_difference"] == detectable_difference(200, 2 * 0.3 * 0.7) > 0


def test_a_sample_that_the_judge_failed_on_is_drawn_from_by_no_estimate():
    found = summarize([*samples("a", "AE"), *samples("b", "WW")], ks=(1, 2))
    assert (found["n"], found["api_errors"]) == (2, 1)
    assert found["accepted_at_1"] == found["pass_at_1"] == 0.5
    assert found["pass_at_2"] == 0, "problem a has one judged sample only"
    assert (found["n_pass_at_1"], found["n_pass_at_2"]) == (2, 1), "and is not among the problems of the estimate"


def test_a_program_counts_within_the_budget_when_it_was_complete_before_the_tokens_were_spent():
    early, late, never = samples("a", "WAW"), samples("b", "WWA"), samples("c", "WWW", tokens=3)
    found = summarize([*late, *never, *early], budget=20)
    assert found["accepted_at_budget"] == pytest.approx(1 / 3)
    assert found["budget_exhausted_rate"] == pytest.approx(2 / 3)
    assert found["accepted_at_budget_interval"] == list(wilson(1, 3))
    spent = summarize([*late, *never, *early], budget=30)
    assert spent["accepted_at_budget"] == spent["budget_exhausted_rate"] == pytest.approx(2 / 3)


costs = st.floats(1, 1e6)
reference_costs = st.lists(costs, min_size=1, max_size=6)


@given(st.none() | costs, reference_costs)
def test_dps_is_the_score_of_the_fastest_reference_that_is_not_faster(cost, references):
    references, scores = sorted(references, reverse=True), [10.0 * n for n in range(len(references))]
    expected = (0.0, 0.0)
    for j, reference in enumerate(references):  # from slow to fast: the last match counts
        if cost is not None and cost <= reference:
            expected = (scores[j], 100 * (j + 1) / len(references))
    assert metrics.dps(cost, references, scores) == expected


@given(st.none() | costs, reference_costs, st.booleans())
def test_beyond_is_the_place_between_the_slowest_and_the_fastest_reference(cost, references, log):
    value = metrics.beyond(cost, references, log)
    assert 0 <= value <= 1
    slow, fast = max(references), min(references)
    if cost is None:
        assert value == 0
    elif slow == fast:
        assert value == (cost <= fast)
    elif cost >= slow:
        assert value == 0
    elif cost <= fast:
        assert value == 1
    else:
        rank = math.log if log else float
        place = (rank(slow) - rank(cost)) / (rank(slow) - rank(fast))
        assert value == pytest.approx(place, abs=1e-12)


@given(st.lists(st.floats(0, 2), min_size=1, max_size=7), st.data())
def test_eff_at_k_is_the_mean_of_the_best_over_all_subsets(scores, data):
    k = data.draw(st.integers(1, len(scores)))
    subsets = list(combinations(scores, k))
    assert metrics.eff_at_k(scores, k) == pytest.approx(sum(map(max, subsets)) / len(subsets), abs=1e-12)


def test_eff_at_k_needs_k_samples():
    with pytest.raises(ValueError, match="eff@3"):
        metrics.eff_at_k([1.0, 0.5], 3)


def test_an_enamel_score_by_hand():
    """Limit 2 * 10: level 1 takes half of the time beyond its reference, level 2 times out, level 3 beats it."""
    levels = [[1.0, 12.0], [4.0, math.inf], [5.0, 4.0]]
    expected = (3 * (20 - 12) / (20 - 4) + 3 * 0 + 4 * (20 - 5) / (20 - 10)) / 10
    assert metrics.enamel_score(levels, [4.0, 6.0, 10.0], (3, 3, 4)) == pytest.approx(expected)


@given(st.lists(costs, max_size=8))
def test_the_geometric_mean_is_the_root_of_the_product(ratios):
    product = math.prod(ratio ** (1 / len(ratios)) for ratio in ratios) if ratios else None
    assert metrics.geometric_mean(ratios) == (product and pytest.approx(product))


def test_a_speed_up_is_over_the_problems_that_both_solve():
    before = {"a": 400.0, "b": 100.0, "wrong": None, "lost": 5.0, "missing": 7.0}
    after = {"a": 100.0, "b": 100.0, "wrong": 3.0, "lost": None}
    result = metrics.speed_up(before, after)
    assert (result["n"], result["speed_up"]) == (2, pytest.approx(2.0))
    assert 1 - 1e-9 <= result["low"] <= 2 <= result["high"] <= 4 + 1e-9
    assert metrics.speed_up({}, {}) == {"n": 0, "speed_up": None, "low": None, "high": None}
