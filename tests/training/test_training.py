"""What all trainings do, with the real Trainer, the real TRL and the real judge: above all go on after a kill."""

import fcntl
import functools
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_policy import make_model, make_tokenizer, teach

from lib.evaluation.dialogues import constant_feedback
from lib.judge import Judge
from lib.policy.models import load_policy
from lib.policy.prompts import answer
from lib.problems import Problem, Test
from lib.rewards import dense
from lib.training.config import LINES, _whole
from lib.training.dpo import train_dpo
from lib.training.grpo import train_grpo
from lib.training.repair import train_repair
from lib.training.sft import train_sft

PAIRS = [([{"role": "user", "content": f"print {n}"}], f"print({n})") for n in range(12)]
PROBLEMS = [
    Problem(f"{n}", "tiny", "train", "stdio", f"print {n}", (Test("", f"{n}\n"),), time_limit=0.2) for n in range(2)
]


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    """A policy that has seen right and wrong answers, on disk."""
    folder, tokenizer = tmp_path_factory.mktemp("policy"), make_tokenizer()
    model = make_model(tokenizer)
    teach(model, tokenizer, {"print 0": "print(0)", "print 1": "print(0)"}, steps=60)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def sft(start: Path, folder: Path, scratch: Path | None, **changed):
    """The curve and the weights of a short supervised training."""
    settings = {"pairs": PAIRS, "steps": 6, "batch_size": 4, "log_every": 1, "save_every": 2} | changed
    model = load_policy(start, device="cpu")
    curve = train_sft(model, make_tokenizer(), settings.pop("pairs"), folder, scratch=scratch, **settings)
    return curve, model.state_dict()


def grpo(start: Path, folder: Path, scratch: Path | None, **changed):
    """The same of GRPO, without its times."""
    model = load_policy(start, device="cpu")
    options = {"steps": 6, "prompts_per_step": 2, "samples": 4, "max_new_tokens": 24, "save_every": 2} | changed
    reward = options.pop("reward", dense)
    with Judge(workers=1) as judge:
        curve = train_grpo(model, make_tokenizer(), PROBLEMS, judge, reward, folder, scratch=scratch, **options)
    return curve[[name for name in curve if not name.endswith("_s")]], model.state_dict()


def dpo(start: Path, folder: Path, scratch: Path | None, **changed):
    """The same of DPO."""
    model = load_policy(start, device="cpu")
    rows = [(chat, answer(program), answer("print(0)")) for chat, program in PAIRS[1:]]
    options = {"steps": 6, "batch_size": 4, "save_every": 2} | changed
    return train_dpo(model, make_tokenizer(), rows, folder, scratch=scratch, **options), model.state_dict()


def repair(start: Path, folder: Path, scratch: Path | None):
    """The same of GRPO over repair dialogues."""
    model = load_policy(start, device="cpu")
    shown = [replace(one, tests=tuple(replace(test, visibility="public") for test in one.tests)) for one in PROBLEMS]
    options = {"steps": 6, "rounds": 2, "prompts_per_step": 2, "samples": 4, "max_new_tokens": 24, "save_every": 2}
    with Judge(workers=1) as judge:
        curve = train_repair(
            model, make_tokenizer(), shown, judge, constant_feedback, folder, scratch=scratch, **options
        )
    return curve[[name for name in curve if not name.endswith("_s")]], model.state_dict()


def killed(kind: str, start: Path, folder: Path, scratch: Path, **changed) -> None:
    """Trains in a process of its own, and kills it when it has saved its second checkpoint."""
    folders = ", ".join(f"Path({str(path)!r})" for path in (start, folder, scratch))
    code = f"import test_training; from pathlib import Path; test_training.{kind}({folders}, **{changed})"
    here = str(Path(__file__).parent)
    search = os.pathsep.join([here, str(Path(__file__).parents[2]), *sys.path])
    child = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": search})
    deadline = time.monotonic() + 900  # on a busy machine
    while scratch / "checkpoint-4" not in _whole(scratch):
        assert child.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()


@pytest.mark.parametrize(("steps", "lines"), [(3, 3), (25, LINES)])
def test_a_training_prints_about_ten_lines_with_the_step_and_the_loss(steps, lines, start, tmp_path, capfd):
    sft(start, tmp_path, None, steps=steps, save_every=0)
    printed = capfd.readouterr().out.splitlines()
    assert len(printed) == lines
    assert all(re.fullmatch(rf"step \d+ of {steps}: loss \d+\.\d{{3}}", line) for line in printed)
    assert printed[-1].startswith(f"step {steps} of {steps}: ")


def test_a_loss_that_is_no_number_ends_the_training_and_names_the_step(start, tmp_path):
    with pytest.raises(FloatingPointError, match=r"(loss|grad_norm) is nan at step [2-6]: lower the learning rate"):
        sft(start, tmp_path, None, learning_rate=1e30, warmup=0.0)


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize(("kind", "train"), [("sft", sft), ("dpo", dpo), ("grpo", grpo), ("repair", repair)])
def test_after_kill_9_the_same_training_goes_on_bit_for_bit(kind, train, start, tmp_path, capsys):
    whole_curve, whole = train(start, tmp_path / "whole", None)
    killed(kind, start, tmp_path / "run", tmp_path / "scratch")
    (tmp_path / "scratch" / "checkpoint-5").mkdir()  # as if killed while it was written
    capsys.readouterr()
    curve, weights = train(start, tmp_path / "run", tmp_path / "scratch")
    assert "goes on after step 4" in capsys.readouterr().out or "goes on after step 6" in capsys.readouterr().out
    assert curve.equals(whole_curve)
    assert same(weights, whole)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "checkpoint-2",
        "checkpoint-4",
        "checkpoint-6",
    ]
    assert same(load_policy(tmp_path / "run" / "checkpoint-6", device="cpu").state_dict(), whole)


