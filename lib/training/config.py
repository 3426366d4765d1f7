"""What all trainings have in common, around the Trainer of transformers and TRL.

1. About ten quiet lines tell the progress: they read as well in an executed notebook as on a terminal. The Trainer's
   own bars freeze in an executed notebook, and its printed dicts bury the figures.
2. A loss that is no number ends the training. The Trainer would log an average in its place and go on.
3. A training that was killed goes on from its last checkpoint: same data order, same seeds, same optimizer. Checkpoints
   are written to a folder that outlives the run (`Run.scratch`), since a run that is started again begins with an empty
   folder of its own. They are gone on from only where arguments, data and weights are as they were; `Run.scratch` is
   another one when the code was changed.
4. What a GPU has too little memory for is read in parts, with activations that are computed twice, and trained through
   adapters (LoRA, arXiv 2106.09685): the weights themselves stay, and stand in for the reference model.
5. Of several processes (`lib.training.launch`) the main one prints, and alone decides about checkpoints.
"""

import fcntl
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from accelerate.utils import broadcast_object_list
from peft import LoraConfig, PeftModel
from transformers import Trainer, TrainerCallback, set_seed
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import PrinterCallback

from lib.policy.models import weights_hash

LINES = 10
# What a checkpoint holds beyond the model. It is large: with Adam twice the weights.
_STATE = ("optimizer*", "scheduler.pt", "scaler.pt", "rng_state*.pth", "global_step*", "training_args.bin")
_STATE += ("pytorch_model_fsdp*",)  # the model again, as FSDP reads it
_NAMES_ONLY = {"output_dir", "logging_dir", "run_name"}


def arguments(
    folder: Path,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    save_every: int,
    scratch: Path | None,
    seed: int,
    accumulation: int = 1,
    lora: dict | None = None,
    bf16: bool = False,
) -> dict:
    """What the TRL configs of all trainings are given alike. `save_every`: steps between checkpoints, 0 for none;
    without `scratch` they hold the model alone, since nothing will go on from them.

    `accumulation`: parts that a batch is read in, one after the other, where it does not fit into memory at once.
    `lora`: see `adapters`. With either, activations are computed twice to save memory. `bf16`: products of matrices in
    that precision; the weights stay in the one they were saved in. Raises ValueError when a batch can't be read in
    equal parts.
    """
    parts = accumulation * _processes()
    if batch_size % parts:
        raise ValueError(f"a batch of {batch_size} can't be read in {parts} equal parts")
    return {
        "per_device_train_batch_size": batch_size // parts,
        "gradient_accumulation_steps": accumulation,
        "gradient_checkpointing": accumulation > 1 or bool(lora),
        "output_dir": str(folder),
        "max_steps": steps,
        "learning_rate": learning_rate,
        "save_strategy": "steps" if save_every else "no",
        "save_steps": save_every or steps,
        "save_only_model": scratch is None,
        "report_to": "none",
        "seed": seed,
        "bf16": bf16,
        "use_cpu": bf16 and not torch.cuda.is_available(),  # transformers refuses bf16 on a CPU unasked
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
    }


def adapters(lora: dict | None, seed: int) -> LoraConfig | None:
    """For a TRL trainer: peft's LoraConfig with the arguments `lora`; then only the adapters are trained, checkpoints
    hold them alone, and `train` merges them into the model at its end. None: all weights are trained.

    Seeds the process, since the trainer draws the first adapters at random before it seeds anything itself.
    """
    if not lora:
        return None
    set_seed(seed)
    return LoraConfig(**lora, task_type="CAUSAL_LM")


def train(trainer: Trainer, shown: tuple[str, ...], scratch: Path | None, data: object) -> None:
    """Trains to the end, and says so when it goes on from a checkpoint. `shown`: the logged figures that are printed.

    `scratch`: where the checkpoints of an interrupted training are looked for and new ones written; None, or a trainer
    that saves nothing: no going on. `data`: everything else that the training depends on, besides its arguments and
    the weights; its `repr` is hashed. Afterwards the models of the checkpoints are in the trainer's `output_dir`,
    without their optimizers, and adapters are merged into the model in place. Raises FloatingPointError when loss or
    gradient are no numbers; BlockingIOError while another process trains in `scratch`.
    """
    if trainer.args.world_size != _processes():
        raise RuntimeError(f"of {_processes()} processes that were started {trainer.args.world_size} train together")
    if isinstance(trainer.model, PeftModel):  # the adapters' config then names the very weights that they belong to
        trainer.model.peft_config["default"].revision = getattr(trainer.model.config, "_commit_hash", None)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Lines(shown))
    trainer.add_callback(_Finite())
    trainer.args.logging_nan_inf_filter = False
    if scratch is None or trainer.args.save_strategy == "no":
        trainer.train()
    else:
        _go_on(trainer, scratch, data)
    if isinstance(trainer.model, PeftModel):
        trainer.model.merge_and_unload()


