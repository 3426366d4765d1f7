"""What all trainings do, with the real Trainer, the real TRL and the real judge: above all, resume after a kill."""

import fcntl
import functools
import os
import re
import subprocess
import sys

import pytest
import torch
from tiny_policy import make_model, make_tokenizer
from trainings import PAIRS, dpo, grpo, interrupted, killed, repair, search_path, sft

from lib.policy.models import load_policy
from lib.rewards import dense
from lib.training.resume import LINES


@pytest.mark.parametrize(("steps", "lines"), [(3, 3), (25, LINES)])
def test_a_training_prints_about_ten_lines_with_the_step_and_the_loss(steps, lines, start, tmp_path, capfd):
    sft(start, tmp_path, None, steps=steps, save_steps=0)
    printed = capfd.readouterr().out.splitlines()
    assert len(printed) == lines
    assert all(re.fullmatch(rf"step \d+ of {steps}: loss \d+\.\d{{3}}", line) for line in printed)
    assert printed[-1].startswith(f"step {steps} of {steps}: ")


def test_a_loss_that_is_no_number_ends_the_training_and_names_the_step(start, tmp_path):
    with pytest.raises(FloatingPointError, match=r"(loss|grad_norm) is nan at step [2-6]: lower the learning rate"):
        sft(start, tmp_path, None, learning_rate=1e30, warmup_steps=0)


def same(weights: dict, other: dict) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in weights.items())


@pytest.mark.parametrize("train", [sft, dpo, grpo, repair])
def test_after_an_interruption_the_same_training_resumes_bit_for_bit(train, start, tmp_path, capsys):
    """GRPO, which has the most processes, is killed (-9); the others are interrupted in this process."""
    whole_curve, whole = train(start, tmp_path / "whole", None)
    if train is grpo:
        killed("grpo", start, tmp_path / "run", tmp_path / "scratch")
    else:
        interrupted(train, start, tmp_path / "run", tmp_path / "scratch")
    (tmp_path / "scratch" / "checkpoint-5").mkdir()  # as if killed while it was written
    capsys.readouterr()
    curve, weights = train(start, tmp_path / "run", tmp_path / "scratch")
    assert re.search("resuming an interrupted training after step [46]", capsys.readouterr().out)
    assert curve.equals(whole_curve)
    assert same(weights, whole)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "checkpoint-2",
        "checkpoint-4",
        "checkpoint-6",
    ]
    assert same(load_policy(tmp_path / "run" / "checkpoint-6", device="cpu").state_dict(), whole)


ADAPTERS = {"lora": {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}, "bf16": True}
ADAPTERS |= {"gradient_accumulation_steps": 2, "gradient_checkpointing": True}
FAST = {"learning_rate": 1e-2}


@pytest.mark.parametrize(("train", "batch"), [(dpo, 2), (grpo, 4)])
def test_with_adapters_too_the_same_training_resumes_and_gives_a_plain_model(train, batch, start, tmp_path, capsys):
    settings = ADAPTERS | FAST | {"batch": batch}
    before = load_policy(start, device="cpu").state_dict()
    whole_curve, whole = train(start, tmp_path / "whole", None, **settings)
    moved = {name for name, tensor in whole.items() if not torch.equal(tensor, before[name])}
    assert moved == {name for name in before if name.endswith("_proj.weight")}, "names and kinds are those of the start"
    if train is grpo:  # the reference is the policy without its adapters, which begin at nothing
        assert whole_curve.kl.iloc[0] == pytest.approx(0, abs=1e-6)
        assert whole_curve.kl.iloc[-1] > 1e-4
    else:
        assert whole_curve.loss.iloc[0] == pytest.approx(0.6931, abs=1e-2)
    interrupted(train, start, tmp_path / "run", tmp_path / "scratch", **settings)
    capsys.readouterr()
    curve, weights = train(start, tmp_path / "run", tmp_path / "scratch", **settings)
    assert "resuming an interrupted training after step" in capsys.readouterr().out
    assert curve.equals(whole_curve)
    assert same(weights, whole)
    saved = tmp_path / "run" / "checkpoint-6"
    assert (saved / "adapter_model.safetensors").is_file()
    assert not (saved / "model.safetensors").exists()


def test_models_are_handed_over_without_their_optimizers_and_only_the_newest_keeps_its_own(start, tmp_path):
    sft(start, tmp_path / "run", tmp_path / "scratch")
    assert [path.parent.name for path in sorted(tmp_path.glob("scratch/*/optimizer.pt"))] == ["checkpoint-6"]
    assert not list(tmp_path.glob("run/*/optimizer.pt"))
    assert len(list(tmp_path.glob("run/*/model.safetensors"))) == 3


