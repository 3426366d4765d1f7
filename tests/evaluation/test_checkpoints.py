import json
import shutil

import pytest
import torch
from tiny_policy import make_model, make_tokenizer, teach

from lib.evaluation.checkpoints import find_checkpoints, measure_checkpoint, select_best, validation_loss
from lib.evaluation.evaluate import Subject
from lib.evaluation.export import CheckpointError
from lib.judge import Judge
from lib.policy.prompts import answer, messages
from lib.policy.protocols import eval_at_1
from lib.problems import Problem, Test

ADD = Problem("add", "tiny", "valid", "stdio", "add", (Test("1 2\n", "3\n"),), time_limit=0.5)
PROGRAM = "a, b = map(int, input().split())\nprint(a + b)"
PAIRS = [(messages(ADD), PROGRAM), ([{"role": "user", "content": "print one"}], "print(1)")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The checkpoints of a training: before and after the policy has learned its answer."""
    folder = tmp_path_factory.mktemp("checkpoints")
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    for step in (100, 20):
        if step == 100:
            teach(model, tokenizer, {"add": PROGRAM}, steps=80)
        else:
            model = make_model(tokenizer)
        model.save_pretrained(folder / f"checkpoint-{step}")
        tokenizer.save_pretrained(folder / f"checkpoint-{step}")
    return folder


@pytest.fixture(autouse=True)
def _journals(tmp_path, monkeypatch):
    monkeypatch.setenv("RLVR_ARTIFACTS", str(tmp_path))


def measure(path, step, folder, judge):
    subject = Subject("10_sft-s0", path.name, step)
    sets = {"contests_valid": [ADD]}
    return measure_checkpoint(path, subject, sets, judge, folder, eval_at_1(60), PAIRS)


def test_checkpoints_come_in_the_order_of_their_steps(trained, tmp_path):
    assert list(find_checkpoints(trained)) == [20, 100]
    with pytest.raises(FileNotFoundError, match="train with save_steps"):
        find_checkpoints(tmp_path)


def test_every_checkpoint_is_measured_and_the_one_whose_programs_run_is_chosen(trained, tmp_path):
    with Judge(workers=1) as judge:
        summaries = [
            measure(path, step, tmp_path / f"eval_step_{step}", judge)
            for step, path in find_checkpoints(trained).items()
        ]
    assert [one["datasets"]["contests_valid"]["exec_success_rate"] for one in summaries] == [0, 1]
    assert summaries[0]["validation_loss"] > summaries[1]["validation_loss"]
    folder = tmp_path / "eval_step_100"
    assert {path.name for path in folder.iterdir()} == {"metrics.json", "summary.json", "verdicts.csv", "qa_logs"}
    assert json.loads((folder / "summary.json").read_text()) == summaries[1]
    best = select_best("sft", summaries, {})
    assert (best["best_step"], best["best_checkpoint"], best["best_value"]) == (100, "checkpoint-100", 1)


def test_a_damaged_checkpoint_is_refused_and_not_measured(trained, tmp_path):
    broken = shutil.copytree(trained / "checkpoint-20", tmp_path / "checkpoint-20")
    (broken / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="checkpoint-20 can't be loaded"):
        measure(broken, 20, tmp_path / "eval_step_20", judge=None)
    assert not (tmp_path / "eval_step_20").exists()


def summary(step: int, exec_success_rate: float, accepted: float = 0.0, ratio: float = 0.0) -> dict:
    valid = {"exec_success_rate": exec_success_rate, "accepted_at_1": accepted, "pass_ratio_mean": ratio}
    intervals = {f"{name}_interval": [0.0, 1.0] for name in valid}
    named = {"model": "m", "protocol": "EVAL@1", "seed": 0, "manifest": {}, "validation_loss": 1.0}
    found = {"contests_valid": valid | intervals}
    return {"step": step, "checkpoint": f"checkpoint-{step}", "datasets": found, **named}


def test_ties_go_to_the_earlier_step():
    found = [summary(60, 0.9), summary(20, 0.8), summary(40, 0.9)]
    assert select_best("sft", found, {})["best_step"] == 40


def test_rl_is_chosen_by_what_is_accepted_then_by_the_share_of_tests_passed():
    found = [summary(20, 0.9, 0.5, 0.6), summary(40, 0.8, 0.5, 0.7), summary(60, 0.95, 0.4, 0.9)]
    assert select_best("rl", found, {})["best_step"] == 40
    assert select_best("sft", found, {})["best_step"] == 60


def test_best_checkpoint_json_has_the_designs_keys_and_lists_every_checkpoint():
    best = select_best("sft", [summary(40, 0.9), summary(20, 0.8)], {30: "checkpoint-30 is damaged: ..."})
    assert best.keys() == {
        "selection_metric",
        "mode",
        "ties",
        "best_step",
        "best_checkpoint",
        "best_value",
        "model",
        "protocol",
        "seed",
        "manifest",
        "checkpoints",
    }
    assert best["selection_metric"] == "summary.datasets.contests_valid.exec_success_rate"
    assert [(one["step"], one.get("value"), one["refused"]) for one in best["checkpoints"]] == [
        (20, 0.8, None),
        (30, None, "checkpoint-30 is damaged: ..."),
        (40, 0.9, None),
    ]


def test_without_a_valid_checkpoint_nothing_is_selected():
    with pytest.raises(CheckpointError, match=r"no valid checkpoint.*is damaged"):
        select_best("sft", [], {20: "checkpoint-20 is damaged"})


def test_validation_loss_is_that_of_the_answers_tokens_however_they_are_batched(monkeypatch):
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    together = validation_loss(model, tokenizer, PAIRS)
    monkeypatch.setattr("lib.policy.likelihood.MAX_TOKENS", 1)  # so that each answer is read alone
    alone = validation_loss(model, tokenizer, PAIRS)
    assert together == pytest.approx(alone, rel=1e-5)
    total = tokens = 0
    for conversation, program in PAIRS:
        asked = tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_dict=False)
        whole = asked + tokenizer(answer(program) + tokenizer.eos_token)["input_ids"]
        logits = model(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
        for place in range(len(asked), len(whole)):
            total -= logits[place - 1, whole[place]].item()
            tokens += 1
    assert together == pytest.approx(total / tokens, rel=1e-5)
