"""Params files: each describes the run that its name says, and means the same to every reader of YAML."""

import inspect
import re
from collections import defaultdict
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from accelerate import DeepSpeedPlugin, FullyShardedDataParallelPlugin
from accelerate.commands.config.config_args import ClusterConfig
from accelerate.utils import DistributedType
from torch.distributed.fsdp import OffloadPolicy
from trl import DPOConfig, GRPOConfig, SFTConfig

from lib.judge import Judge
from lib.policy.models import load_tokenizer
from lib.problems import load_problems, problem_sets, role_of
from lib.rewards import REWARDS
from lib.runs.fingerprint import RUN_NAME, upstream_names
from lib.runs.parameters import TYPES, load_params_file, read_parameters, resolve, run_name
from lib.runs.paths import root
from lib.training import config as training
from lib.training import dpo, grpo, sft
from lib.training import repair as repair_training

PARAMS = root() / "params"
PRESETS = sorted(path.parent.name for path in PARAMS.glob("*/preset.yaml"))
FILES = sorted(path for path in PARAMS.glob("*/*.yaml") if path.name != "preset.yaml")
TINY = [path for path in FILES if path.parent.name == "tiny"]


def relative(path: Path) -> str:
    return path.relative_to(PARAMS).as_posix()


def template(path: Path) -> Path:
    """The notebook that a params file is for."""
    match = RUN_NAME.fullmatch(path.stem)
    assert match, f"{path.name}: <notebook>[-<variant>]-s<seed>.yaml is expected"
    return root() / "notebooks" / f"{match['notebook']}.ipynb"


def values(path: Path) -> dict:
    """All parameters of the run that a params file describes. Raises for unknown ones and wrong types."""
    return resolve(read_parameters(template(path)), load_params_file(path))


def test_the_embedded_preset_is_here_and_no_folder_of_params_lacks_its_preset_file():
    assert "tiny" in PRESETS
    assert {path.parent.name for path in FILES} <= set(PRESETS)


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_file_gives_parameters_that_its_notebook_has_and_is_named_after_the_run_they_make(path):
    given, parameters = load_params_file(path), values(path)
    assert {"preset", "seed"} <= given.keys(), "a file says of which preset and seed it is"
    assert parameters["preset"] == path.parent.name
    assert run_name(template(path), parameters, PARAMS) == path.stem


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_the_runs_that_a_file_names_have_files_too(path):
    for name in upstream_names(values(path)):
        assert path.with_name(f"{name}.yaml") in FILES, f"{path.name} needs {name}, and no params file makes it"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_file_means_the_same_to_readers_of_the_older_yaml(path):
    """In YAML 1.1 `no` is false, `010` is 8, `1:30` is 90 and a date no string; ours and theirs must agree."""
    theirs = yaml.safe_load(path.read_text()) or {}
    assert resolve(read_parameters(template(path)), theirs) == values(path)
    for name, value in load_params_file(path).items():
        kind = read_parameters(template(path))[name].type
        allowed = (int, float) if kind == "float" else TYPES[kind]
        assert isinstance(value, allowed), f"{name}: {value!r} is spelled as another type"


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_says_what_lib_and_notebooks_read_from_it_and_nothing_else(preset):
    text = (PARAMS / preset / "preset.yaml").read_text()
    found = load_params_file(PARAMS / preset / "preset.yaml")
    assert found == yaml.safe_load(text)
    sources = [*(root() / "lib").rglob("*.py"), *(root() / "notebooks").glob("*.ipynb")]
    read = re.compile(r"""preset(?:\[|\.get\()\\?["'](\w+)\\?["']""")
    names = {name for source in sources for name in read.findall(source.read_text())}
    assert found.keys() == names


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_names_problem_sets_that_exist(preset):
    found = load_params_file(PARAMS / preset / "preset.yaml")
    sets = problem_sets(found)  # raises for an unknown source, split or role
    assert {chosen.role for chosen in sets.values()} == {"train", "select", "monitor", "test"}
    for chosen in sets.values():
        assert role_of(chosen.source, chosen.split) == chosen.role


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_says_with_what_every_notebook_makes_its_judge(preset):
    chosen = load_params_file(PARAMS / preset / "preset.yaml")["judge"]
    inspect.signature(Judge).bind(**chosen)  # it has no argument that a judge does not know
    for notebook in (root() / "notebooks").glob("*.ipynb"):
        made = re.findall(r"\bJudge\((?!workers=1,)([^)]*)\)", notebook.read_text())
        assert set(made) <= {'**run.preset[\\"judge\\"]'}, f"{notebook.name} chooses its own judge"


