"""Ablations on planted runs: for every outcome there are figures that lead to it, and to no other."""

import itertools

import numpy as np
import pandas as pd
import pytest
from test_tables import write_run

from lib.report.ablation import (
    Comparison,
    compare,
    comparison_table,
    conclusion,
    first_reached,
    interval,
    learning_table,
    sign_flip,
)
from lib.report.tables import HOLE, Stage

N = 200


def stage(folder, solved: np.ndarray, shares: list[float]) -> Stage:
    """A run that solved these problems of contests_test, and whose samples were accepted at these rates."""
    kinds = ["success" if one else "wrong_answer" for one in solved]
    curve = pd.DataFrame({"step": range(1, len(shares) + 1), "success_rate": shares})
    return Stage(folder.name, write_run(folder, kinds, curve=curve))


def arms(tmp_path, a: list[float], b: list[float], shared: float = 0.9) -> dict:
    """Two arms with these rates by seed; `shared`: the part of the problems on which luck is the same for both."""
    found = {"dense": {}, "sparse": {}}
    for seed, rates in enumerate(zip(a, b, strict=True)):
        drawn = np.random.default_rng(seed)
        luck, same = drawn.random(N), drawn.random(N) < shared
        for label, rate in zip(found, rates, strict=True):
            solved = np.where(same, luck, drawn.random(N)) < rate
            folder = tmp_path / f"30_grpo-{label}-s{seed}"
            found[label][seed] = stage(folder, solved, [0.3] * 10 + [rate] * 30)
    return found


def concluded(tmp_path, a: list[float], b: list[float], **options) -> str:
    found = compare(arms(tmp_path, a, b, **options), "dense", "sparse", "contests_test")
    return conclusion(found, "dense", "sparse")


def test_a_clear_difference_has_a_winner_whichever_arm_it_is(tmp_path):
    low, high = [0.50, 0.52, 0.48], [0.70, 0.72, 0.69]
    assert concluded(tmp_path / "b", low, high).startswith("sparse is better than dense, in every seed.")
    assert concluded(tmp_path / "a", high, low).startswith("dense is better than sparse, in every seed.")


def test_equal_arms_are_called_equal_when_the_interval_is_narrow(tmp_path):
    text = concluded(tmp_path, [0.6, 0.61, 0.59], [0.6, 0.6, 0.6], shared=1.0)
    assert text.startswith("No difference that matters: one of more than 5 points is ruled out.")


def test_equal_arms_that_vary_much_leave_the_question_open(tmp_path):
    text = concluded(tmp_path, [0.5, 0.7, 0.6], [0.7, 0.5, 0.6], shared=0.0)
    assert text.startswith("Open: the interval holds 0")


def test_two_seeds_conclude_nothing_however_large_the_difference(tmp_path):
    assert concluded(tmp_path, [0.2, 0.2], [0.9, 0.9]).startswith("Open: 2 of 3 seeds")


def test_seeds_that_disagree_have_no_winner():
    by_seed = {seed: {"points": points, "McNemar p": 0.1} for seed, points in enumerate((9.0, 9.0, -1.0))}
    found = Comparison(
        "dense", "sparse", "contests_test", N, 5.7, 0.2, 11.0, 0.04, by_seed, dict.fromkeys(range(3), 0.1)
    )
    assert conclusion(found, "dense", "sparse").startswith(
        "Open: the interval leaves 0 out, but the seeds do not agree."
    )


def test_without_a_pair_of_equal_seeds_there_is_nothing_to_compare(tmp_path):
    found = arms(tmp_path, [0.5], [0.6])
    found["sparse"] = {0: None, 1: found["sparse"][0]}
    assert compare(found, "dense", "sparse", "contests_test") is None
    assert compare({"dense": found["dense"]}, "dense", "sparse", "contests_test") is None
    assert conclusion(None, "dense", "sparse").startswith("sparse against dense: nothing to compare")


def test_a_comparison_counts_what_the_arms_solved_and_how_fast_they_learned(tmp_path):
    found = compare(arms(tmp_path, [0.5] * 3, [0.7] * 3, shared=1.0), "dense", "sparse", "contests_test")
    points = [found.by_seed[seed]["points"] for seed in range(3)]
    assert found.points == pytest.approx(sum(points) / 3)
    assert found.low <= found.points <= found.high
    assert all(one["McNemar p"] < 1e-6 for one in found.by_seed.values())
    assert list(found.areas.values()) == pytest.approx([0.2 * 30 / 40] * 3)
    assert "more accepted samples in 3 of 3 (+0.150)" in conclusion(found, "dense", "sparse")


