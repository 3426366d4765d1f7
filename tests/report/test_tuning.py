"""The tables of hyperparameters and of the tuning budget."""

from test_tables import SFT, write_run

from lib.report.runs import NOT_RUN, Stage
from lib.report.tuning import hyperparameters, shared_values, tuning_table


def test_a_row_has_the_parameters_that_it_was_run_with(tmp_path):
    stage = Stage("10_sft-s0", write_run(tmp_path / "10_sft-s0", SFT))
    stage.info["parameters"] = {"preset": "tiny", "policy": "base", "steps": 110, "limit": 0, "seed": 0}
    table = hyperparameters({"SFT": {0: stage, 1: None}, "DPO": {0: None}})
    assert list(table.loc["SFT"]) == ["base", "steps 110"]
    assert list(table.loc["DPO"]) == [NOT_RUN, ""]


def test_the_values_that_all_runs_share_come_from_the_preset():
    table = shared_values({"sft": {"max_length": 512}, "grpo": {}})
    assert table.loc["sft"].item() == "max_length 512"
    assert table.loc["grpo"].item() == "TRL's defaults"


def test_the_tuning_budget_names_for_every_choice_what_was_tried_and_on_which_set():
    table = tuning_table("tiny")
    assert {"SFT", "DPO", "repair"} <= set(table.recipe)
    assert not (table == "nan").any().any(), "every cell is filled"
    assert tuning_table("no preset").empty
