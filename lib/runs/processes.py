"""Calls a function in several processes of one machine, through `accelerate launch`.

The call is written to a folder; `accelerate launch` starts the processes; each makes the call, and the main one saves
the result. When the caller ends, for any reason, the kernel kills the processes.

    python -m lib.runs.processes start <accelerate's config file> <folder of the call> <caller's process id>
    python -m lib.runs.processes work <folder of the call> <process id of `start`>
"""

import contextlib
import ctypes
import os
import pickle
import runpy
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .paths import root  # nothing heavy is imported here: processes must be bound to their parent first

_PR_SET_PDEATHSIG = 1
_QUOTED = 4000  # characters of the errors of a failed call that its exception quotes


def call_in_processes(config: Path, folder: Path, function: Callable, arguments: dict) -> Any:
    """Calls `function(**arguments)`, both of which pickle can write, in the processes of an accelerate configuration.

    Prints what they print, waits until the last of them has ended and returns the main one's result. `folder`: an
    existing, empty one for the files of the call. Raises RuntimeError with the reason if a process fails.
    """
    (folder / "call.pickle").write_bytes(pickle.dumps((function, arguments)))
    command = [sys.executable, "-m", "lib.runs.processes", "start", str(config), str(folder), str(os.getpid())]
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
    if not (folder / "result.pickle").is_file():
        failed = sorted(folder.glob("failed-*.txt"), key=lambda path: path.stat().st_mtime_ns)  # the others fail later
        reason = (failed[0] if failed else folder / "errors.txt").read_text(errors="replace")
        raise RuntimeError(f"the processes of {config.name} failed (exit code {code}):\n{reason[-_QUOTED:]}")
    return pickle.loads((folder / "result.pickle").read_bytes())


def _start(config: str, folder: str, caller: str) -> None:
    _die_with(int(caller))
    sys.argv = ["accelerate", "--config_file", config, "--main_process_port", "0"]  # any port that is free
    sys.argv += ["-m", "lib.runs.processes", "work", folder, str(os.getpid())]
    runpy.run_module("accelerate.commands.launch", run_name="__main__")


def _work(folder: str, starter: str) -> None:
    """Makes the call in one process; the main one prints and saves the result."""
    _die_with(int(starter))
    rank = int(os.environ.get("RANK", "0"))
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere if rank else sys.stdout):
            function, arguments = pickle.loads(Path(folder, "call.pickle").read_bytes())
            result = function(**arguments)
        if not rank:
            whole = Path(folder, "result.part")
            whole.write_bytes(pickle.dumps(result))
            whole.rename(Path(folder, "result.pickle"))
    except BaseException:
        Path(folder, f"failed-{rank}.txt").write_text(traceback.format_exc())
        raise


def _die_with(parent: int) -> None:
    """Makes the kernel kill this process when its parent ends; exits if the parent has already ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the process that started this one has ended")


if __name__ == "__main__":
    {"start": _start, "work": _work}[sys.argv[1]](*sys.argv[2:])
