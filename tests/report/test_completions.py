"""Completions of a training, and the signs of reward hacking among them."""

import json

import pandas as pd
import pytest
from test_tables import SFT, write_run

from lib.report.completions import inspection, is_trivial, over_training, read_completions, suspicious
from lib.report.runs import NOT_RECORDED, Stage

CURVE = pd.DataFrame({"step": [1, 2], "reward": [0.1, 0.2], "completion_tokens": [20.0, 30.0]})
READS, CONSTANT = "n = int(input())\nprint(n)", "print(0)"


def line(step: int, program: str, error_type: str, reward: float) -> dict:
    answer = {"completion": f"```python\n{program}\n```", "reward": reward, "error_type": error_type, "parts": {}}
    return {"step": step, "problem_id": "p", "pass_ratio": reward, "tokens": 9} | answer


LINES = [
    line(1, READS, "wrong_answer", 0.0),
    line(1, CONSTANT, "wrong_answer", 0.5),
    line(2, READS, "success", 1.0),
    line(3, READS, "wrong_answer", 0.9),
    line(3, CONSTANT, "wrong_answer", 0.0),
]


@pytest.fixture
def rows(tmp_path):
    recorded = write_run(tmp_path / "30_grpo-dense-s0", SFT, curve=CURVE)
    (recorded / "completions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in LINES))
    old = write_run(tmp_path / "30_grpo-sparse-s0", SFT, curve=CURVE)
    supervised = write_run(tmp_path / "10_sft-s0", SFT)
    return {folder.name[3:-3]: {0: Stage(folder.name, folder), 1: None} for folder in (recorded, old, supervised)}


def test_a_completion_of_the_first_a_middle_and_the_last_step_is_shown(rows):
    table = over_training(rows)
    assert list(table.step) == [1, 2, 3]
    assert list(table.program) == [READS] * 3
    assert set(table.row) == {"grpo-dense"}
    assert over_training({"sft": rows["sft"]}).empty


def test_a_program_is_read_as_the_training_recorded_it(rows):
    recorded = LINES[0] | {"program": CONSTANT, "in_form": False}  # as of another block of the completion
    stage = rows["grpo-dense"][0]
    (stage.folder / "completions.jsonl").write_text(json.dumps(recorded) + "\n")
    [row] = read_completions(stage).to_dict("records")
    assert (row["program"], row["in_form"]) == (CONSTANT, False)


@pytest.mark.parametrize(
    ("program", "trivial"),
    [
        (READS, False),
        (CONSTANT, True),
        ("import sys\nprint(sys.stdin.read())", False),
        ("def f(a):\n    return 3", True),
        ("def f(a):\n    return a + 3", False),
        ("def f(:", False),
    ],
)
def test_a_trivial_program_uses_neither_input_nor_argument(program, trivial):
    assert is_trivial(program) is trivial


def test_rejected_programs_with_a_high_reward_and_rewarded_trivial_programs_are_suspicious(rows):
    found = suspicious(read_completions(rows["grpo-dense"][0]))
    assert list(zip(found.sign, found.step, found.reward, strict=True)) == [
        ("high reward, rejected", 3, 0.9),
        ("trivial program, rewarded", 1, 0.5),
    ]


def test_the_inspection_has_a_line_per_training_that_samples_and_says_what_is_not_recorded(rows):
    table = inspection(rows)
    assert list(table.index) == ["grpo-dense", "grpo-sparse"]
    dense = table.loc["grpo-dense"]
    assert dense["tokens of a sample"] == "25.0 → 25.0"
    assert (dense["completions"], dense["high reward, rejected"], dense["trivial, rewarded"]) == (5, "1", "1")
    assert dense["in the requested form, %"] == "100.0"
    assert table.loc["grpo-sparse", "completions"] == NOT_RECORDED
    assert table.loc["grpo-sparse", "trivial, rewarded"] == "–"
