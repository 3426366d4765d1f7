"""The page of Phase 4, from what 40_repair would have saved of dialogues written down here."""

import json

import numpy as np
import pandas as pd
import pytest
from test_repair_metrics import MISSED, NEVER, RIGHT_AT_LAST, RIGHT_AT_ONCE
from test_tables import write_run

from lib.evaluation.repair_metrics import Retries, summary, transitions
from lib.report.comparison import Comparison
from lib.report.outcomes import accepted, repair_settings
from lib.report.repair import (
    RESAMPLING,
    by_retries,
    compare,
    feedback_credit,
    moves,
    read_repairs,
    rounds_table,
    settings_table,
    versus_controls,
)
from lib.report.resources import cost
from lib.report.runs import Stage, first_rounds
from lib.runs.record import to_json

KINDS = ["success", "timeout", "wrong_answer", "wrong_answer"]  # of the first rounds
ALL = [RIGHT_AT_ONCE, RIGHT_AT_LAST, NEVER, MISSED]


def write_repair(folder, dialogues: list, resampling: list[float]) -> Stage:
    """A run of 40_repair as far as the report reads it; `resampling`: the chances of the control."""
    write_run(folder, [one.turns[0].verdict.error_type for one in dialogues])
    last = [float(one.last.verdict.accepted) for one in dialogues]
    settings = {f"{k} rounds": summary(dialogues, k) for k in (2, 3)} | {"starting policy": summary(dialogues, 3)}
    once = [float(one.turns[0].verdict.accepted) for one in dialogues]
    found = {
        "contests_test": settings,
        "controls": {"a. one round, starting policy": compare(once, last), RESAMPLING: compare(resampling, last)},
        "transitions": {str(k): pd.DataFrame(transitions(dialogues, k)).to_dict() for k in (1, 2)},
    }
    (folder / "repair.json").write_text(to_json(found))
    lines = [
        {"problem_id": f"contests_test/{n}", "dataset": "contests_test", "error_type": turn.verdict.error_type}
        for n, one in enumerate(dialogues)
        for turn in one.turns
    ]
    (folder / "repair.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Stage(folder.name, folder)


@pytest.fixture
def arm(tmp_path):
    return {
        0: write_repair(tmp_path / "40_repair-s0", ALL * 20, [0.25] * 80),
        1: write_repair(tmp_path / "40_repair-s1", [*ALL, RIGHT_AT_LAST] * 20, [0.3] * 100),
        2: None,
    }


def test_of_a_repair_the_last_round_counts_or_the_first_and_elsewhere_its_only_one(arm):
    assert accepted([arm[0]], "contests_test").mean() == 0.5
    assert accepted([arm[0]], "mbpp").mean() == 0.25
    whole = next(iter(repair_settings(arm[0]).values()))
    assert whole["accepted_at_multi"] == 0.5
    assert cost(arm[0])["tokens"] == whole["total"]["tokens"] / 80
    once = first_rounds(arm)
    assert accepted([once[0]], "contests_test").mean() == whole["accepted_at_1"] == 0.25
    assert once[2] is None


def test_settings_have_the_figures_of_phase_4_over_the_seeds(arm):
    table = settings_table(read_repairs(arm))
    assert list(table.index) == ["3 rounds", "2 rounds", "starting policy"]
    assert table.loc["3 rounds", "accepted_at_multi, %"] == "55.0 ± 7.1"
    assert table.loc["3 rounds", "recovery_rate, %"] == "41.7 ± 11.8"
    assert table.loc["2 rounds", "recovery_rate, %"] == "0.0 ± 0.0"
    assert table.loc["3 rounds", "missed"] == "20.0 ± 0.0"


def test_rounds_add_up(arm):
    table = rounds_table(read_repairs(arm))
    assert list(table.index) == ["round 1", "round 2", "round 3", "total"]
    assert list(table.dialogues) == [90, 50, 30, 170]
    assert table.tokens["total"] == table.tokens[:3].sum()


def test_a_control_keeps_its_place_whichever_way_it_comes_out(arm):
    one = versus_controls(read_repairs(arm))[RESAMPLING]
    assert one.points == pytest.approx(27.5)
    assert one.by_seed == {0: {"points": pytest.approx(25.0)}, 1: {"points": pytest.approx(30.0)}}
    assert one.low < 27.5 < one.high
    assert (one.accepted_a, one.accepted_b) == (pytest.approx(27.5), pytest.approx(55.0))
    assert versus_controls({}) == {}


@pytest.mark.parametrize(("chance", "verdict"), [(0.1, "better"), (0.9, "worse"), (0.5, "equal")])
def test_the_verdict_follows_the_interval_and_needs_three_seeds(tmp_path, chance, verdict):
    [record] = read_repairs({0: write_repair(tmp_path / "40_repair-s0", ALL * 120, [chance] * 480)}).values()
    repairs = dict.fromkeys(range(3), record)
    found = versus_controls(repairs)[RESAMPLING]
    assert found.verdict == verdict
    assert "p =" not in found.sentence, "the record holds intervals only"
    two = versus_controls({n: repairs[n] for n in (0, 1)})[RESAMPLING]
    assert two.sentence.startswith("Open (2 of 3 seeds were run)")


def test_nothing_is_credited_to_feedback_before_repair_beats_every_control():
    def versus(verdict: str) -> Comparison:
        low, high = {"better": (6, 9), "worse": (-9, -6), "open": (-9, 9)}[verdict]
        by_seed = {seed: {"points": (low + high) / 2} for seed in range(3)}
        return Comparison("control", "repair", "contests_test", 9, 50, 50, (low + high) / 2, low, high, None, by_seed)

    better, controls = versus("better"), {RESAMPLING: versus("better"), "d. nothing said": versus("better")}
    assert feedback_credit(controls, better).startswith("Credited to feedback")
    assert feedback_credit(controls, None).startswith("Nothing is credited to feedback")
    assert "not run (GRPO continued)" in feedback_credit(controls, None)
    for name in controls:
        for verdict in ("worse", "open"):
            text = feedback_credit(controls | {name: versus(verdict)}, better)
            assert text.startswith("Nothing is credited to feedback")
            assert verdict in text


def test_moves_are_added_up_and_types_that_never_occur_left_out(arm):
    tables = moves(read_repairs(arm))
    assert list(tables) == ["round 1 to 2", "round 2 to 3"]
    first = tables["round 1 to 2"]
    assert first.loc["timeout", "wrong_answer"] == 60
    assert first.loc["success", "not continued"] == 40
    assert "syntax_error" not in first.index
    assert moves({}) == {}


def test_the_curve_of_resampling_has_a_row_for_every_number_of_retries():
    rows = by_retries(Retries(*map(np.array, ([[0, 0.5], [1, 1]], [[10, 20], [10, 10]], [[1, 2], [1, 1]]))))
    assert [(row["retries"], row["tokens"], row["accepted"]) for row in rows] == [(0, 10, 0.5), (1, 15, 0.75)]
    assert all(row["low"] <= row["accepted"] <= row["high"] for row in rows)


def test_a_comparison_has_an_interval_and_an_exact_test_where_both_are_verdicts():
    found = compare([0, 0, 1, 0], [1, 0, 1, 1])
    assert (found["control"], found["repair"], found["points"]) == (0.25, 0.75, 50)
    assert found["low"] <= 50 <= found["high"]
    assert found["p"] == 0.5
    assert compare([0.5, 0, 1, 0], [1, 0, 1, 1])["p"] is None
