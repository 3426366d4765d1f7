"""What the report on preference pairs counts."""

import json

import pytest
from samples import sample

from lib.report.pairs import quality_report, tie_ablation
from lib.training.pairs import build_pairs


@pytest.mark.parametrize(
    ("delta", "name"), [(0.3, "0.3 to 0.4"), (0.59, "0.5 to 0.6"), (0.85, "0.8 to 0.9"), (1, "0.9 to 1.0")]
)
def test_the_histogram_of_differences_has_bins_of_a_tenth(delta, name):
    groups = [[sample(delta), sample(0)]]
    report = quality_report(groups, *build_pairs(groups))["delta"]
    bins = report["histogram"]
    assert {other for other, count in bins.items() if count} == {name}
    assert (len(bins), next(iter(bins)), list(bins)[-1]) == (7, "0.3 to 0.4", "0.9 to 1.0")
    assert (report["median"], report["full"]) == (pytest.approx(delta), delta == 1)


def test_the_report_adds_up():
    groups = [
        [sample(1, time=0.5), sample(0, "timeout", time=1.5, tokens=60)],
        [sample(0.5, problem="q"), sample(0.1, "runtime_error", problem="q")],
        [sample(0, problem="r"), sample(0, "api_error", problem="r"), sample(0, problem="r")],
        [sample(1, problem="s"), sample(1, problem="s")],
    ]
    pairs, without = build_pairs(groups)
    report = quality_report(groups, pairs, without)
    assert (report["problems"], report["samples"], report["pairs"]) == (4, 9, 2)
    assert sum(report["problems_without_a_pair"].values()) == 2
    assert report["delta"]["mean"] == pytest.approx(0.7)
    assert report["delta"]["full"] == 1
    assert {name: n for name, n in report["delta"]["histogram"].items() if n} == {"0.4 to 0.5": 1, "0.9 to 1.0": 1}
    assert {name: n for name, n in report["error_types"]["rejected"].items() if n} == {"timeout": 1, "runtime_error": 1}
    assert report["tokens"] == {"chosen": 20, "rejected": 40}
    assert report["judge_cpu_s"] == pytest.approx(2.07)
    assert report["judge_cpu_s_per_pair"] == pytest.approx(2.07 / 2)
    assert report["samples_by_error_type"]["api_error"] == 1
    assert json.loads(json.dumps(report)) == report


def test_a_report_without_any_pair_has_no_means_and_is_no_error():
    report = quality_report([], *build_pairs([]))
    assert (report["pairs"], report["delta"]["mean"], report["judge_cpu_s_per_pair"]) == (0, None, None)


def test_the_ablation_counts_the_pairs_that_another_order_of_ties_would_change():
    slow, fast = sample(1, tokens=20, time=0.5), sample(1, tokens=20, time=0.1)
    long_and_fast = sample(1, tokens=30, time=0.01, problem="q")
    groups = [[slow, fast, sample(0)], [sample(1, time=0.2, problem="q"), long_and_fast, sample(0, problem="q")]]
    found = tie_ablation(groups)
    assert {order: row["pairs that differ"] for order, row in found.items()} == {
        "tokens, then time": 0,
        "tokens": 1,
        "time, then tokens": 1,
    }
    assert found["tokens, then time"]["tokens of the chosen"] == 20
    assert found["time, then tokens"]["tokens of the chosen"] == 25
    assert found["tokens"]["judge CPU s of the chosen"] == pytest.approx(0.35)
