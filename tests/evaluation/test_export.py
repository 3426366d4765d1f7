import importlib.util
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_policy import make_model, make_tokenizer, teach

from lib.evaluation.export import CheckpointError, export_checkpoint, load_complete, validate_model
from lib.judge import Judge
from lib.policy.models import load_policy
from lib.policy.protocols import eval_at_1
from lib.problems import Problem, Test
from lib.training.config import training_config
from lib.training.sft import train_sft

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
    return folder, model.num_parameters()


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


def test_a_valid_checkpoint_passes_every_check(saved, judge):
    found = validate_model(saved[0], judge, [ADD], eval_at_1(60))
    assert found["parameters"] == saved[1]
    assert (found["answers"], found["ran to the end"], found["accepted"]) == (1, 1, 1)
    assert PROGRAM in found["example"]
    if importlib.util.find_spec("vllm") is None:
        assert found["vllm"] == "not checked: vLLM is not installed here"  # where it is: tests/with_vllm


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"])
def test_a_missing_file_is_named(checkpoint, name):
    (checkpoint / name).unlink()
    missing = name.replace("model.", r"\*.")
    with pytest.raises(CheckpointError, match=f"checkpoint-100 can't be loaded: .*{missing} missing"):
        load_complete(checkpoint)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_refused(checkpoint, name, share):
    content = (checkpoint / name).read_bytes()
    (checkpoint / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match="checkpoint-100 can't be loaded"):
        load_complete(checkpoint)


def test_weights_that_lack_one_of_the_model_or_have_one_too_many_are_refused(checkpoint, judge):
    rewrite(checkpoint, lambda weights: weights.pop("model.norm.weight"))
    with pytest.raises(CheckpointError, match=r"missing_keys.*model.norm.weight"):
        validate_model(checkpoint, judge, [ADD], eval_at_1(4))
    rewrite(checkpoint, lambda weights: weights.update({"model.norm.weight": torch.ones(64), "more": torch.ones(3)}))
    with pytest.raises(CheckpointError, match=r"unexpected_keys.*more"):
        validate_model(checkpoint, judge, [ADD], eval_at_1(4))


def test_weights_that_are_no_numbers_are_refused(checkpoint, judge):
    rewrite(checkpoint, lambda weights: weights["model.norm.weight"].fill_(float("nan")))
    with pytest.raises(CheckpointError, match=r"not finite: model.norm.weight"):
        validate_model(checkpoint, judge, [ADD], eval_at_1(4))


def test_a_tokenizer_that_loses_a_letter_is_refused(checkpoint, judge):
    content = json.loads((checkpoint / "tokenizer.json").read_text())
    del content["model"]["vocab"]["Ã"]  # the first byte of É
    (checkpoint / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="does not reproduce a program"):
        validate_model(checkpoint, judge, [ADD], eval_at_1(4))


def test_sharded_weights_are_complete_only_with_every_shard(saved, checkpoint):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    model.save_pretrained(checkpoint, max_shard_size="100KB")
    shards = sorted(checkpoint.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert load_complete(checkpoint)[0].num_parameters() == saved[1]
    shards[-1].unlink()
    with pytest.raises(CheckpointError, match=shards[-1].name):
        load_complete(checkpoint)
    shutil.copy(shards[0], shards[-1])
    with pytest.raises(CheckpointError, match="missing_keys"):
        load_complete(checkpoint)


def test_a_model_that_the_judge_can_say_nothing_about_is_refused(saved):
    class Broken:
        answer_block = "last"

        def judge_many(self, pairs):
            from lib.judge.host.scoring import failed_judge

            return [failed_judge(problem, "no worker") for _, problem in pairs]

    with pytest.raises(CheckpointError, match="nothing that can be judged"):
        validate_model(saved[0], Broken(), [ADD], eval_at_1(60))


@pytest.fixture(scope="module")
def adapted(saved, tmp_path_factory):
    """A checkpoint that holds adapters alone, and the weights that its training ended with."""
    folder, model = tmp_path_factory.mktemp("adapters"), load_policy(saved[0], device="cpu")
    pairs = [([{"role": "user", "content": "print one"}], "print(1)")] * 4
    lora = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    fields = {"max_steps": 2, "per_device_train_batch_size": 4, "learning_rate": 1e-2, "save_steps": 2}
    train_sft(model, make_tokenizer(), pairs, training_config("sft", fields, folder, lora=lora))
    return folder / "checkpoint-2", model.state_dict()


def test_a_checkpoint_of_adapters_is_the_policy_that_was_trained_and_is_exported_as_a_plain_model(
    adapted, saved, judge, tmp_path
):
    checkpoint, trained = adapted
    assert not (checkpoint / "model.safetensors").exists()
    before = load_policy(saved[0], device="cpu").state_dict()
    assert not all(torch.equal(trained[name], weight) for name, weight in before.items())
    export_checkpoint(checkpoint, tmp_path / "model")
    for folder in (checkpoint, tmp_path / "model"):
        for name, weight in load_policy(folder, device="cpu").state_dict().items():
            torch.testing.assert_close(weight, trained[name])
    assert validate_model(tmp_path / "model", judge, [ADD], eval_at_1(60))["parameters"] == saved[1]


def test_adapters_that_are_damaged_or_name_no_model_are_refused(adapted, tmp_path):
    copy = shutil.copytree(adapted[0], tmp_path / "checkpoint-2")
    weights = (copy / "adapter_model.safetensors").read_bytes()
    (copy / "adapter_model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(CheckpointError, match=r"checkpoint-2 can't be loaded"):
        load_complete(copy)
    (copy / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"checkpoint-2 can't be loaded: .*base_model_name_or_path"):
        load_complete(copy)


def test_what_a_trainer_keeps_for_itself_is_not_exported(checkpoint, tmp_path):
    (checkpoint / "optimizer.pt").write_text("large")
    export_checkpoint(checkpoint, tmp_path / "model")
    assert not (tmp_path / "model" / "optimizer.pt").exists()
    assert load_complete(tmp_path / "model")
