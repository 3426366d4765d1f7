"""Checks that this machine has what a preset needs, before a run does any work."""

import json
from importlib import metadata

from . import paths


class MissingError(RuntimeError):
    """This machine cannot run the preset; the message lists everything that is missing and how to get it."""


def require(preset: dict) -> None:
    """Raises MissingError when this machine lacks something that a run with a model needs.

    `preset`: the content of its preset.yaml. Its `requires` names the memory of one GPU (`gpu_gib`) and `packages`; if
    it is empty, nothing is checked. Otherwise the weights of `base_model` and the frozen lists of `sets` must be here,
    too.
    """
    if needs := preset.get("requires"):
        missing = _gpu(needs.get("gpu_gib", 0)) + _packages(needs.get("packages", []))
        missing += _weights(preset["base_model"]) + _sets(preset["sets"])
        if missing:
            raise MissingError("this machine cannot run the preset:\n" + "\n".join(f"- {line}" for line in missing))


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


def _weights(model: str) -> list[str]:
    from huggingface_hub import HfApi, try_to_load_from_cache

    name, _, revision = model.partition("@")
    cached = (paths.root() / model).is_dir() or try_to_load_from_cache(name, "config.json", revision=revision or None)
    if cached is True or isinstance(cached, str):
        return []
    try:
        HfApi().model_info(name, revision=revision or None, timeout=10)
    except Exception as error:  # offline, an unknown revision, a gated model, a proxy: a dozen classes, three libraries
        command = f"hf download {name}" + (f" --revision {revision}" if revision else "")
        reason = f"they are not in the hub's cache, and the hub cannot be reached ({type(error).__name__})"
        return [f"the weights of {model}: {reason}. With a network: {command}"]
    return []


def _sets(sets: dict[str, dict]) -> list[str]:
    """The frozen lists of problem ids (manifests) that are missing. `sets`: the preset's, name -> source and split."""
    index = paths.root() / "data" / "manifests" / "index.json"
    frozen = json.loads(index.read_text()) if index.is_file() else {}
    missing: dict[str, list[str]] = {}
    for chosen in sets.values():
        if f"{chosen['source']}-{chosen['split']}.jsonl" not in frozen:
            missing.setdefault(chosen["source"], []).append(chosen["split"])
    return [
        f"the frozen list of {source}, {', '.join(sorted(splits))}: "
        f"with a network, once: python -m lib.problems.freeze write {source}"
        for source, splits in sorted(missing.items())
    ]
