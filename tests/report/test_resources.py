"""Costs, reliability, provenance and learning curves, read from planted runs."""

import json

import pandas as pd
import pytest
from test_runs import best_of_n
from test_tables import BASE, SFT, write_run

from lib.judge.verdict import ERROR_TYPES
from lib.report.learning import learning
from lib.report.outcomes import error_shares
from lib.report.provenance import runs_table, stale_runs
from lib.report.resources import budget_table, cost_table, reliability_table, training_table
from lib.report.runs import NOT_RUN, Stage
from lib.runs.fingerprint import Fingerprints
from lib.runs.record import to_json

TIMES = {"throughput": 50.0, "queue_length": 12.5, "retry_rate": 0.02, "cache_hit_rate": 0.5}


@pytest.fixture
def rows(tmp_path):
    """SFT with two runs, GRPO with one that was trained with early stopping, DPO without any."""

    def one(name, kinds, **options) -> Stage:
        folder = write_run(tmp_path / name, kinds, **options)
        metrics = json.loads((folder / "metrics.json").read_text())
        metrics["times"] |= TIMES
        (folder / "metrics.json").write_text(to_json(metrics))
        if options:
            points = [
                {"step": step, "sets": {"contests_valid": {"accepted_at_1": share, "pass_ratio_mean": share + 0.1}}}
                for step, share in ((0, 0.2), (20, 0.5))
            ]
            early_stop = {"fail_count": 1, "stopped_at": 20, "eval_points": points}
            (folder / "early_stop.json").write_text(to_json(early_stop))
        return Stage(name, folder)

    rewards = [float(step > 10) for step in range(1, 21)]
    curve = pd.DataFrame({"step": range(1, 21), "reward": rewards, "kl": 0.1, "success_rate": 0.3})
    curve = curve.assign(api_error_rate=0.01, completion_tokens=25.0, step_s=3.0)
    return {
        "SFT": {0: one("10_sft-s0", SFT), 1: one("10_sft-s1", BASE), 2: None},
        "GRPO": {0: one("30_grpo-s0", SFT, curve=curve), 1: None, 2: None},
        "DPO": dict.fromkeys(range(3)),
    }


def test_shares_are_means_over_the_runs_of_a_row(rows):
    shares = error_shares(rows)
    assert list(shares.index) == ["SFT", "GRPO"]
    both = SFT + BASE
    assert shares.loc["SFT"].to_list() == pytest.approx([both.count(kind) / len(both) for kind in ERROR_TYPES])


def test_costs_are_means_over_runs_a_dash_where_none_is_recorded_and_holes_without_runs(rows, tmp_path):
    best = best_of_n(tmp_path / "12_best_of_n-s0", [[1, 0]], [[True, False]])
    row = {"rule": "public tests", "n": 2, "accepted": 1.0, "tokens": 40.0, "judge_s": 0.01}
    best.metrics = {"curve": {"contests_test": [row]}}
    table = cost_table({**rows, "best of n": {0: best}})
    assert table.loc["SFT", "problems/s"] == "50"
    assert table.loc["SFT", "judge ms p50"] == "20"
    assert table.loc["SFT", "timeouts %"] == "12.5"
    assert table.loc["GRPO", "tokens per solved"] == "26.67"
    assert table.loc["best of n", "tokens per solved"] == "40"
    assert table.loc["best of n", "problems/s"] == "–"
    assert set(table.loc["DPO"]) == {NOT_RUN}


def test_reliability_has_queue_retries_cache_failures_and_violations_of_early_stopping(rows):
    table = reliability_table(rows)
    assert list(table.loc["SFT"]) == ["12.5", "2.0", "50.0", "0", "–", "–", "–"]
    assert list(table.loc["GRPO"])[4:] == ["1.0", "1", "1"]
    assert set(table.loc["DPO"]) == {NOT_RUN}


