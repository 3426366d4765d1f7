"""Requirements: what a preset needs of a machine, and what of it is not here. Asked before a run does any work."""

from importlib import metadata

from lib.problems import manifest
from lib.problems.sets import SETS
from lib.runs import paths


class MissingError(RuntimeError):
    """This machine can't run the preset; the message lists all that is missing, and what to do about each."""


def require(preset: dict) -> None:
    """Raises MissingError when the machine lacks something that a run with a model needs.

    `preset`: what its preset.yaml holds. Its `requires` names the memory of one GPU (`gpu_gib`) and `packages`; where
    it is empty, nothing is asked. Beside them the weights of `base_model` and the frozen lists of all sets are needed.
    """
    needs = preset.get("requires")
    if not needs:
        return
    lacking = _gpu(needs.get("gpu_gib", 0)) + _packages(needs.get("packages", []))
    lacking += _weights(preset["base_model"]) + _sets([*preset["sets"].values()], preset["train_sets"])
    if lacking:
        raise MissingError("this machine can't run the preset:\n" + "\n".join(f"- {one}" for one in lacking))


def _gpu(gib: float) -> list[str]:
    if not gib:
        return []
    import torch  # here: this module belongs to every run, also to those that load no model

    sizes = [torch.cuda.get_device_properties(n).total_memory / 2**30 for n in range(torch.cuda.device_count())]
    if max(sizes, default=0.0) >= gib:
        return []
    found = f"the largest here has {max(sizes):.0f} GiB" if sizes else "PyTorch finds none here"
    return [f"a GPU with {gib} GiB of memory: {found}"]


def _packages(names: list[str]) -> list[str]:
    installed = {one.metadata["Name"].lower() for one in metadata.distributions()}
    return [f"the package {name}: pip install -e '.[gpu]'" for name in names if name not in installed]


def _weights(model: str) -> list[str]:
    if (paths.root() / model).is_dir():
        return []
    from huggingface_hub import HfApi, try_to_load_from_cache

    name, _, revision = model.partition("@")
    if isinstance(try_to_load_from_cache(name, "config.json", revision=revision or None), str):
        return []
    try:
        HfApi().model_info(name, revision=revision or None, timeout=10)
    except Exception as error:  # offline, no such revision, a gate, a proxy: a dozen classes of three libraries
        command = f"hf download {name}" + (f" --revision {revision}" if revision else "")
        return [
            f"the weights of {model}: not in the cache of the hub, which can't be asked ({type(error).__name__}). "
            f"With a network: {command}"
        ]
    return []


def _sets(measured: list[str], trained: list[str]) -> list[str]:
    """Manifests that are missing: those of the sets to measure on, and of the train splits."""
    frozen = manifest.read_index()
    wanted = [(name, "train") for name in trained]
    wanted += [(name, split) for name in measured for split in SETS[name].roles]
    missing = sorted({(name, split) for name, split in wanted if manifest.file_name(name, split) not in frozen})
    by_set = {name: [split for one, split in missing if one == name] for name, _ in missing}
    return [
        f"the frozen list of {name}, {', '.join(splits)}: with a network, once: python -m lib.problems.freeze write {name}"
        for name, splits in by_set.items()
    ]