def _processes() -> int:
    """Those of `accelerate launch` that share a batch."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _go_on(trainer: Trainer, scratch: Path, data: object) -> None:
    folder, main = Path(trainer.args.output_dir), trainer.accelerator.is_main_process
    with _owned(scratch) if main else nullcontext():
        done = _checkpoints_of(scratch, _identity(trainer, data)) if main else []
        [newest] = broadcast_object_list([str(done[-1]) if done else None])  # where the others wait for the main one
        trainer.args.output_dir = str(scratch)
        trainer.add_callback(_NewestState())
        if newest and main:
            print(f"an interrupted training goes on after step {done[-1].name.split('-')[1]}", flush=True)
        trainer.train(resume_from_checkpoint=newest)
        trainer.args.output_dir = str(folder)
        trainer.accelerator.wait_for_everyone()  # each writes its own random state
        for checkpoint in _whole(scratch) if main else ():
            copy = folder / checkpoint.name
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(checkpoint, copy, ignore=shutil.ignore_patterns(*_STATE))


class _Lines(TrainerCallback):
    """Prints the step and some figures, LINES times in a training."""

    def __init__(self, shown: tuple[str, ...]):
        self.shown, self.latest = shown, 0

    def on_log(self, args, state, control, logs=None, **_):
        tenth = state.global_step * LINES // state.max_steps
        if state.is_world_process_zero and tenth > self.latest and all(key in logs for key in self.shown):
            self.latest = tenth
            figures = ", ".join(f"{key} {float(logs[key]):.3f}" for key in self.shown)
            print(f"step {state.global_step} of {state.max_steps}: {figures}", flush=True)


class _Finite(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **_):
        for name in ("loss", "grad_norm"):
            if not math.isfinite(float(logs.get(name, 0.0))):
                raise FloatingPointError(
                    f"{name} is {logs[name]} at step {state.global_step}: lower the learning rate, or look at the data "
                    "of this step"
                )


class _NewestState(TrainerCallback):
    """Removes optimizer and random states from all checkpoints but the newest, the only one ever gone on from."""

    def on_save(self, args, state, control, **_):
        for checkpoint in _whole(Path(args.output_dir))[:-1] if state.is_world_process_zero else ():
            for pattern in _STATE:
                for path in checkpoint.glob(pattern):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def _owned(scratch: Path) -> Iterator[None]:
    scratch.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(f"another process trains {scratch.name} at this moment: wait for it") from None
    else:
        yield
    finally:
        os.close(descriptor)


def _identity(trainer: Trainer, data: object) -> str:
    arguments = {name: value for name, value in trainer.args.to_dict().items() if name not in _NAMES_ONLY}
    content = [json.dumps(arguments, sort_keys=True, default=str), weights_hash(trainer.model), repr(data)]
    return hashlib.sha256("\0".join(content).encode()).hexdigest()


def _checkpoints_of(scratch: Path, identity: str) -> list[Path]:
    """The whole checkpoints of an equal training, the earliest first; all others are removed."""
    name = scratch / "identity.txt"
    same = name.is_file() and name.read_text() == identity
    kept = _whole(scratch) if same else []
    for path in scratch.iterdir():
        if path not in kept and path.is_dir():
            shutil.rmtree(path)
    name.write_text(identity)
    return kept


def _whole(scratch: Path) -> list[Path]:
    """Checkpoints that were not being written when the training was killed: the Trainer writes its state last."""
    found = [path for path in scratch.glob("checkpoint-*") if _is_json(path / TRAINER_STATE_NAME)]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]))


def _is_json(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text()))
    except (OSError, ValueError):
        return False
