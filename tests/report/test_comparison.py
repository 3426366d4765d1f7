"""Comparisons of planted runs: for every verdict there are figures that lead to it, and to no other."""

import json

import numpy as np
import pandas as pd
import pytest

from lib.report.comparison import Comparison, adjusted, against_control, compare, comparison_table
from lib.report.runs import Stage
from lib.runs.run import UpstreamError

N = 200


def stage(folder, solved: np.ndarray, shares: list[float] | None = None) -> Stage:
    """A run that solved these problems of contests_test, and whose samples were accepted at these rates."""
    folder.mkdir(parents=True)
    (folder / "run_info.json").write_text(json.dumps({"run": folder.name, "status": "finished"}))
    kinds = ["success" if right else "wrong_answer" for right in solved]
    rows = [("contests_test", f"contests_test/{n}", kind) for n, kind in enumerate(kinds)]
    pd.DataFrame(rows, columns=["dataset", "problem_id", "error_type"]).to_csv(folder / "verdicts.csv", index=False)
    shares = shares or [0.3]
    curve = pd.DataFrame({"step": range(1, len(shares) + 1), "success_rate": shares})
    curve.to_csv(folder / "curves.csv", index=False)
    return Stage(folder.name, folder)


def recipes(tmp_path, a: list[float], b: list[float], shared: float = 0.9) -> dict:
    """Two recipes with these rates by seed; `shared`: the part of the problems with the same luck for both."""
    rows = {"dense": {}, "sparse": {}}
    for seed, rates in enumerate(zip(a, b, strict=True)):
        drawn = np.random.default_rng(seed)
        luck, same = drawn.random(N), drawn.random(N) < shared
        for label, rate in zip(rows, rates, strict=True):
            solved = np.where(same, luck, drawn.random(N)) < rate
            folder = tmp_path / f"30_grpo-{label}-s{seed}"
            rows[label][seed] = stage(folder, solved, [0.3] * 10 + [rate] * 30)
    return rows


def compared(tmp_path, a: list[float], b: list[float], **options) -> Comparison:
    return compare(recipes(tmp_path, a, b, **options), "dense", "sparse", "contests_test")


def planned(points=(9.0, 9.0, 9.0), low=2.0, high=16.0, p=0.001, **options) -> Comparison:
    by_seed = {seed: {"points": value, "McNemar p": 0.1} for seed, value in enumerate(points)}
    mean = sum(points) / len(points)
    return Comparison("dense", "sparse", "contests_test", N, 50.0, 50.0 + mean, mean, low, high, p, by_seed, **options)


def test_a_clear_difference_has_a_winner_whichever_side_it_is(tmp_path):
    low, high = [0.50, 0.52, 0.48], [0.70, 0.72, 0.69]
    better, worse = compared(tmp_path / "b", low, high), compared(tmp_path / "a", high, low)
    assert better.verdict == "better"
    assert better.sentence.startswith("sparse is better than dense: +")
    assert "over problems and 3 seeds" in better.sentence
    assert worse.verdict == "worse"
    assert worse.sentence.startswith("sparse is worse than dense: -")


def test_equal_recipes_are_called_equal_when_the_interval_is_narrow(tmp_path):
    found = compared(tmp_path, [0.6, 0.61, 0.59], [0.6, 0.6, 0.6], shared=1.0)
    assert found.verdict == "equal"
    assert found.sentence.startswith("sparse equals dense within the margin of 5 points")


def test_equal_recipes_that_vary_much_leave_the_question_open(tmp_path):
    found = compared(tmp_path, [0.5, 0.7, 0.6], [0.7, 0.5, 0.6], shared=0.0)
    assert found.verdict == "open"
    assert found.sentence.startswith("Open (the 95 % interval contains 0")


def test_two_seeds_conclude_nothing_however_large_the_difference(tmp_path):
    found = compared(tmp_path, [0.2, 0.2], [0.9, 0.9])
    assert found.verdict == "open"
    assert found.sentence.startswith("Open (2 of 3 seeds were run)")


@pytest.mark.parametrize(
    ("figures", "verdict", "reason"),
    [
        ({}, "better", ""),
        ({"points": (-9.0, -8.0, -9.0), "low": -15.0, "high": -1.0}, "worse", ""),
        ({"points": (9.0, 9.0, -1.0)}, "mixed", "the seeds differ in sign"),
        ({"p": 0.05}, "mixed", "the interval excludes 0, but p is at least 0.05"),
        ({"p": 0.001, "p_holm": 0.06, "family": 9}, "mixed", "the interval excludes 0, but p is at least 0.05"),
        ({"low": -0.5}, "mixed", "the interval contains 0, but p is below 0.05"),
        ({"low": -0.5, "p": 0.4}, "open", "contains 0, but also differences of 5 points or more"),
        ({"low": 0.0, "p": 0.4}, "open", "interval contains 0"),
        ({"points": (2.0, 2.0, 2.0), "low": 0.5, "high": 4.9}, "equal", "within the margin of 5 points"),
        ({"points": (2.0, 2.0, 2.0), "low": -4.9, "high": 5.0, "p": 0.4}, "open", "differences of 5 points or more"),
        ({"points": (2.0, 2.0, 2.0), "low": -5.0, "high": 4.9, "p": 0.4}, "open", "differences of 5 points or more"),
        ({"points": (9.0,), "p": 0.001}, "open", "1 of 3 seeds"),
        ({"p": None}, "better", "over problems and 3 seeds."),
        ({"points": (9.0,), "needs": 1}, "better", "over problems alone"),
    ],
)
def test_the_interval_decides_and_what_contradicts_it_is_named(figures, verdict, reason):
    found = planned(**figures)
    assert found.verdict == verdict
    assert reason in found.sentence


