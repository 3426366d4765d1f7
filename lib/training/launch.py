"""Training on several processes of one machine, through `accelerate launch`, called from a notebook as if it were one.

`train_sft`, `train_dpo` and `train_grpo` hand their own call over when they are given `launch`, the file of an
accelerate configuration. The weights and the call are written to a temporary folder in the one that the checkpoints go
to; `accelerate launch` starts the processes; each loads the weights and makes the same call without `launch`. The main
one leaves the curve, and the weights of the last checkpoint are loaded into the caller's model. While others train,
that model lies in the host's memory.

The processes live no longer than who called them: the kernel ends them with their parent, however that ends.

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

from lib.runs.paths import root  # nothing heavy is imported up here: processes are to be bound to their parent first

_PR_SET_PDEATHSIG = 1
_SHOWN = 4000  # characters of the errors of a failed training that its exception quotes


def launched(train: Callable, call: dict):
    """What `train(**call)` returns, trained by the processes that the file `call["launch"]` describes (relative: to the
    repository's root); weights of `call["model"]` are changed in place.

    A `judge` is made anew in every process, with its share of the workers. A `gate` reads the saved checkpoints when
    the training has ended, so that it can't end it; after a finding it ends the curve there (`lib.training.early_stop.Gate.review`).

    Raises FileNotFoundError without that file, ValueError for what such a training can't do, and RuntimeError with the
    reason when a process fails.
    """
    import pandas as pd
    import torch
    import yaml

    from lib.policy.models import load_policy

    model, tokenizer, folder = call["model"], call["tokenizer"], Path(call["folder"]).resolve()
    config = root() / call["launch"]
    if not config.is_file():
        raise FileNotFoundError(f"launch: no accelerate configuration at {config}; name one from the repository's root")
    layout = yaml.safe_load(config.read_text())
    _require(call, layout, config)
    device, gate, last = model.device, call.get("gate"), folder / f"checkpoint-{call['steps']}"
    scratch = call["scratch"] and Path(call["scratch"]).resolve()
    handed = call | {"folder": folder, "scratch": scratch, "launch": None}
    if "gate" in call:
        handed["gate"] = None
    if "judge" in call:
        handed["judge"] = _share(call["judge"].options, layout["num_processes"])
    if gate:
        gate.start(model)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".launch-") as temporary:
        model.save_pretrained(f"{temporary}/start")
        tokenizer.save_pretrained(f"{temporary}/start")
        del handed["model"], handed["tokenizer"]
        Path(temporary, "call.pickle").write_bytes(pickle.dumps((train, handed)))
        model.to("cpu")
        torch.cuda.empty_cache()
        try:
            _run(config, Path(temporary))
        finally:
            model.to(device)
        curve = pd.read_pickle(f"{temporary}/curve.pickle")
    model.load_state_dict(load_policy(last, device="cpu").state_dict())
    if gate:
        saved = {int(path.name.split("-")[1]): path for path in folder.glob("checkpoint-*")}
        curve = gate.review(model, curve, saved)
    return curve


def _require(call: dict, layout: dict, config: Path) -> None:
    if not call["save_every"]:
        raise ValueError("with launch, weights come back through the last checkpoint: let save_every be more than 0")
    if call["lora"]:
        raise ValueError("with launch, all weights are trained: leave out lora, or launch")
    zero = (layout.get("deepspeed_config") or {}).get("zero_stage", 3)
    sharded = layout["distributed_type"] == "FSDP" or (layout["distributed_type"] == "DEEPSPEED" and zero == 3)
    if sharded and "vllm" in call and not call["vllm"]:
        raise ValueError(
            f"{config} leaves no process a whole model to sample from: give vllm, which writes the samples"
        )


def _run(config: Path, folder: Path) -> None:
    """Starts the processes, passes on what they print, and waits until the last of them is gone."""
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
            start_new_session=True,  # an interruption is for the caller, which then ends them
        )
        try:
            for line in starter.stdout:
                print(line, end="", flush=True)
            code = starter.wait()
        finally:
            starter.kill()  # and with it all below
            starter.stdout.read()  # until nobody is left to write
            starter.wait()
    if not (folder / "curve.pickle").is_file():
        found = sorted(folder.glob("failed-*.txt"), key=lambda path: path.stat().st_mtime_ns)  # others fail after it
        reason = (found[0] if found else folder / "errors.txt").read_text(errors="replace")
        raise RuntimeError(f"the training by {config.name} failed (exit code {code}):\n{reason[-_SHOWN:]}")


def _share(options: dict, processes: int) -> dict:
    """The options of a judge that is one of so many, which together are to do what one was allowed."""
    return options | {"workers": max(1, options["workers"] // processes)}


def _start(config: str, folder: str, caller: str) -> None:
    _die_with(int(caller))
    sys.argv = ["accelerate", "--config_file", config, "--main_process_port", "0"]  # any port that is free
    sys.argv += ["-m", "lib.training.launch", "train", folder, str(os.getpid())]
    runpy.run_module("accelerate.commands.launch", run_name="__main__")


def _train(folder: str, starter: str) -> None:
    """One of the processes; the first one prints, and leaves the curve."""
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
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))  # what `load_policy` loads to
            else:
                os.environ["ACCELERATE_USE_CPU"] = "true"  # or each would train alone: accelerate looks for a GPU only
                # The Trainer goes on at the device "cpu:0", which torch can't load an optimizer to unless it is told.
                torch.serialization.register_package(
                    11, lambda _: None, lambda one, at: one if at[:4] == "cpu:" else None
                )
            train, call = pickle.loads(Path(folder, "call.pickle").read_bytes())
            if "judge" in call:
                call["judge"] = stack.enter_context(Judge(**call["judge"]))
            start = Path(folder, "start")
            curve = train(load_policy(start), load_tokenizer(start), **call)
            if not rank:
                curve.to_pickle(f"{folder}/curve.pickle")
    except BaseException:
        Path(folder, f"failed-{rank}.txt").write_text(traceback.format_exc())
        raise


def _die_with(parent: int) -> None:
    """Has the kernel end this process together with its parent, also when that is gone already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("who started this training is gone")


if __name__ == "__main__":
    {"start": _start, "train": _train}[sys.argv[1]](*sys.argv[2:])
