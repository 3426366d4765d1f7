"""Everything that a machine lacks is named before a run does anything: on the real presets, and part by part."""

import json
import shutil

import pytest
import torch

from lib.problems import ManifestError, load_problems, manifest, problem_sets
from lib.problems.manifest import reliable
from lib.problems.missing import missing_data
from lib.problems.sources import given_place
from lib.runs import requirements, start
from lib.runs.params_files import load_params_file
from lib.runs.paths import root
from lib.runs.requirements import MissingError, require

PRESETS = {file.parent.name: load_params_file(file) for file in (root() / "params").glob("*/preset.yaml")}
TINY = PRESETS["tiny"]
READY = {**TINY, "requires": {"gpu_gib": 0, "packages": ["torch"]}}  # with needs, all of them met everywhere


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    """No look-ups, and a cache of the hub that is empty, whatever this machine has."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("RLVR_ROWS", raising=False)


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
        assert "- the quality marks of codecontests: python -m lib.problems.quality write" in str(error.value)
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


def test_a_folder_of_weights_that_a_command_makes_is_named_with_the_command():
    needs = {**READY, "base_model": "data/none/base_model", "requires": {"weights": "make none"}}
    assert missing(needs) == ["- the weights in data/none/base_model: make none"]


def test_too_little_memory_is_named(monkeypatch):
    monkeypatch.setattr(requirements.os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**20}.get)
    assert missing({**READY, "requires": {"memory_gib": 8}}) == ["- 8 GiB of memory: this machine has 4 GiB"]
    require({**READY, "requires": {"memory_gib": 4}})


FILES = sorted((root() / "params").glob("*/[0-9]*.yaml"))


@pytest.mark.parametrize("preset", PRESETS)
def test_each_run_of_a_preset_is_told_of_every_piece_that_it_would_miss_in_its_middle(preset, monkeypatch, tmp_path):
    """Everything that reading a set raises must have been named by the requirements, with the command that helps."""
    monkeypatch.setenv("RLVR_ARTIFACTS", str(tmp_path / "artifacts"))
    named = "\n".join(missing_data(PRESETS[preset]))
    for name, chosen in problem_sets(PRESETS[preset]).items():
        place, what = (chosen.source, chosen.split), f"{chosen.source}"
        try:
            problems = load_problems(*place, given_place(chosen.source, chosen.rows))
        except ManifestError:
            assert f"the frozen list of {what}" in named, name
        except (ConnectionError, FileNotFoundError):
            assert f"the rows of {what}" in named, name
            problems = manifest.Problems()
        if chosen.role == "train" and f"the frozen list of {what}" not in named:
            try:
                reliable(problems, *place)
            except ManifestError:
                assert f"quality write {what}/{chosen.split}" in named, name
    runs = {path.stem.split("-")[0]: path for path in FILES if path.parent.name == preset}  # one of each notebook
    assert runs
    for notebook, path in runs.items() if named else []:  # a run that loads a model is refused before it has a folder
        if notebook[:2] in ("03", "10", "11", "12", "20", "30", "40", "91"):
            with pytest.raises(MissingError) as error:
                start(notebook, load_params_file(path))
            assert named in str(error.value).replace("\n- ", "\n"), path.name
    assert not (tmp_path / "artifacts").exists()


def test_marks_that_are_missing_or_older_than_the_frozen_list_are_named(monkeypatch, tmp_path):
    """The 7B preset trained on mbpp/train, whose marks nobody had told the user to make."""
    shutil.copytree(manifest.folder(), tmp_path / "manifests")
    monkeypatch.setattr(manifest, "folder", lambda: tmp_path / "manifests")
    line = "the quality marks of mbpp: python -m lib.problems.quality write mbpp/train"
    assert line not in missing_data(PRESETS["qwen7b"])
    index = json.loads((tmp_path / "manifests" / "index.json").read_text())
    index["mbpp-train.unreliable.jsonl"]["judged"] = "of an earlier list"
    (tmp_path / "manifests" / "index.json").write_text(json.dumps(index))
    assert line in missing_data(PRESETS["qwen7b"])
    del index["mbpp-train.unreliable.jsonl"]
    (tmp_path / "manifests" / "index.json").write_text(json.dumps(index))
    assert line in missing_data(PRESETS["qwen7b"])
