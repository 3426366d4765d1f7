import importlib.util
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_policy import make_model, make_tokenizer, teach

from lib.handoff import CheckpointError, hand_off, require_complete
from lib.judge import Judge
from lib.models import count_parameters
from lib.problems import Problem, Test

ADD = Problem("add", "tiny", "valid", "stdio", "add", (Test("1 2\n", "3\n"),), time_limit=0.5)
PROGRAM = "a, b = map(int, input().split())\nprint(a + b)"


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as judge:
        yield judge


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A policy that knows one answer, as a Trainer saves it, and its number of parameters."""
    folder = tmp_path_factory.mktemp("run") / "checkpoint-100"
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    teach(model, tokenizer, {"add": PROGRAM}, steps=80)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, count_parameters(model)


@pytest.fixture
def checkpoint(saved, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(saved[0], tmp_path / "checkpoint-100")


def rewrite(folder, change):
    """Saves the weights again as `change` left them."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


def test_a_sound_checkpoint_is_handed_on_with_what_was_found(saved, judge):
    found = hand_off(saved[0], judge, [ADD], max_new_tokens=60)
    assert found["parameters"] == require_complete(saved[0]) == saved[1]
    assert (found["answers"], found["ran to the end"], found["accepted"]) == (1, 1, 1)
    assert PROGRAM in found["example"]
    if importlib.util.find_spec("vllm") is None:
        assert found["vllm"] == "not checked: vLLM is not installed here"  # where it is: tests/with_vllm


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"])
def test_a_missing_file_is_named(checkpoint, name):
    (checkpoint / name).unlink()
    with pytest.raises(CheckpointError, match=f"checkpoint-100 is incomplete: {name} is missing"):
        require_complete(checkpoint)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_refused(checkpoint, name, share):
    content = (checkpoint / name).read_bytes()
    (checkpoint / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=f"is damaged: {name}"):
        require_complete(checkpoint)


def test_weights_that_lack_one_of_the_model_or_have_one_too_many_are_refused(checkpoint, judge):
    rewrite(checkpoint, lambda weights: weights.pop("model.norm.weight"))
    with pytest.raises(CheckpointError, match=r"missing_keys.*model.norm.weight"):
        hand_off(checkpoint, judge, [ADD], max_new_tokens=4)
    rewrite(checkpoint, lambda weights: weights.update({"model.norm.weight": torch.ones(64), "more": torch.ones(3)}))
    with pytest.raises(CheckpointError, match=r"unexpected_keys.*more"):
        hand_off(checkpoint, judge, [ADD], max_new_tokens=4)


def test_weights_that_are_no_numbers_are_refused(checkpoint, judge):
    rewrite(checkpoint, lambda weights: weights["model.norm.weight"].fill_(float("nan")))
    with pytest.raises(CheckpointError, match=r"no numbers: model.norm.weight"):
        hand_off(checkpoint, judge, [ADD], max_new_tokens=4)


def test_a_tokenizer_that_loses_a_letter_is_refused(checkpoint, judge):
    content = json.loads((checkpoint / "tokenizer.json").read_text())
    del content["model"]["vocab"]["Ã"]  # the first byte of É
    (checkpoint / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="does not give a program back"):
        hand_off(checkpoint, judge, [ADD], max_new_tokens=4)


def test_sharded_weights_are_complete_only_with_every_shard(saved, checkpoint, judge, tmp_path):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    model.save_pretrained(checkpoint, max_shard_size="100KB")
    shards = sorted(checkpoint.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert require_complete(checkpoint) == saved[1]
    shards[-1].unlink()
    with pytest.raises(CheckpointError, match=f"incomplete: {shards[-1].name} is missing"):
        require_complete(checkpoint)
    shutil.copy(shards[0], shards[-1])
    with pytest.raises(CheckpointError, match="no file holds"):
        require_complete(checkpoint)


def test_a_model_that_the_judge_can_say_nothing_about_is_not_handed_on(saved):
    class Broken:
        def judge_many(self, pairs):
            from lib.judge.scoring import failed_judge

            return [failed_judge(problem, "no worker") for _, problem in pairs]

    with pytest.raises(CheckpointError, match="nothing that can be judged"):
        hand_off(saved[0], Broken(), [ADD], max_new_tokens=60)