def test_without_a_pair_of_equal_seeds_there_is_nothing_to_compare(tmp_path):
    rows = recipes(tmp_path, [0.5], [0.6])
    rows["sparse"] = {0: None, 1: rows["sparse"][0]}
    assert compare(rows, "dense", "sparse", "contests_test") is None
    assert compare({"dense": rows["dense"]}, "dense", "sparse", "contests_test") is None


def test_a_comparison_is_the_mean_over_the_pairs_and_says_what_each_side_accepts(tmp_path):
    found = compared(tmp_path, [0.5] * 3, [0.7] * 3, shared=1.0)
    points = [found.by_seed[seed]["points"] for seed in range(3)]
    assert found.points == pytest.approx(sum(points) / 3) == pytest.approx(found.accepted_b - found.accepted_a)
    assert found.low <= found.points <= found.high
    assert all(pair["McNemar p"] < 1e-6 and pair["lost"] == 0 for pair in found.by_seed.values())


def test_the_untrained_policy_is_compared_with_every_seed_and_any_other_control_with_its_own(tmp_path):
    rows = recipes(tmp_path, [0.5] * 3, [0.7] * 3)
    base = {0: stage(tmp_path / "03_baseline-s0", np.arange(N) < 20)}
    for control, seeds in ((base, [0, 1, 2]), ({0: rows["dense"][0]}, [0])):
        found = compare({"control": control, "sparse": rows["sparse"]}, "control", "sparse", "contests_test")
        assert list(found.by_seed) == seeds


def test_runs_that_were_measured_on_other_problems_are_not_compared(tmp_path):
    rows = recipes(tmp_path, [0.5], [0.7])
    rows["sparse"][0] = stage(tmp_path / "30_grpo-sparse-limit=9-s0", np.arange(9) < 5)
    with pytest.raises(ValueError, match="not measured on the same problems of contests_test"):
        compare(rows, "dense", "sparse", "contests_test")


def test_p_is_adjusted_for_all_planned_comparisons():
    found = adjusted([planned(p=p) for p in (0.03, 0.01, 0.04)])
    assert [comparison.p_holm for comparison in found] == pytest.approx([0.06, 0.03, 0.06])
    assert [comparison.verdict for comparison in found] == ["mixed", "better", "mixed"]
    assert "p = 0.03 (Holm, 3 comparisons)" in found[1].sentence
    assert adjusted([]) == []


def test_the_table_has_a_line_per_comparison():
    line = comparison_table(adjusted([planned((3.0, 4.0, 5.0), 1.0, 7.0)])).loc[0]
    assert line["points [95 %]"] == "+4.0 [+1.0, +7.0]"
    assert line["by seed"] == "+3.0 · +4.0 · +5.0"
    assert (line["sd"], line["p (Holm)"], line["verdict"]) == ("1.0", "0.001", "better")


class Run:
    """An open run in a folder, beside the finished runs."""

    def __init__(self, folder):
        self.folder, self.name, self.params = folder, folder.name, {"seed": 1}

    def upstream(self, name):
        if not (self.folder.parent / name).is_dir():
            raise UpstreamError(f"{name} has not been made")
        return self.folder.parent / name


def test_a_run_is_compared_with_its_control_over_problems_alone(tmp_path):
    stage(tmp_path / "10_sft-s1", np.arange(N) < 80)
    stage(tmp_path / "30_grpo-s1", np.arange(N) < 120)
    found = against_control(Run(tmp_path / "30_grpo-s1"), "10_sft-s1")
    assert (found.verdict, found.points, found.problems) == ("better", pytest.approx(20.0), N)
    assert found.low < 20 < found.high
    assert "over problems alone, since each side has one run" in found.sentence
    assert found.by_seed[1]["won"] == 40
    table = found.table()["contests_test"]
    assert table["accepted, 10_sft-s1 (control)"] == "40.0 %"
    assert table["accepted, 30_grpo-s1"] == "60.0 %"
    assert table["verdict"] == "better"
    with pytest.raises(UpstreamError, match="03_baseline-s0 has not been made"):
        against_control(Run(tmp_path / "30_grpo-s1"), "03_baseline-s0")


def test_a_run_that_starts_from_the_base_model_is_compared_with_the_baseline(tmp_path, monkeypatch):
    monkeypatch.setenv("RLVR_ARTIFACTS", str(tmp_path))
    run = Run(tmp_path / "tiny" / "30_grpo-s1")
    run.params["preset"] = "tiny"
    stage(run.folder, np.arange(N) < 120)
    with pytest.raises(UpstreamError, match=r"lib\.matrix tiny 03_baseline-s0"):
        against_control(run, "base")
    stage(tmp_path / "tiny" / "03_baseline-s0", np.arange(N) < 80)
    assert against_control(run, "base").points == pytest.approx(20.0)


def test_a_smoke_run_is_compared_on_the_problems_that_both_have(tmp_path):
    stage(tmp_path / "10_sft-s1", np.arange(N) < 80)
    stage(tmp_path / "30_grpo-s1", np.arange(8) < 8)
    found = against_control(Run(tmp_path / "30_grpo-s1"), "10_sft-s1")
    assert (found.problems, found.points, found.verdict) == (8, 0, "equal")
