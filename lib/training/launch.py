"""Training by several processes of one machine, called from a notebook like any other.

When a config has `launch`, the file of an accelerate configuration, `train_sft`, `train_dpo` and `train_grpo` pass
their call on to `launched`. Each process loads the weights and makes the same call without `launch`; the weights of the
last checkpoint are loaded into the caller's model, which stays in host memory during the training.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
import yaml

from lib.evaluation.checkpoints import find_checkpoints
from lib.judge import Judge
from lib.policy.models import load_policy, load_tokenizer
from lib.runs.paths import root
from lib.runs.processes import call_in_processes
from lib.training.config import TrainingConfig
from lib.training.early_stop import EarlyStop


def launched(
    train: Callable, model, tokenizer, config: TrainingConfig, arguments: dict, early_stop: EarlyStop | None = None
) -> pd.DataFrame:
    """Runs `train(model, tokenizer, **arguments, config=config)` in several processes and returns its result; the
    weights of `model` are changed in place. `config.launch`: accelerate's file, relative to the repository's root.

    Each process creates its own copy of a `judge` among the arguments, with its share of the workers. `early_stop`
    evaluates the saved checkpoints afterwards (`EarlyStop.review`). Raises FileNotFoundError without that file,
    ValueError for an unsupported configuration, and RuntimeError with the reason if a process fails.
    """
    file, folder = root() / str(config.launch), config.folder.resolve()
    if not file.is_file():
        raise FileNotFoundError(f"launch: no accelerate configuration at {file}; name it from the repository's root")
    layout = yaml.safe_load(file.read_text())
    _require_possible(config, layout, file)
    if "judge" in arguments:
        arguments = arguments | {"judge": _share(arguments["judge"].options, layout["num_processes"])}
    if early_stop:
        early_stop.start(model)
    folder.mkdir(parents=True, exist_ok=True)
    device, last = model.device, folder / f"checkpoint-{config.max_steps}"
    with TemporaryDirectory(dir=folder, prefix=".launch-") as temporary:
        start = Path(temporary, "start")
        model.save_pretrained(start)
        tokenizer.save_pretrained(start)
        model.to("cpu")
        torch.cuda.empty_cache()
        call = {"train": train, "start": start, "arguments": arguments | {"config": config.in_process()}}
        try:
            curve = call_in_processes(file, Path(temporary), _train, call)
        finally:
            model.to(device)
    model.load_state_dict(load_policy(last, device="cpu").state_dict())
    if early_stop:
        curve = early_stop.review(model, curve, find_checkpoints(folder))
    return curve


def _train(train: Callable, start: Path, arguments: dict) -> pd.DataFrame:
    """Trains in one of the processes, from the weights in `start`."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))  # where `load_policy` loads to
    else:
        os.environ["ACCELERATE_USE_CPU"] = "true"  # or each would train alone: accelerate only looks for a GPU
        # The Trainer resumes on the device "cpu:0", where torch can't load an optimizer without this.
        torch.serialization.register_package(
            11, lambda _: None, lambda tensor, place: tensor if place[:4] == "cpu:" else None
        )
    with ExitStack() as stack:
        if "judge" in arguments:
            arguments = arguments | {"judge": stack.enter_context(Judge(**arguments["judge"]))}
        return train(load_policy(start), load_tokenizer(start), **arguments)


def _require_possible(config: TrainingConfig, layout: dict, file: Path) -> None:
    if not config.save_steps:
        raise ValueError("with launch, the trained weights are read from the last checkpoint: set save_steps above 0")
    if config.lora:
        raise ValueError("launch trains all weights and does not support lora: leave out lora or launch")
    zero = (layout.get("deepspeed_config") or {}).get("zero_stage", 3)
    sharded = layout["distributed_type"] == "FSDP" or (layout["distributed_type"] == "DEEPSPEED" and zero == 3)
    if sharded and config.kind == "grpo" and not config.fields.get("use_vllm"):
        raise ValueError(f"with {file} no process has the whole model to sample from: set use_vllm")


def _share(options: dict, processes: int) -> dict:
    """The options of a process's judge: the workers of the original judge are divided among the processes."""
    return options | {"workers": max(1, options["workers"] // processes)}
