"""The environment of a run: seeds and threads, libraries that keep quiet, and the record of what it ran on."""

import ctypes
import os
import platform
import random
import subprocess
import sys
from importlib import metadata

from lib.runs import paths

PACKAGES = ("torch", "transformers", "trl", "datasets", "numpy", "papermill")
USING_TORCH = frozenset({"torch", "transformers", "trl", "peft", "accelerate"})


def seed_everything(seed: int, threads: int | None, packages: set[str]) -> None:
    """Seeds Python and NumPy; where one of `packages` uses torch, torch too, which then gets its threads.

    Does what `transformers.set_seed` does, without loading torch into a notebook that has no use for it.
    """
    import numpy

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    if not USING_TORCH & packages and "torch" not in sys.modules:
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may add in another order
    import torch

    torch.manual_seed(seed)
    # warn_only: an operation without a deterministic version must not end a training
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid that writes every new tensor twice
    if threads:
        torch.set_num_threads(threads)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Has the C library keep what tensors free instead of giving it back to the kernel.

    By default every large tensor is fresh memory, whose pages the kernel clears one by one: three of four page faults
    of a training, and 5 to 10 % of its time. It costs a sixth more memory. Without glibc nothing happens.
    """
    trim_threshold, mmap_threshold = -1, -3  # of mallopt(3)
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, (1 << 31) - 1)


def keep_quiet(offline: bool) -> None:
    """Weights & Biases only when asked for, no telemetry, and with `offline` no look-ups on the hub.

    The hub's library reads its variable when it is imported, so one that was imported earlier is told directly.
    """
    os.environ.setdefault("WANDB_MODE", "disabled")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else tokenizers warn whenever a process is started
    hub = sys.modules.get("huggingface_hub.constants")
    if offline and os.environ.setdefault("HF_HUB_OFFLINE", "1") == "1" and hub:
        hub.HF_HUB_OFFLINE = True


def describe() -> dict:
    """Commit, versions and machine kind: what it takes to repeat a run elsewhere; no name or path of this machine."""
    commit, dirty = _commit()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "commit": commit,
        "dirty": dirty,
        "packages": {package: version for package in PACKAGES if (version := _version(package))},
        "python": platform.python_version(),
        "machine": {"system": platform.system(), "architecture": platform.machine(), "device": _device()},
        "cores": cores,
    }


def _device() -> str:
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch and torch.cuda.is_available() else "cpu"


def _commit() -> tuple[str | None, bool | None]:
    """The commit, and whether what a run reads differs from it; (None, None) without git, as in an unpacked archive."""
    inputs = ("lib", "notebooks", "params", "data", "pyproject.toml")
    try:
        commit = _git("rev-parse", "HEAD").strip()
        return commit, bool(_git("status", "--porcelain", "--", *inputs))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(*arguments: str) -> str:
    command = ["git", "--no-optional-locks", *arguments]  # a run must not hold the index against its user
    return subprocess.run(command, cwd=paths.root(), capture_output=True, text=True, check=True).stdout


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