def test_the_untrained_policy_is_compared_with_every_seed_and_any_other_control_with_its_own(tmp_path):
    found = arms(tmp_path, [0.5] * 3, [0.7] * 3)
    base = {0: stage(tmp_path / "03_baseline-s0", np.arange(N) < 20, [0.1])}
    for control, seeds in ((base, [0, 1, 2]), ({0: found["dense"][0]}, [0])):
        compared = compare({"control": control, "sparse": found["sparse"]}, "control", "sparse", "contests_test")
        assert list(compared.by_seed) == seeds


def test_runs_that_were_measured_on_other_problems_are_not_compared(tmp_path):
    found = arms(tmp_path, [0.5], [0.7])
    found["sparse"][0] = stage(tmp_path / "30_grpo-sparse-problems=9-s0", np.arange(9) < 5, [0.5])
    with pytest.raises(ValueError, match="not measured on the same problems of contests_test"):
        compare(found, "dense", "sparse", "contests_test")


def test_a_permutation_of_signs_finds_what_is_no_chance_and_nothing_else():
    drawn = np.random.default_rng(0)
    noise = drawn.normal(0, 0.3, (3, N))
    assert sign_flip(noise + 0.1) < 0.001
    assert sign_flip(noise - noise.mean()) > 0.9
    exact = sum(abs(sum(s)) >= 4 for s in itertools.product((1, -1), repeat=4)) / 16
    assert sign_flip(np.ones((1, 4))) == pytest.approx(exact, abs=0.01)
    false = [sign_flip(drawn.normal(0, 1, (3, 40)), seed=trial, draws=400) < 0.05 for trial in range(200)]
    assert 0.01 <= np.mean(false) <= 0.10


def test_the_table_corrects_p_for_all_comparisons_in_it():
    by_seed = {seed: {"points": 3.0 + seed, "McNemar p": 0.2} for seed in range(3)}
    ps = (0.03, 0.01, 0.04)
    found = [Comparison("a", "b", "mbpp", N, 4.0, 1.0, 7.0, p, by_seed, {}) for p in ps]
    table = comparison_table(found)
    assert list(table["p (Holm)"]) == pytest.approx([0.06, 0.03, 0.06])
    assert table.loc[0, "points [95 %]"] == "+4.0 [+1.0, +7.0]"
    assert table.loc[0, "by seed"] == "+3.0 · +4.0 · +5.0"
    assert table.loc[0, "sd"] == "1.0"


def test_the_interval_widens_with_the_variance_between_seeds_and_with_few_problems():
    drawn = np.random.default_rng(0)
    alike = (drawn.random((3, N)) < 0.1).astype(float)
    unlike = alike + np.array([[0.2], [0.0], [-0.2]])
    few = alike[:, :20]
    width = {name: np.ptp(interval(d)) for name, d in (("alike", alike), ("unlike", unlike), ("few", few))}
    assert width["unlike"] > 3 * width["alike"]
    assert width["few"] > 2 * width["alike"]
    assert interval(alike) == interval(alike)


def test_the_interval_holds_the_truth_about_as_often_as_it_says_with_many_seeds():
    drawn = np.random.default_rng(1)
    held = 0
    for trial in range(100):
        truth = 0.1 + drawn.normal(0, 0.05, (12, 1)) + drawn.normal(0, 0.3, 80)
        low, high = interval(truth + drawn.normal(0, 0.3, (12, 80)), seed=trial, resamples=500)
        held += low <= 0.1 <= high
    assert held >= 88


def test_a_threshold_is_reached_by_the_running_mean_or_never():
    curve = pd.DataFrame({"step": range(1, 31), "success_rate": [0.2] * 10 + [0.9] + [0.2] * 4 + [0.6] * 15})
    assert first_reached(curve, 0.5) == 23
    assert first_reached(curve, 0.7) is None


def test_the_table_has_a_value_per_seed_and_shows_a_hole_where_a_run_is_missing(tmp_path):
    found = arms(tmp_path, [0.45, 0.6], [0.7, 0.7])
    found["dense"][2] = found["sparse"][2] = None
    found["SFT"] = dict.fromkeys(range(3))
    table = learning_table(found, "contests_test", per_step=64)
    shown = table.loc["dense", "accepted"].split(" · ")
    assert shown[2] == HOLE
    first, second = map(float, shown[:2])
    assert float(table.loc["dense", "sd"]) == pytest.approx(abs(first - second) / 2**0.5, abs=0.11)
    assert table.loc["dense", "steps to 50%"] == f"never · 17 · {HOLE}"
    assert table.loc["sparse", "rollouts to 50%"] == f"960 · 960 · {HOLE}"
    assert table.loc["dense", "area"].startswith("0.412 · 0.525")
    assert set(table.loc["SFT"].drop(["runs", "sd"])) == {HOLE}
