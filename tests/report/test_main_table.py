"""The main table, read from planted runs."""

import json

import pytest
from test_runs import best_of_n
from test_tables import BASE, SETS, SFT, write_run

from lib.report.main_table import main_table
from lib.report.resources import cost, cost_table, training_table
from lib.report.runs import NOT_RUN, Stage, lineage
from lib.runs.record import to_json


@pytest.fixture
def rows(tmp_path):
    def one(name, kinds, policy="", **phases):
        folder = write_run(tmp_path / name, kinds)
        info = json.loads((folder / "run_info.json").read_text()) | {"phases": phases, "parameters": {"policy": policy}}
        (folder / "run_info.json").write_text(to_json(info))
        return Stage(name, folder)

    return {
        "Base": {0: one("03_baseline-s0", BASE, "base", evaluate=9.0)},
        "SFT": {
            0: one("10_sft-s0", SFT, "base", verify=6.0, train=60.0),
            1: one("10_sft-s1", BASE, "base", train=30.0),
            2: None,
        },
        "GRPO": {0: one("30_grpo-s0", SFT, "10_sft-s0", train=120.0, evaluate=600.0), 1: None, 2: None},
        "DPO": dict.fromkeys(range(3)),
    }


def test_a_row_has_mean_sd_and_interval_and_one_without_runs_is_a_row_of_holes(rows):
    table, found = main_table(rows, list(SETS))
    assert list(table.index) == list(rows)
    assert list(table.runs) == ["1 of 1", "2 of 3", "1 of 3", "0 of 3"]
    assert table.loc["SFT", "contests_test (n = 8)"].startswith("25.0 ± 17.7 [")
    assert "±" not in table.loc["Base", "mbpp (n = 8)"], "one run has no sd"
    assert table.loc["Base", "ran to the end"] == "37.5"
    assert set(table.loc["DPO"].drop("runs")) == {NOT_RUN}
    assert "DPO" not in found
    sft = found["SFT"]["humaneval"]
    assert sft["accepted_at_1"] == pytest.approx(0.25)
    assert sft["accepted_at_1_by_seed"] == [0.375, 0.125]
    assert (sft["seeds"], sft["n"], sft["oracle"]) == (2, 8, False)
    low, high = sft["accepted_at_1_interval"]
    assert 0 <= low < 0.25 < high <= 1


def test_training_minutes_are_those_of_the_whole_way_without_evaluations(rows):
    assert list(training_table(rows, 4)["minutes in all"]) == ["0.0", "0.8", "3.1", NOT_RUN]
    assert list(training_table(rows, 4)["minutes"]) == ["0.0", "0.8", "2.0", NOT_RUN]
    assert cost_table(rows).loc["Base", "tokens"] == "10"
    assert cost_table(rows).loc["Base", "judge ms"] == "20"
    grpo, sft = rows["GRPO"][0], rows["SFT"][0]
    assert lineage(grpo, {"10_sft-s0": sft, "30_grpo-s0": grpo}) == [grpo, sft]


def test_a_best_of_n_costs_what_its_choosing_costs_and_an_oracle_is_marked(tmp_path):
    stage = best_of_n(tmp_path / "12_best_of_n-s0", [[1, 0], [0, 1]], [[True, False], [False, True]])
    rows = [
        {"rule": rule, "n": n, "accepted": n / 2, "tokens": 20 * n, "judge_s": 0.004 * n}
        for rule in ("public tests", "majority", "oracle (upper bound)")
        for n in (1, 2)
    ]
    stage.metrics = {"curve": {"contests_test": rows}}
    table, found = main_table({"best": {0: stage}}, ["contests_test"])
    assert table.loc["best", "contests_test (n = 2)"] == "100.0 [100.0, 100.0]*"
    assert found["best"]["contests_test"]["oracle"]
    assert cost(stage)["tokens"] == 40
    assert cost(stage)["judge ms"] == pytest.approx(8)
