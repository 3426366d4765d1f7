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
from lib.problems import problem_sets, role_of
from lib.runs.fingerprint import RUN_NAME, upstream_names
from lib.runs.parameters import TYPES, read_parameters, resolve, run_name
from lib.runs.params_files import load_params_file
from lib.runs.paths import root
from lib.training.config import TrainingConfig, training_config

PARAMS = root() / "params"
PRESETS = sorted(path.parent.name for path in PARAMS.glob("*/preset.yaml"))
SHARED = ("preset.yaml", "tuning.yaml")  # of a preset, not of a run
FILES = sorted(path for path in PARAMS.glob("*/*.yaml") if path.name not in SHARED)
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
    assert run_name(template(path), parameters) == path.stem


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
    assert load_params_file(PARAMS / "preset_keys.yaml").keys() == names, "the list against which typos are found"


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
    if "continued" in variant:  # a control trains for as many steps as what it is compared with costs
        changed.pop("steps")
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


TRAININGS = [path for path in FILES if path.stem.startswith(("10_sft", "20_dpo", "30_grpo", "40_repair"))]
BLOCKS = {"10_sft": ("sft",), "20_dpo": ("dpo",), "30_grpo": ("grpo",), "40_repair": ("sft", "grpo")}


def _configs(path: Path, tmp_path, **keywords) -> list[tuple[str, TrainingConfig, dict]]:
    """The trainings of a params file as its notebook describes them: the block's name, the config, the block."""
    found, preset = values(path), load_params_file(path.with_name("preset.yaml"))
    names = [name for name in ("learning_rate", "beta", "scale_rewards", "seed") if name in found]
    given = {name: found[name] for name in names} | {"max_steps": found.get("steps", 19)} | keywords
    configs = []
    for block in BLOCKS[path.stem.partition("-")[0]]:
        allowed = given if block != "sft" else {name: given[name] for name in given if name != "beta"}
        configs.append((block, training_config(block, preset[block], tmp_path, **allowed), preset[block]))
    return configs


@pytest.mark.parametrize("path", TRAININGS, ids=relative)
def test_a_training_is_a_config_that_trl_accepts_with_the_files_values(path, tmp_path):
    classes = {"sft": SFTConfig, "dpo": DPOConfig, "grpo": GRPOConfig}
    found = values(path)
    for block, config, given in _configs(path, tmp_path):
        built = config.build()
        assert type(built) is classes[block]
        assert (built.max_steps, built.learning_rate, built.seed) == (
            config.max_steps,
            found["learning_rate"],
            found["seed"],
        )
        for name in given.keys() - {"lora", "launch"}:
            assert getattr(built, name) == given[name], f"{name} of the preset's block {block} reaches TRL"
        adapters = config.adapters()
        assert (adapters and adapters.r) == given.get("lora", {}).get("r")
        per_step = built.per_device_train_batch_size * built.gradient_accumulation_steps
        if block == "grpo":
            assert per_step % built.num_generations == 0
            assert built.beta == found.get("beta", 0.01)


def test_an_unknown_field_of_a_block_is_an_error_that_names_both(tmp_path):
    with pytest.raises(ValueError, match=r"'batch_size' of the preset's block `grpo` is no field of .*GRPOConfig"):
        training_config("grpo", {"batch_size": 4}, tmp_path, max_steps=1)
    with pytest.raises(ValueError, match=r"'num_generations' of the preset's block `sft` is no field of .*SFTConfig"):
        training_config("sft", {"num_generations": 4}, tmp_path, max_steps=1)
    with pytest.raises(ValueError, match=r"'steps' of the call is no field"):
        training_config("dpo", {}, tmp_path, steps=1)
    with pytest.raises(
        ValueError, match=r"'rank' of the preset's block `sft`, `lora`, is no field of peft's LoraConfig"
    ):
        training_config("sft", {"lora": {"rank": 4}}, tmp_path, max_steps=1)
    with pytest.raises(
        ValueError, match="'output_dir' of the preset's block `sft` is no field of TRL's SFTConfig that"
    ):
        training_config("sft", {"output_dir": "x"}, tmp_path, max_steps=1)
    with pytest.raises(ValueError, match="needs max_steps"):
        training_config("sft", {}, tmp_path)


@pytest.mark.parametrize("path", [path for path in TRAININGS if path.parent.name == "qwen7b"], ids=relative)
def test_with_launch_in_place_of_lora_each_of_eight_processes_has_its_part_of_a_batch(path, tmp_path):
    """As the README has it for all weights on eight GPUs: `launch` in place of `lora`, and other batches."""
    launch = "params/qwen7b/accelerate/fsdp.yaml"
    layout = ClusterConfig.from_yaml_file(root() / launch)
    for block, whole, _ in _configs(path, tmp_path):
        batch = whole.per_device_train_batch_size * whole.gradient_accumulation_steps
        size = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 16 if block == "grpo" else 4}
        [config] = [c for name, c, _ in _configs(path, tmp_path, lora=None, launch=launch, **size) if name == block]
        assert (config.adapters(), config.launch, config.in_process().launch) == (None, launch, None)
        built = config.in_process().build()
        assert built.per_device_train_batch_size * built.gradient_accumulation_steps * layout.num_processes == batch


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