@pytest.mark.parametrize("path", [path for path in TINY if path.stem.endswith("-s0")], ids=relative)
def test_without_parameters_papermill_makes_the_run_of_seed_0(path):
    """The defaults are the recipe: a file of seed 0 departs from them in what its variant names and runs it reads."""
    notebook, *variant, _ = path.stem.split("-")
    defaults = resolve(read_parameters(template(path)), {})
    changed = {
        name: value
        for name, value in values(path).items()
        if value != defaults[name] and not upstream_names({name: value})
    }
    assert {str(value) for value in changed.values()} <= set(variant), f"{notebook} has other defaults: {changed}"


def test_files_of_one_variant_differ_in_their_seed_alone():
    variants = defaultdict(list)
    for path in FILES:
        found = {name: _without_seed(value) for name, value in values(path).items() if name != "seed"}
        variants[path.parent.name, path.stem.rpartition("-s")[0]].append((path.name, found))
    for (first, found), *others in variants.values():
        assert [name for name, other in others if other != found] == [], f"unlike {first}"


def _without_seed(value: object) -> object:
    """A parameter's value with the seeds of the runs in it left out: seed 3 goes on from the upstream run of seed 3."""
    return (
        re.sub(r"\d\d_[^\s,]+?-s\d+\b", lambda run: run[0].rpartition("-s")[0], value)
        if isinstance(value, str)
        else value
    )


BASE = "data/tiny/base_model"  # whose tokenizer will do: no token of it gets into a config


class Built(Exception):
    """A trainer was about to be made: with these arguments."""


def _steps(found: dict) -> int:
    """Of DPO they follow from the number of pairs, which nobody knows beforehand: 600 here."""
    return found["steps"] if "steps" in found else round(found["epochs"] * 600 / 32)


def _config_of(path: Path, monkeypatch, tmp_path, changed=lambda preset: preset):
    """The real TRL config (and LoRA config) that the training of a params file comes to, built by what the notebook
    calls; nothing is loaded or trained."""

    def trainer(*_, args, peft_config=None, **__):
        raise Built(args, peft_config)

    monkeypatch.setattr(sft, "_Trainer", trainer)
    monkeypatch.setattr(grpo, "GRPOTrainer", trainer)
    monkeypatch.setattr(dpo, "DPOTrainer", trainer)
    found, preset = values(path), changed(load_params_file(path.with_name("preset.yaml")))
    settings = {name: found[name] for name in ("learning_rate", "seed")} | {"steps": _steps(found), "scratch": tmp_path}
    if path.stem.startswith("10_sft"):
        settings |= {"save_every": found["save_every"]} | preset["sft"]
        rows, train = ([([{"role": "user", "content": "add"}], "pass")],), sft.train_sft
    elif path.stem.startswith("20_dpo"):
        settings |= {"beta": found["beta"]} | preset["dpo"]
        rows, train = ([([{"role": "user", "content": "add"}], "right", "wrong")],), dpo.train_dpo
    else:
        step = preset["rl_step"]
        settings |= {"beta": found["beta"], "prompts_per_step": step["prompts"], "samples": step["samples"]}
        settings |= {"max_new_tokens": step["max_new_tokens"], "save_every": preset["save_every"]} | preset["grpo"]
        settings |= {"scale_rewards": found["scale_rewards"]}
        rows, train = (load_problems("tiny_contests", "valid"), None, REWARDS[found["reward"]]), grpo.train_grpo
    with pytest.raises(Built) as built:
        train(None, load_tokenizer(root() / BASE), *rows, tmp_path, **settings)
    return *built.value.args, found, preset


TRAININGS = [path for path in FILES if path.stem.startswith(("10_sft", "20_dpo", "30_grpo"))]


@pytest.mark.parametrize("path", TRAININGS, ids=relative)
def test_a_training_is_a_config_that_trl_accepts_with_the_files_values(path, monkeypatch, tmp_path):
    config, adapters, found, preset = _config_of(path, monkeypatch, tmp_path)
    assert (config.max_steps, config.learning_rate, config.seed) == (
        _steps(found),
        found["learning_rate"],
        found["seed"],
    )
    per_step = config.per_device_train_batch_size * config.gradient_accumulation_steps
    block = preset[path.stem[3:].partition("-")[0]]
    assert (adapters and adapters.r) == block.get("lora", {}).get("r")
    assert (config.gradient_accumulation_steps, config.bf16) == (block.get("accumulation", 1), block.get("bf16", False))
    if path.stem.startswith("10_sft"):
        assert type(config) is SFTConfig
        assert (per_step, config.max_length) == (preset["sft"]["batch_size"], None), (
            "what is too long is an error, not cut"
        )
    elif path.stem.startswith("20_dpo"):
        assert type(config) is DPOConfig
        assert (per_step, config.beta) == (32, found["beta"])
    else:
        assert type(config) is GRPOConfig
        step = preset["rl_step"]
        assert (per_step, config.num_generations) == (step["prompts"] * step["samples"], step["samples"])
        assert (config.max_completion_length, config.beta) == (step["max_new_tokens"], found["beta"])
        assert config.scale_rewards == found["scale_rewards"]
        wanted = block.get("vllm", {})
        assert (config.use_vllm, {name: getattr(config, name) for name in wanted}) == (bool(wanted), wanted)