def test_learning_has_what_was_logged_smoothed_and_the_greedy_evaluations(rows):
    table = learning(rows, per_step=4, window=5)
    assert set(table.row) == {"GRPO"}, "supervision samples nothing while it trains"
    by_panel = {name: own.set_index("step")["value"] for name, own in table.groupby("panel")}
    assert list(by_panel["accepted on valid, greedy"].items()) == [(0, 0.2), (20, 0.5)]
    assert by_panel["pass_ratio on valid, greedy"][20] == pytest.approx(0.6)
    assert by_panel["reward of the samples"][[10, 12, 20]].to_list() == pytest.approx([0.0, 0.4, 1.0])
    assert by_panel["KL to the start"].to_list() == pytest.approx([0.1] * 20)
    spent = table[table.panel == "samples accepted"].set_index("step")
    assert spent.tokens[20] == 20 * 4 * 25
    assert spent.minutes[20] == pytest.approx(20 * 3 / 60)
    probed = table[table.panel == "accepted on valid, greedy"].set_index("step")
    assert probed.tokens.to_list() == [0, 2000]


def test_tokens_and_minutes_of_a_training_are_those_that_it_recorded_else_those_of_its_steps(rows):
    assert training_table(rows, 4).loc["GRPO", "rollout tokens"] == "2,000"
    curve = rows["GRPO"][0].curve
    rows["GRPO"][0].curve = curve.assign(tokens=curve.step * 111)
    assert training_table(rows, 4).loc["GRPO", "rollout tokens"] == "2,220"
    rows["GRPO"][0].metrics["training_cost"] = {"tokens": 5000, "minutes": 1.0}
    assert training_table(rows, 4).loc["GRPO", "rollout tokens"] == "5,000", "with the samples for repair examples"
    assert set(training_table(rows, 4).loc["DPO"]) == {NOT_RUN}


def test_a_report_without_a_run_of_any_such_row_has_a_table_without_columns(rows):
    assert training_table({"GRPO": {0: None}, "repair": {}}, 4).shape == (2, 0)


def test_a_budget_says_which_n_reaches_a_policy_and_when_its_training_is_paid_back(rows, tmp_path):
    right = [[n % 2 == 0, n < 6] for n in range(8)]  # one sample solves 5 of 8, the better of two 7
    best = best_of_n(tmp_path / "12_best_of_n-s0", right, right)
    table = best.verdicts.assign(problem_id=[f"contests_test/{n}" for n in range(8) for _ in range(2)])
    best.verdicts = table
    row = {"rule": "public tests", "n": 2, "accepted": 1.0, "tokens": 40.0, "judge_s": 0.01}
    best.metrics = {"curve": {"contests_test": [row]}}
    found = budget_table({**rows, "best": {0: best}}, "best", ["SFT", "GRPO", "DPO"], per_step=4)
    assert found.loc["GRPO", "same tokens"].startswith("-25.0 [")
    assert found.loc["GRPO", "2 times the tokens"].startswith("-50.0 [")
    assert found.loc["GRPO", "reached with n"] == 1
    assert found.loc["GRPO", "training tokens"] == "2,000"
    assert found.loc["GRPO", "paid back after"] == "200 problems"
    assert found.loc["SFT", "paid back after"] == "–"
    assert found.loc["DPO", "same tokens"] == NOT_RUN


def test_a_run_is_stale_once_its_notebook_has_changed_and_a_missing_one_is_named(repository):
    repository.notebook("10_sft", "1 + 1")
    repository.params("10_sft-s0")
    made = Fingerprints("tiny").of("10_sft-s0")
    folder = write_run(repository.folder("10_sft-s0"), SFT)
    info = json.loads((folder / "run_info.json").read_text()) | {"preset": "tiny", "commit": "ab" * 20, "dirty": False}
    info |= {"fingerprint": made.fingerprint, "notebook_hash": made.notebook, "lib_hashes": made.lib, "data": {}}
    info["preset_hashes"], info["notebook"] = made.preset, "10_sft"
    info["parameters"] = {"preset": "tiny", "seed": 0}
    (folder / "run_info.json").write_text(to_json(info))
    rows = {"SFT": {0: Stage("10_sft-s0", folder), 1: None, 2: None}}
    assert stale_runs(rows) == {}
    repository.notebook("10_sft", "1 + 2")
    stale = stale_runs(rows)
    assert list(stale) == ["10_sft-s0"]
    assert stale["10_sft-s0"].startswith("changed since: the notebook")
    table = runs_table(rows, stale).splitlines()
    assert table[-1] == "| SFT | [seed 0](../10_sft-s0/10_sft.ipynb) | 1, 2 | 0 | ababababab |  |"
