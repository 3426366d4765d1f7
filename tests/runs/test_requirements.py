"""Everything that a machine lacks is named before a run does anything: on the real presets, and part by part."""

import pytest
import torch

from lib.runs import start
from lib.runs.params_files import load_params_file
from lib.runs.paths import root
from lib.runs.requirements import MissingError, require

TINY, QWEN = (load_params_file(root() / "params" / name / "preset.yaml") for name in ("tiny", "qwen7b"))
READY = {**TINY, "requires": {"gpu_gib": 0, "packages": ["torch"]}}  # with needs, all of them met everywhere


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    """No look-ups, and a cache of the hub that is empty, whatever this machine has."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def missing(preset: dict) -> list[str]:
    with pytest.raises(MissingError) as error:
        require(preset)
    return str(error.value).splitlines()[1:]


def test_the_tiny_preset_needs_nothing_beyond_its_installation():
    require(TINY)
    require(READY)


def test_a_notebook_given_the_large_preset_names_everything_that_is_missing_and_leaves_nothing_behind(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("RLVR_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for notebook in ("03_baseline", "10_sft", "12_best_of_n", "30_grpo"):
        with pytest.raises(MissingError) as error:
            start(notebook, {"preset": "qwen7b", "seed": 0})
        assert "- a GPU with 75 GiB of memory: PyTorch finds no GPU" in str(error.value)
        assert "- the weights of Qwen/Qwen2.5-Coder-7B-Instruct@c03e6d35" in str(error.value)
        assert "hf download Qwen/Qwen2.5-Coder-7B-Instruct --revision c03e6d35" in str(error.value)
    assert not (tmp_path / "artifacts").exists()


def test_a_small_gpu_is_not_enough(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    memory = [8 << 30, 24 << 30]
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda n: type("Properties", (), {"total_memory": memory[n]})
    )
    needs = {**READY, "requires": {"gpu_gib": 75}}
    assert missing(needs) == ["- a GPU with 75 GiB of memory: the largest GPU of this machine has 24 GiB"]
    memory[1] = 80 << 30
    require(needs)


def test_a_missing_package_is_named_with_the_command_that_installs_it():
    needs = {**READY, "requires": {"packages": ["torch", "no-such-package"]}}
    assert missing(needs) == ["- the package no-such-package: pip install -e '.[gpu]'"]


def test_weights_in_the_cache_of_the_hub_are_enough(tmp_path):
    needs = {**READY, "base_model": "owner/model@abc123"}
    [line] = missing(needs)
    assert "the weights of owner/model@abc123" in line
    snapshot = tmp_path / "hub" / "models--owner--model" / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    require(needs)


def test_a_set_that_is_not_frozen_is_named_once_with_all_its_splits():
    sets = {split: {"source": "tiny_contests", "split": split} for split in ("test", "new", "newer")}
    assert missing({**READY, "sets": sets | {"other": {"source": "other_set", "split": "train"}}}) == [
        "- the frozen list of other_set, train: with a network, once: python -m lib.problems.freeze write other_set",
        "- the frozen list of tiny_contests, new, newer: with a network, once: "
        "python -m lib.problems.freeze write tiny_contests",
    ]
