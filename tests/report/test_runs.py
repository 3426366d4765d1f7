"""Arms: runs grouped by recipe, and what each hands in for a problem."""

import pandas as pd
import pytest
from test_tables import BASE, write_run

from lib.evaluation.best_of_n import Sample, p_accepted
from lib.report.outcomes import accepted, outcomes
from lib.report.runs import RULE, Stage, by_name, finished, label, pairs, read_runs, start_of
from lib.runs import UpstreamError


class Run:
    """Of all runs that are asked for, those in `there` have been made."""

    def __init__(self, folder, *there: str):
        self.folder, self.there = folder, there

    def upstream(self, name):
        if name not in self.there:
            raise UpstreamError(f"{name} has not been made")
        return write_run(self.folder / name, BASE)


def best_of_n(folder, passed: list[list[int]], right: list[list[bool]]) -> Stage:
    """A run that has drawn samples: of each the public tests that it passed, and whether all tests accept it."""
    rows = [
        ("contests_test", f"p{n}", k, "success" if ok else "timeout", public)
        for n, own in enumerate(zip(passed, right, strict=True))
        for k, (public, ok) in enumerate(zip(*own, strict=True))
    ]
    write_run(folder, BASE)
    table = pd.DataFrame(rows, columns=["dataset", "problem_id", "sample", "error_type", "public_passed"])
    table.to_csv(folder / "verdicts.csv", index=False)
    return Stage("best of n", folder)


def test_rows_are_read_from_the_names_of_runs_and_unnamed_seeds_are_holes(tmp_path, capsys):
    names = ("03_baseline-s0", "30_grpo-dense-s0", "30_grpo-dense-s4", "30_grpo-sparse-steps=20-s1")
    found = read_runs(Run(tmp_path, *names), " ".join((*names, "30_grpo-dense-s2", "20_dpo-s0")))
    assert {name: [seed for seed, one in runs.items() if one] for name, runs in found.items()} == {
        "Base": [0],
        "GRPO dense": [0, 4],
        "30_grpo-sparse-steps=20": [1],
        "DPO": [],
    }
    assert list(found["GRPO dense"]) == [0, 1, 2, 4]
    assert list(found["Base"]) == [0], "one greedy policy, whatever the seed"
    assert capsys.readouterr().out == "not run: 30_grpo-dense-s2, 20_dpo-s0; `make matrix` runs them\n"


def test_a_row_is_named_after_its_recipe_and_what_is_no_run_is_an_error():
    assert label("30_grpo-dense-from-dpo-s2") == "DPO → GRPO dense"
    assert label("30_grpo-dense-steps=20-s0") == "30_grpo-dense-steps=20"
    with pytest.raises(ValueError, match="'30_grpo-dense' is not the name of a run"):
        label("30_grpo-dense")


def test_a_pair_has_one_seed_and_the_untrained_policy_is_a_pair_to_every_seed(tmp_path):
    names = ["03_baseline-s0", "10_sft-s0", "10_sft-s1", "30_grpo-dense-s1", "30_grpo-dense-s2"]
    arms = read_runs(Run(tmp_path, *names), " ".join(names))
    assert {seed: pair[0].label for seed, pair in pairs(arms["SFT"], arms["GRPO dense"]).items()} == {1: "10_sft-s1"}
    assert list(pairs(arms["Base"], arms["GRPO dense"])) == [1, 2]
    assert pairs({}, arms["SFT"]) == pairs(arms["SFT"], {}) == {}


def test_the_start_of_a_run_is_the_policy_that_it_names(tmp_path):
    arms = read_runs(Run(tmp_path, "03_baseline-s0", "10_sft-s0"), "03_baseline-s0 10_sft-s0")
    [base], [sft] = finished(arms["Base"]).values(), finished(arms["SFT"]).values()
    base.info["parameters"] = sft.info["parameters"] = {"policy": "base"}
    assert start_of(sft, by_name(arms)) is base
    assert start_of(base, by_name(arms)) is None


def test_a_greedy_program_ended_in_one_way_and_what_the_judge_failed_on_is_left_out(tmp_path):
    stage = Stage("a", write_run(tmp_path / "10_sft-s0", ["success", "timeout", "api_error"]))
    found = outcomes(stage, "mbpp")
    assert list(found.index) == ["mbpp/0", "mbpp/1"]
    assert list(found.success) == [1, 0]
    assert list(found.timeout) == [0, 1]
    with pytest.raises(ValueError, match="a has not been measured on contests_valid"):
        outcomes(stage, "contests_valid")


def test_a_best_of_n_hands_in_what_its_rule_chooses(tmp_path):
    passed, right = [[2, 2, 1, 0], [1, 1, 1, 1]], [[True, False, True, True], [False, True, False, False]]
    stage = best_of_n(tmp_path / "12_best_of_n-s0", passed, right)
    by_hand = {1: [0.75, 0.25], 2: [5 / 6 * 0.5 + 1 / 6, 0.25], 4: [0.5, 0.25]}
    for n, worth in by_hand.items():
        assert list(outcomes(stage, "contests_test", n).success) == pytest.approx(worth)
        assert list(outcomes(stage, "contests_test", n).sum(axis=1)) == pytest.approx([1, 1])
    looks = [[Sample(0, one) for one in own] for own in passed]
    for n in range(1, 5):
        worth = [p_accepted(RULE, *one)[n - 1] for one in zip(looks, right, strict=True)]
        assert list(outcomes(stage, "contests_test", n).success) == pytest.approx(worth), (
            "as lib.evaluation.best_of_n counts"
        )
    assert list(accepted([stage], "contests_test")[0]) == pytest.approx([0.5, 0.25])
