"""Prepares the process of a run: seeds, threads, quiet libraries; and describes the machine for the record."""

import ctypes
import os
import platform
import random
import sys
from importlib import metadata

from . import paths

PACKAGES = ("torch", "transformers", "trl", "datasets", "numpy", "papermill")
QUIET = {
    "WANDB_MODE": "disabled",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",  # else tokenizers warn at every fork
    "TRANSFORMERS_VERBOSITY": "error",
    "TRL_EXPERIMENTAL_SILENCE": "1",  # `rollout_func` is experimental, and the version of TRL is pinned
}
USING_TORCH = frozenset({"torch", "transformers", "trl", "peft", "accelerate"})


def seed_everything(seed: int, threads: int | None, packages: set[str]) -> None:
    """Seeds Python and NumPy; if one of `packages` uses torch, seeds torch too and sets its number of threads.

    Does the same as `transformers.set_seed`, without loading torch into a notebook that does not use it.
    """
    import numpy

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    if not USING_TORCH & packages and "torch" not in sys.modules:
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else the order of cuBLAS's sums may vary
    import torch

    torch.manual_seed(seed)
    # warn_only: an operation without a deterministic version must not end a training
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # ty: ignore[missing-attribute] (not in the stubs)
    if threads:
        torch.set_num_threads(threads)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Makes the C library reuse the memory of freed tensors instead of returning it to the kernel.

    By default every large tensor is fresh memory, whose pages the kernel clears: 3 of 4 page faults and 5 to 10 % of
    the time of a training. This needs a sixth more memory. Without glibc nothing happens.
    """
    trim_threshold, mmap_threshold = -1, -3  # of mallopt(3)
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, (1 << 31) - 1)


def keep_quiet(offline: bool) -> None:
    """Turns off Weights & Biases, telemetry and libraries' warnings; with `offline` also look-ups on the hub.

    The user's own variables win. The hub's library reads its variable at import, so an earlier import is updated.
    """
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    hub = sys.modules.get("huggingface_hub.constants")
    if offline and os.environ.setdefault("HF_HUB_OFFLINE", "1") == "1" and hub:
        vars(hub)["HF_HUB_OFFLINE"] = True


def describe() -> dict:
    """Commit, versions and kind of machine, to repeat a run elsewhere; no name or path of this machine."""
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


def headline(info: dict) -> str:
    """Three lines for the top of a notebook: run, versions, machine. `info`: the content of run_info.json."""
    commit = f"commit {info['commit'][:10]}" if info["commit"] else "no commit"
    changes = " with changes" if info["dirty"] else ""
    threads = f", {info['threads']} threads" if info["threads"] else ""
    versions = ", ".join(f"{package} {version}" for package, version in info["packages"].items())
    return (
        f"{info['run']}: preset {info['preset']}, seed {info['seed']}, {commit}{changes}\n"
        f"Python {info['python']}, {versions}\n"
        f"{info['machine']['device']}, {info['cores']} cores{threads}"
    )


def _device() -> str:
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch and torch.cuda.is_available() else "cpu"


def _commit() -> tuple[str | None, bool | None]:
    """The commit, and whether the inputs of runs differ from it; (None, None) without git."""
    commit = paths.git("rev-parse", "HEAD")
    changes = paths.git("status", "--porcelain", "--", "lib", "notebooks", "params", "data", "pyproject.toml")
    return (None, None) if commit is None or changes is None else (commit.strip(), bool(changes))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
