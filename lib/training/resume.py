"""Runs a Trainer of transformers or TRL to its end, and resumes an interrupted training.

1. A loss or gradient that is not finite ends the training. The Trainer would log an average in its place and continue.
2. An interrupted training resumes from its last checkpoint with the same data order, seeds and optimizer, so that
   curve and weights are those of an uninterrupted training. Training resumes only if arguments, data and initial
   weights are unchanged. Checkpoints are written to a folder that outlives the run and belongs to its code
   (`Run.scratch`), because a run that starts again begins with an empty folder.
"""

import fcntl
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
from accelerate.utils import broadcast_object_list
from peft import PeftModel
from transformers import Trainer, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import PrinterCallback

from lib.policy.models import weights_hash
from lib.training.config import TrainingConfig
from lib.training.early_stop import EarlyStop

LINES = 10
# What a checkpoint holds beyond the model. It is large: with Adam twice the weights.
_STATE = ("optimizer*", "scheduler.pt", "scaler.pt", "rng_state*.pth", "global_step*", "training_args.bin")
_STATE += ("pytorch_model_fsdp*",)  # the model again, in FSDP's own format
_NAMES_ONLY = {"output_dir", "logging_dir", "run_name"}


def train(
    trainer: Trainer,
    config: TrainingConfig,
    columns: dict[str, str],
    *,
    shown: tuple[str, ...],
    data: object,
    early_stop: EarlyStop | None = None,
) -> pd.DataFrame:
    """Trains to the end; returns the trainer's log, one row per logged step.

    `columns`: name in the log -> name in the table; parts of rewards (`reward/...`) keep theirs. `shown`: the logged
    values in each printed line, the first of which marks the entries of the training. `data`: what the training depends
    on besides its arguments and the weights; its `repr` is hashed. Afterwards the models of the checkpoints are in the
    trainer's `output_dir`, without their optimizers, and adapters are merged into the model in place. Raises
    FloatingPointError when loss or gradient are not finite; BlockingIOError while another process trains in `scratch`.
    """
    if trainer.args.world_size != (started := int(os.environ.get("WORLD_SIZE", "1"))):
        raise RuntimeError(f"only {trainer.args.world_size} of {started} processes train together: check `launch`")
    if isinstance(trainer.model, PeftModel):  # the adapters' config then names the exact weights that they belong to
        trainer.model.peft_config["default"].revision = getattr(trainer.model.config, "_commit_hash", None)
    trainer.remove_callback(PrinterCallback)
    scratch = config.scratch if config.save_steps else None
    if early_stop:
        trainer.add_callback(early_stop)
        early_stop.start(trainer.model, scratch)
    trainer.add_callback(_Progress(shown))
    trainer.args.logging_nan_inf_filter = False
    if scratch:
        _train_from_last_checkpoint(trainer, scratch, data)
    else:
        trainer.train()
    if isinstance(trainer.model, PeftModel):
        trainer.model.merge_and_unload()
    log = pd.DataFrame([entry for entry in trainer.state.log_history if shown[0] in entry])
    columns = columns | {name: name for name in log if name.startswith("reward/")}
    return log[list(columns)].rename(columns=columns)


def _train_from_last_checkpoint(trainer: Any, scratch: Path, data: object) -> None:
    folder, main = Path(trainer.args.output_dir), trainer.accelerator.is_main_process
    with _locked(scratch) if main else nullcontext():
        done = _checkpoints_of(scratch, _identity(trainer, data)) if main else []
        [newest] = broadcast_object_list([str(done[-1]) if done else None])  # the other processes wait here
        trainer.args.output_dir = str(scratch)
        trainer.add_callback(_KeepNewestState())
        if newest and main:
            print(f"resuming an interrupted training after step {done[-1].name.split('-')[1]}", flush=True)
        trainer.train(resume_from_checkpoint=newest)
        trainer.args.output_dir = str(folder)
        trainer.accelerator.wait_for_everyone()  # each process writes its own random state
        for checkpoint in complete_checkpoints(scratch) if main else ():
            copy = folder / checkpoint.name
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(checkpoint, copy, ignore=shutil.ignore_patterns(*_STATE))


class _Progress(TrainerCallback):
    """Adds `minutes` to each log entry: cumulative wall time of the steps, without what callbacks do between them.
    Prints the step and the values `shown` about LINES times. Ends a training whose loss or gradient is not finite."""

    def __init__(self, shown: tuple[str, ...]):
        self.shown, self.printed, self.seconds, self.started = shown, 0, 0.0, 0.0

    def on_train_begin(self, args, state, control, **_):
        self.seconds = 60 * next((entry["minutes"] for entry in state.log_history[::-1] if "minutes" in entry), 0.0)

    def on_step_begin(self, args, state, control, **_):
        self.started = time.perf_counter()

    def on_optimizer_step(self, args, state, control, **_):
        self.seconds += time.perf_counter() - self.started

    def on_log(self, args, state, control, logs: Any = None, **_):
        if state.log_history and "train_runtime" not in logs:
            state.log_history[-1]["minutes"] = round(self.seconds / 60, 4)
        tenth = state.global_step * LINES // state.max_steps
        if state.is_world_process_zero and tenth > self.printed and all(key in logs for key in self.shown):
            self.printed = tenth
            values = ", ".join(f"{key} {float(logs[key]):.3f}" for key in self.shown)
            print(f"step {state.global_step} of {state.max_steps}: {values}", flush=True)
        for name in ("loss", "grad_norm"):
            if not math.isfinite(float(logs.get(name, 0.0))):
                raise FloatingPointError(
                    f"{name} is {logs[name]} at step {state.global_step}: lower the learning rate, or check the data "
                    "of this step"
                )


class _KeepNewestState(TrainerCallback):
    """Removes optimizer and random states from all checkpoints but the newest, the only one to resume from."""

    def on_save(self, args, state, control, **_):
        for checkpoint in complete_checkpoints(Path(args.output_dir))[:-1] if state.is_world_process_zero else ():
            for pattern in _STATE:
                for path in checkpoint.glob(pattern):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def _locked(scratch: Path) -> Generator[None]:
    scratch.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(f"another process is training in {scratch.name}: wait until it ends") from None
    else:
        yield
    finally:
        os.close(descriptor)


def _identity(trainer: Any, data: object) -> str:
    arguments = {name: value for name, value in trainer.args.to_dict().items() if name not in _NAMES_ONLY}
    content = [json.dumps(arguments, sort_keys=True, default=str), weights_hash(trainer.model), repr(data)]
    return hashlib.sha256("\0".join(content).encode()).hexdigest()


def _checkpoints_of(scratch: Path, identity: str) -> list[Path]:
    """The complete checkpoints of the same training, the earliest first; all others are removed."""
    name = scratch / "identity.txt"
    same = name.is_file() and name.read_text() == identity
    kept = complete_checkpoints(scratch) if same else []
    for path in scratch.iterdir():
        if path not in kept and path.is_dir():
            shutil.rmtree(path)
    name.write_text(identity)
    return kept


def complete_checkpoints(scratch: Path) -> list[Path]:
    """Checkpoints that were not being written when the training was killed: the Trainer writes its state last."""
    complete = [path for path in scratch.glob("checkpoint-*") if _is_json(path / TRAINER_STATE_NAME)]
    return sorted(complete, key=lambda path: int(path.name.split("-")[1]))


def _is_json(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text()))
    except (OSError, ValueError):
        return False
