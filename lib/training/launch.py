"""Training by several processes of one machine, through `accelerate launch`, called from a notebook like any other.

When a config has `launch`, the file of an accelerate configuration, `train_sft`, `train_dpo` and `train_grpo` pass
their call on to `launched`. The weights and the call are written to a temporary folder in the folder of the
checkpoints; `accelerate launch` starts the processes; each loads the weights and makes the same call without `launch`.
The main process saves the curve, and the weights of the last checkpoint are loaded into the caller's model, which stays
in host memory during the training.

When the caller ends, for any reason, the kernel kills the processes.

    python -m lib.training.launch start <accelerate's config file> <folder of the call> <caller's process id>
    python -m lib.training.launch train <folder of the call> <process id of `start`>
"""

import contextlib
import ctypes
import os
import pickle
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from lib.runs.paths import root  # nothing heavy is imported here: processes must be bound to their parent first

_PR_SET_PDEATHSIG = 1
_QUOTED = 4000  # characters of the errors of a failed training that its exception quotes


def launched(train: Callable, model, tokenizer, config, arguments: dict, early_stop=None):
    """Runs `train(model, tokenizer, **arguments, config=config)` in several processes and returns its result; the
    weights of `model` are changed in place. `config.launch`: accelerate's file, relative to the repository's root.

    Each process creates its own copy of a `judge` among the arguments, with its share of the workers. `early_stop`
    evaluates the saved checkpoints after the training, so it can't end it early; after a violation it shortens the
    curve (`EarlyStop.review`).

    Raises FileNotFoundError without that file, ValueError for an unsupported configuration, and RuntimeError with the
    reason if a process fails.
    """
    import pandas as pd
    import torch
    import yaml

    from lib.policy.models import load_policy

    file, folder = root() / config.launch, Path(config.folder).resolve()
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
    with tempfile.TemporaryDirectory(dir=folder, prefix=".launch-") as temporary:
        model.save_pretrained(f"{temporary}/start")
        tokenizer.save_pretrained(f"{temporary}/start")
        call = pickle.dumps((train, arguments | {"config": config.in_process()}))
        Path(temporary, "call.pickle").write_bytes(call)
        model.to("cpu")
        torch.cuda.empty_cache()
        try:
            _run(file, Path(temporary))
        finally:
            model.to(device)
        curve = pd.read_pickle(f"{temporary}/curve.pickle")
    model.load_state_dict(load_policy(last, device="cpu").state_dict())
    if early_stop:
        saved = {int(path.name.split("-")[1]): path for path in folder.glob("checkpoint-*")}
        curve = early_stop.review(model, curve, saved)
    return curve


def _require_possible(config, layout: dict, file: Path) -> None:
    if not config.save_steps:
        raise ValueError("with launch, the trained weights are read from the last checkpoint: set save_steps above 0")
    if config.lora:
        raise ValueError("launch trains all weights and does not support lora: leave out lora or launch")
    zero = (layout.get("deepspeed_config") or {}).get("zero_stage", 3)
    sharded = layout["distributed_type"] == "FSDP" or (layout["distributed_type"] == "DEEPSPEED" and zero == 3)
    if sharded and config.kind == "grpo" and not config.fields.get("use_vllm"):
        raise ValueError(f"with {file} no process has the whole model to sample from: set use_vllm")


def _run(config: Path, folder: Path) -> None:
    """Starts the processes, prints what they print, and waits until the last of them has ended."""
    command = [sys.executable, "-m", "lib.training.launch", "start", str(config), str(folder), str(os.getpid())]
    with open(folder / "errors.txt", "wb") as errors:
        starter = subprocess.Popen(
            command,
            cwd=root(),
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root()), os.environ.get("PYTHONPATH", "")])},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # only the caller gets an interruption, and ends them
        )
        assert starter.stdout is not None
        try:
            for line in starter.stdout:
                print(line, end="", flush=True)
            code = starter.wait()
        finally:
            starter.kill()  # and with it all its children
            starter.stdout.read()  # until nobody is left to write
            starter.wait()
    if not (folder / "curve.pickle").is_file():
        failed = sorted(folder.glob("failed-*.txt"), key=lambda path: path.stat().st_mtime_ns)  # the others fail later
        reason = (failed[0] if failed else folder / "errors.txt").read_text(errors="replace")
        raise RuntimeError(f"the training by {config.name} failed (exit code {code}):\n{reason[-_QUOTED:]}")


def _share(options: dict, processes: int) -> dict:
    """The options of a process's judge: the workers of the original judge are divided among the processes."""
    return options | {"workers": max(1, options["workers"] // processes)}


def _start(config: str, folder: str, caller: str) -> None:
    _die_with(int(caller))
    sys.argv = ["accelerate", "--config_file", config, "--main_process_port", "0"]  # any port that is free
    sys.argv += ["-m", "lib.training.launch", "train", folder, str(os.getpid())]
    runpy.run_module("accelerate.commands.launch", run_name="__main__")


def _train(folder: str, starter: str) -> None:
    """Runs one training process; the main one prints and saves the curve."""
    _die_with(int(starter))
    rank = int(os.environ.get("RANK", "0"))
    try:
        import torch

        from lib.judge import Judge
        from lib.policy.models import load_policy, load_tokenizer

        with contextlib.ExitStack() as stack:
            if rank:
                stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
            if torch.cuda.is_available():
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))  # where `load_policy` loads to
            else:
                os.environ["ACCELERATE_USE_CPU"] = "true"  # or each would train alone: accelerate only looks for a GPU
                # The Trainer resumes on the device "cpu:0", where torch can't load an optimizer without this.
                torch.serialization.register_package(
                    11, lambda _: None, lambda tensor, place: tensor if place[:4] == "cpu:" else None
                )
            train, arguments = pickle.loads(Path(folder, "call.pickle").read_bytes())
            if "judge" in arguments:
                arguments["judge"] = stack.enter_context(Judge(**arguments["judge"]))
            start = Path(folder, "start")
            curve = train(load_policy(start), load_tokenizer(start), **arguments)
            if not rank:
                curve.to_pickle(f"{folder}/curve.pickle")
    except BaseException:
        Path(folder, f"failed-{rank}.txt").write_text(traceback.format_exc())
        raise


def _die_with(parent: int) -> None:
    """Makes the kernel kill this process when its parent ends; exits if the parent has already ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the process that started this training has ended")


if __name__ == "__main__":
    {"start": _start, "train": _train}[sys.argv[1]](*sys.argv[2:])
