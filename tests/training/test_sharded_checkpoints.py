"""Checkpoints that a training saved in shards: two CPU processes write one, accelerate's own command merges it."""

import shutil
import subprocess
import sys

import pytest
import torch
from tiny_policy import make_model, make_tokenizer

from lib.evaluation.export import CheckpointError, load_complete
from lib.policy.models import load_policy
from lib.runs.paths import root

SAVE = """
import sys
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as checkpoint
from torch.distributed.checkpoint.state_dict import get_model_state_dict
from torch.distributed.fsdp import fully_shard
sys.path[:0] = [".", "tests"]
from tiny_policy import make_model, make_tokenizer

dist.init_process_group("gloo")
model = make_model(make_tokenizer())
for layer in model.model.layers:
    fully_shard(layer, mesh=dist.device_mesh.init_device_mesh("cpu", (dist.get_world_size(),)))
fully_shard(model, mesh=dist.device_mesh.init_device_mesh("cpu", (dist.get_world_size(),)))
assert any(parameter.to_local().numel() < parameter.numel() for parameter in model.parameters()), "nothing is sharded"
checkpoint.save({"model": get_model_state_dict(model)}, checkpoint_id=sys.argv[1])
dist.destroy_process_group()
"""


def run(*command) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=root(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """checkpoint-40 as Trainer leaves it under FSDP: config, tokenizer, and the weights as two processes' shards."""
    folder = tmp_path_factory.mktemp("run") / "checkpoint-40"
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    config = make_model(tokenizer).config
    config.architectures = ["Qwen2ForCausalLM"]  # which a Trainer notes when it saves
    config.save_pretrained(folder)
    script = folder.parent / "save.py"
    script.write_text(SAVE)
    shards = folder / "pytorch_model_fsdp_0"
    run("torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script), str(shards))
    assert len(list(shards.glob("*.distcp"))) == 2
    return folder


def test_a_sharded_checkpoint_is_no_model_before_and_one_after_accelerate_has_merged_it(checkpoint):
    with pytest.raises(CheckpointError, match=r"checkpoint-40 can't be loaded: .*safetensors missing"):
        load_complete(checkpoint)
    merged = shutil.copytree(checkpoint, checkpoint.with_name("checkpoint-41"))
    run("accelerate.commands.accelerate_cli", "merge-weights", str(merged / "pytorch_model_fsdp_0"), str(merged))
    reference = make_model(make_tokenizer())
    assert load_complete(merged)
    ids = torch.tensor([[1, 5, 9, 40]])
    with torch.inference_mode():
        assert torch.equal(load_policy(merged)(ids).logits, reference(ids).logits)