@pytest.mark.parametrize(
    "changed", [{"learning_rate": 1e-4}, {"pairs": PAIRS[:8]}, {"seed": 1}], ids=["arguments", "data", "seed"]
)
def test_another_training_starts_clean(changed, start, tmp_path, capsys):
    sft(start, tmp_path / "run", tmp_path / "scratch")
    capsys.readouterr()
    curve, weights = sft(start, tmp_path / "other", tmp_path / "scratch", **changed)
    assert "resuming" not in capsys.readouterr().out
    alone_curve, alone = sft(start, tmp_path / "alone", None, **changed)
    assert curve.equals(alone_curve)
    assert same(weights, alone)


def test_other_weights_start_clean(start, tmp_path, capsys):
    other = tmp_path / "policy"
    make_model(make_tokenizer(), seed=1).save_pretrained(other)
    sft(start, tmp_path / "run", tmp_path / "scratch")
    sft(other, tmp_path / "run", tmp_path / "scratch")
    assert "resuming" not in capsys.readouterr().out
    sft(other, tmp_path / "run", tmp_path / "scratch")
    assert "after step 6" in capsys.readouterr().out


def test_two_processes_do_not_train_in_one_folder(start, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    other = os.open(scratch, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(BlockingIOError, match="another process is training in scratch"):
        sft(start, tmp_path / "run", scratch)
    os.close(other)
    sft(start, tmp_path / "run", scratch)


def test_a_reward_function_that_raises_ends_the_training_which_resumes_when_it_is_mended(start, tmp_path, capsys):
    rewarded = []

    @functools.wraps(dense)
    def broken(sample):
        rewarded.append(sample)
        if len(rewarded) == 5 * 8 - 3:
            raise ZeroDivisionError("planted")
        return dense(sample)

    _, whole = grpo(start, tmp_path / "whole", None)
    with pytest.raises(ZeroDivisionError, match="planted"):
        grpo(start, tmp_path / "run", tmp_path / "scratch", reward=broken)
    assert len(rewarded) == 37, "in the fifth step"
    assert "resuming" not in capsys.readouterr().out
    curve, weights = grpo(start, tmp_path / "run", tmp_path / "scratch")
    assert "after step 4" in capsys.readouterr().out
    assert list(curve.step) == [1, 2, 3, 4, 5, 6]
    assert same(weights, whole)


FULL_DISK = """
import errno, shutil, subprocess, sys
from pathlib import Path
import test_resume as here
from lib.runs.paths import write_atomically
start, folder, disk = map(Path, sys.argv[1:])
mount = ["mount", "-t", "tmpfs", "-o", "size=2200k", "tmpfs", disk]  # a checkpoint has 1.3 MB, the next one too
subprocess.run(mount, check=True)
write_atomically(disk / "metrics.json", "old")
try:
    here.sft(start, folder, disk / "scratch", steps=10, save_steps=1)
except Exception as error:
    print("ended by", error.__class__.__name__, shutil.disk_usage(disk).free)
try:
    write_atomically(disk / "metrics.json", "new" * 1_000_000)
except OSError as error:
    print(errno.errorcode[error.errno], (disk / "metrics.json").read_text(), [path.name for path in disk.glob(".*")])
subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
curve, weights = here.sft(start, folder, disk / "scratch", steps=10, save_steps=1)
print("equal", here.same(weights, here.sft(start, folder / "whole", None, steps=10, save_steps=1)[1]), len(curve))
"""


def test_a_full_disk_ends_the_training_and_with_room_again_it_resumes_bit_for_bit(start, tmp_path):
    """A real one: a tmpfs of 2 MB, in a mount namespace of its own."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "mount", "-t", "tmpfs", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system in a namespace of its own")
    (tmp_path / "disk").mkdir()
    command = [*unshare, sys.executable, "-c", FULL_DISK, start, tmp_path / "run", tmp_path / "disk"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": search_path()}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    free = int(next(line for line in printed if line.startswith("ended by ")).split()[-1])
    assert free < 100_000, "PyTorch does not say why it could not write: this is why"
    assert "ENOSPC old []" in printed
    assert any(re.fullmatch(r"resuming an interrupted training after step [1-9]", line) for line in printed)
    assert printed[-1] == "equal True 10"
