"""The four trainings at the smallest scale: short calls for tests, also from processes that a test starts and kills."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_policy import make_tokenizer

from lib.evaluation.feedback import constant_feedback
from lib.judge import Judge
from lib.policy.models import load_policy
from lib.policy.prompts import answer
from lib.problems import Problem, Test
from lib.rewards import make_return
from lib.training.config import TrainingConfig, training_config
from lib.training.dpo import preference_row, train_dpo
from lib.training.grpo import train_grpo
from lib.training.repair import train_repair
from lib.training.resume import complete_checkpoints
from lib.training.sft import train_sft

# Two prompts, and what the policy `undecided` has seen as answers to each, equally often.
UNDECIDED = {"echo": ("print(input())", "print(5)"), "wait": ("print(0)", "while True: pass")}
PAIRS = [([{"role": "user", "content": f"print {n}"}], f"print({n})") for n in range(12)]
PROBLEMS = [
    Problem(f"{n}", "tiny", "train", "stdio", f"print {n}", (Test("", f"{n}\n"),), time_limit=0.2) for n in range(2)
]
TIMES = ["generate_s", "judge_s", "judging_s", "update_s", "step_s", "rollout_s", "minutes"]


def chat(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


def without_times(curve):
    return curve.drop(columns=[name for name in TIMES if name in curve])


def sft_config(folder: Path, **fields) -> TrainingConfig:
    """Short supervised trainings; `batch` is TRL's per_device_train_batch_size."""
    return config("sft", folder, **{"batch": 8, "max_steps": 2, "logging_steps": 1} | fields)


def config(kind: str, folder: Path, batch: int = 8, scratch: Path | None = None, **fields) -> TrainingConfig:
    names = {"steps": "max_steps"}
    fields = {names.get(name, name): value for name, value in fields.items()}
    return training_config(kind, {"per_device_train_batch_size": batch}, folder, scratch=scratch, **fields)


def sft(start: Path, folder: Path, scratch: Path | None, pairs=PAIRS, **changed):
    """The curve and the weights of a short supervised training."""
    model = load_policy(start, device="cpu")
    settings = sft_config(folder, **{"steps": 6, "batch": 4, "save_steps": 2, "scratch": scratch} | changed)
    return without_times(train_sft(model, make_tokenizer(), pairs, settings)), model.state_dict()


def grpo(start: Path, folder: Path, scratch: Path | None, reward="dense", **changed):
    """The same of GRPO."""
    model, settings = load_policy(start, device="cpu"), grpo_config(folder, scratch, **changed)
    with Judge(workers=1) as judge:
        curve = train_grpo(model, make_tokenizer(), PROBLEMS, judge, reward, settings)
    return without_times(curve), model.state_dict()


def grpo_config(folder: Path, scratch: Path | None = None, **changed) -> TrainingConfig:
    fields = {"steps": 6, "num_generations": 4, "max_completion_length": 24, "save_steps": 2, "scratch": scratch}
    return config("grpo", folder, **fields | changed)


def dpo(start: Path, folder: Path, scratch: Path | None, early_stop=None, **changed):
    """The same of DPO."""
    model = load_policy(start, device="cpu")
    rows = [preference_row(conversation, answer(program), answer("print(0)")) for conversation, program in PAIRS[2:]]
    settings = config("dpo", folder, **{"steps": 6, "batch": 4, "save_steps": 2, "scratch": scratch} | changed)
    curve = train_dpo(model, make_tokenizer(), rows, settings, early_stop=early_stop)
    return without_times(curve), model.state_dict()


def repair(start: Path, folder: Path, scratch: Path | None, **changed):
    """The same of GRPO over repair dialogues."""
    model = load_policy(start, device="cpu")
    public = [replace(one, tests=tuple(replace(test, visibility="public") for test in one.tests)) for one in PROBLEMS]
    returns = make_return("last", 0.03)
    with Judge(workers=1) as judge:
        arguments = (model, make_tokenizer(), public, judge, constant_feedback, returns)
        curve = train_repair(*arguments, grpo_config(folder, scratch, **changed), rounds=2)
    return without_times(curve), model.state_dict()


def search_path(*folders: str) -> str:
    return os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1]), *folders, *sys.path])


def interrupted(train: Callable, start: Path, folder: Path, scratch: Path, **changed) -> None:
    """Trains until the fifth step, which is interrupted; the checkpoint of the fourth has been saved."""

    def on_step_begin(own, args, state, control, **_):
        if state.global_step == 4:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lib.training.resume._Progress.on_step_begin", on_step_begin)
        with pytest.raises(KeyboardInterrupt):
            train(start, folder, scratch, **changed)
    assert scratch / "checkpoint-4" in complete_checkpoints(scratch)


def killed(kind: str, start: Path, folder: Path, scratch: Path, **changed) -> None:
    """Trains in a process of its own, and kills it when it has saved its second checkpoint."""
    folders = ", ".join(f"Path({str(path)!r})" for path in (start, folder, scratch))
    code = f"import trainings; from pathlib import Path; trainings.{kind}({folders}, **{changed})"
    child = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": search_path()})
    deadline = time.monotonic() + 900  # on a busy machine
    while scratch / "checkpoint-4" not in complete_checkpoints(scratch):
        assert child.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