ADAPTERS = {"lora": {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}, "accumulation": 2, "bf16": True}
FAST = {"learning_rate": 1e-2}


@pytest.mark.parametrize(("kind", "train"), [("dpo", dpo), ("grpo", grpo)])
def test_with_adapters_too_the_same_training_goes_on_and_gives_a_plain_model(kind, train, start, tmp_path, capsys):
    before = load_policy(start, device="cpu").state_dict()
    whole_curve, whole = train(start, tmp_path / "whole", None, **ADAPTERS, **FAST)
    moved = {name for name, tensor in whole.items() if not torch.equal(tensor, before[name])}
    assert moved == {name for name in before if name.endswith("_proj.weight")}, "names and kinds are those of the start"
    if kind == "grpo":  # the reference is the policy without its adapters, which begin at nothing
        assert whole_curve.kl.iloc[0] == pytest.approx(0, abs=1e-6)
        assert whole_curve.kl.iloc[-1] > 1e-4
    else:
        assert whole_curve.loss.iloc[0] == pytest.approx(0.6931, abs=1e-2)
    killed(kind, start, tmp_path / "run", tmp_path / "scratch", **ADAPTERS, **FAST)
    capsys.readouterr()
    curve, weights = train(start, tmp_path / "run", tmp_path / "scratch", **ADAPTERS, **FAST)
    assert "goes on after step" in capsys.readouterr().out
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
    assert "goes on" not in capsys.readouterr().out
    alone_curve, alone = sft(start, tmp_path / "alone", None, **changed)
    assert curve.equals(alone_curve)
    assert same(weights, alone)


def test_other_weights_start_clean(start, tmp_path, capsys):
    other = tmp_path / "policy"
    make_model(make_tokenizer(), seed=1).save_pretrained(other)
    sft(start, tmp_path / "run", tmp_path / "scratch")
    sft(other, tmp_path / "run", tmp_path / "scratch")
    assert "goes on" not in capsys.readouterr().out
    sft(other, tmp_path / "run", tmp_path / "scratch")
    assert "goes on after step 6" in capsys.readouterr().out


def test_two_processes_do_not_train_in_one_folder(start, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    other = os.open(scratch, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(BlockingIOError, match="another process trains scratch"):
        sft(start, tmp_path / "run", scratch)
    os.close(other)
    sft(start, tmp_path / "run", scratch)


def test_a_reward_function_that_raises_ends_the_training_which_goes_on_when_it_is_mended(start, tmp_path, capsys):
    paid = []

    @functools.wraps(dense)
    def broken(verdict, problem):
        paid.append(verdict)
        if len(paid) == 5 * 8 - 3:
            raise ZeroDivisionError("planted")
        return dense(verdict)

    _, whole = grpo(start, tmp_path / "whole", None)
    with pytest.raises(ZeroDivisionError, match="planted"):
        grpo(start, tmp_path / "run", tmp_path / "scratch", reward=broken)
    assert len(paid) == 37, "in the fifth step"
    assert "goes on" not in capsys.readouterr().out
    curve, weights = grpo(start, tmp_path / "run", tmp_path / "scratch")
    assert "goes on after step 4" in capsys.readouterr().out
    assert list(curve.step) == [1, 2, 3, 4, 5, 6]
    assert same(weights, whole)


FULL_DISK = """
import errno, shutil, subprocess, sys
from pathlib import Path
import test_training as here
from lib.runs.paths import write_atomically
start, folder, disk = map(Path, sys.argv[1:])
mount = ["mount", "-t", "tmpfs", "-o", "size=2200k", "tmpfs", disk]  # a checkpoint has 1.3 MB, the next one too
subprocess.run(mount, check=True)
write_atomically(disk / "metrics.json", "old")
try:
    here.sft(start, folder, disk / "scratch", steps=10, save_every=1)
except Exception as error:
    print("ended by", error.__class__.__name__, shutil.disk_usage(disk).free)
try:
    write_atomically(disk / "metrics.json", "new" * 1_000_000)
except OSError as error:
    print(errno.errorcode[error.errno], (disk / "metrics.json").read_text(), [path.name for path in disk.glob(".*")])
subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
curve, weights = here.sft(start, folder, disk / "scratch", steps=10, save_every=1)
print("equal", here.same(weights, here.sft(start, folder / "whole", None, steps=10, save_every=1)[1]), len(curve))
"""


def test_a_full_disk_ends_the_training_and_with_room_again_it_goes_on_bit_for_bit(start, tmp_path):
    """A real one: a tmpfs of 2 MB, in a mount namespace of its own."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "mount", "-t", "tmpfs", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system in a namespace of its own")
    (tmp_path / "disk").mkdir()
    search = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2]), *sys.path])
    command = [*unshare, sys.executable, "-c", FULL_DISK, start, tmp_path / "run", tmp_path / "disk"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": search}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    free = int(next(line for line in told if line.startswith("ended by ")).split()[-1])
    assert free < 100_000, "PyTorch does not say why it could not write: this is why"
    assert "ENOSPC old []" in told
    assert any(re.fullmatch(r"an interrupted training goes on after step [1-9]", line) for line in told)
    assert told[-1] == "equal True 10"