def _on_eight(preset: dict) -> dict:
    """The preset as the README has it for all weights on eight GPUs: `launch` in place of `lora`, and fewer parts."""
    for name, accumulation in (("sft", 4), ("dpo", 4), ("grpo", 16)):
        del preset[name]["lora"]
        preset[name] |= {"launch": "params/qwen7b/accelerate/fsdp.yaml", "accumulation": accumulation}
    return preset


@pytest.mark.parametrize("path", [path for path in TRAININGS if path.parent.name == "qwen7b"], ids=relative)
def test_with_launch_in_place_of_lora_each_of_eight_processes_has_its_part_of_a_batch(path, monkeypatch, tmp_path):
    handed = []
    for module in (sft, dpo, grpo):
        monkeypatch.setattr(module, "launched", lambda train, call: handed.append((train, call)) or _as_one_of_eight())

    def _as_one_of_eight():
        monkeypatch.setattr(training, "_processes", lambda: 8)
        train, call = handed[-1]
        return train(**call | {"launch": None})

    config, adapters, found, preset = _config_of(path, monkeypatch, tmp_path, _on_eight)
    [(_, call)] = handed
    layout = ClusterConfig.from_yaml_file(root() / call["launch"])
    block = preset[path.stem[3:].partition("-")[0]]
    batch = preset["rl_step"]["prompts"] * preset["rl_step"]["samples"] if "grpo" in path.stem else 32
    assert config.per_device_train_batch_size * block["accumulation"] * layout.num_processes == batch
    assert (adapters, config.max_steps, config.bf16) == (None, _steps(found), True)


@pytest.mark.parametrize("path", [path for path in FILES if path.stem.startswith("40_repair")], ids=relative)
def test_dialogues_are_read_as_the_samples_of_grpo_are_and_written_by_this_project(path, monkeypatch, tmp_path):
    def trainer(*_, args, peft_config, **__):
        raise Built(args, peft_config)

    monkeypatch.setattr(repair_training, "GRPOTrainer", trainer)
    found, preset = values(path), load_params_file(path.with_name("preset.yaml"))
    block = {name: value for name, value in preset["grpo"].items() if name not in ("vllm", "launch")}
    settings = {name: found[name] for name in ("steps", "learning_rate", "returns", "penalty", "seed")}
    problems, tokenizer = load_problems("tiny_contests", "valid"), load_tokenizer(root() / BASE)
    with pytest.raises(Built) as built:
        repair_training.train_repair(None, tokenizer, problems, None, None, tmp_path, **settings, **block)
    config, adapters = built.value.args
    assert (config.max_steps, config.learning_rate) == (found["steps"], found["learning_rate"])
    assert (config.gradient_accumulation_steps, config.bf16) == (block.get("accumulation", 1), block.get("bf16", False))
    assert (adapters and adapters.r) == block.get("lora", {}).get("r")
    assert not config.use_vllm


@pytest.mark.parametrize("path", sorted(PARAMS.glob("*/accelerate/*.yaml")), ids=relative)
def test_a_file_for_accelerate_launch_is_one_that_accelerate_accepts(path, monkeypatch):
    """Loaded as `accelerate launch` loads it, then as the processes that it starts do."""
    found = ClusterConfig.from_yaml_file(path)
    assert (found.num_processes, found.num_machines, found.mixed_precision) == (8, 1, "bf16")
    if found.distributed_type == DistributedType.FSDP:
        for name, value in found.fsdp_config.items():
            monkeypatch.setenv(name.upper(), str(value))
        plugin = FullyShardedDataParallelPlugin()
        assert (plugin.fsdp_version, plugin.state_dict_type.name) == (2, "FULL_STATE_DICT")
        assert plugin.reshard_after_forward
        assert type(plugin.cpu_offload) is OffloadPolicy, "the base class: nothing is offloaded"
    else:
        assert found.distributed_type == DistributedType.DEEPSPEED
        assert found.deepspeed_config.keys() <= {field.name for field in fields(DeepSpeedPlugin)}
        assert found.deepspeed_config["zero_stage"] == 3
