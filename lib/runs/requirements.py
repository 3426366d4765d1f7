"""Checks that this machine has what a preset needs, before a run does any work."""

import os
from collections.abc import Callable
from importlib import metadata

from . import paths

CHECKS: list[Callable[[dict], list[str]]] = []  # of packages that know more keys of a preset, such as `sets`


class MissingError(RuntimeError):
    """This machine cannot run the preset; the message lists everything that is missing and how to get it."""


def require(preset: dict) -> None:
    """Raises MissingError when this machine lacks something that a run with a model needs.

    `preset`: the content of its preset.yaml. Its `requires` names the memory of the machine (`memory_gib`) and of one
    GPU (`gpu_gib`), `packages`, and the command that makes a local `base_model` (`weights`). The functions in CHECKS
    name what else is missing.
    """
    needs = preset.get("requires") or {}
    missing = _memory(needs.get("memory_gib", 0)) + _gpu(needs.get("gpu_gib", 0)) + _packages(needs.get("packages", []))
    missing += _weights(preset.get("base_model", ""), needs.get("weights", ""))
    missing += [line for check in CHECKS for line in check(preset)]
    if missing:
        raise MissingError("this machine cannot run the preset:\n" + "\n".join(f"- {line}" for line in missing))


def _memory(gib: float) -> list[str]:
    here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if gib else 0.0
    return [f"{gib} GiB of memory: this machine has {here:.0f} GiB"] if here < gib else []


def _gpu(gib: float) -> list[str]:
    if not gib:
        return []
    import torch  # here, because every run imports this module, and many of them load no model

    sizes = [torch.cuda.get_device_properties(n).total_memory / 2**30 for n in range(torch.cuda.device_count())]
    if max(sizes, default=0.0) >= gib:
        return []
    largest = f"the largest GPU of this machine has {max(sizes):.0f} GiB" if sizes else "PyTorch finds no GPU"
    return [f"a GPU with {gib} GiB of memory: {largest}"]


def _packages(names: list[str]) -> list[str]:
    installed = {package.metadata["Name"].lower() for package in metadata.distributions()}
    return [f"the package {name}: pip install -e '.[gpu]'" for name in names if name not in installed]


def _weights(model: str, command: str) -> list[str]:
    if not model or (paths.root() / model).is_dir():
        return []
    if command:
        return [f"the weights in {model}: {command}"]
    if model.count("/") > 1:
        return []  # a folder that the run itself makes: 00_tiny_world
    from huggingface_hub import HfApi, try_to_load_from_cache

    name, _, revision = model.partition("@")
    if isinstance(try_to_load_from_cache(name, "config.json", revision=revision or None), str):
        return []
    try:
        HfApi().model_info(name, revision=revision or None, timeout=10)
    except Exception as error:  # offline, an unknown revision, a gated model, a proxy: a dozen classes, three libraries
        command = f"hf download {name}" + (f" --revision {revision}" if revision else "")
        reason = f"they are not in the hub's cache, and the hub cannot be reached ({type(error).__name__})"
        return [f"the weights of {model}: {reason}. With a network: {command}"]
    return []
