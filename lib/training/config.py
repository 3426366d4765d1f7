"""Builds the configuration of a training from a preset and a notebook's parameters.

    config = training_config("grpo", run.preset["grpo"], run.folder / "checkpoints", scratch=run.scratch,
                             max_steps=steps, learning_rate=learning_rate, beta=beta, seed=seed)
    curve = train_grpo(model, tokenizer, problems, judge, reward, config)

1. The preset's blocks `sft`, `dpo` and `grpo` (also for RLOO), and the keywords, are fields of TRL's SFTConfig,
   DPOConfig, GRPOConfig and RLOOConfig under TRL's own names. Two keys are not TRL's: `lora`, the arguments of peft's
   LoraConfig, and `launch`, the file of an accelerate configuration (`lib.training.launch`).
2. Keywords override the block, and both override `defaults.yaml`.
3. `TrainingConfig.build` makes TRL's object inside each training process, since TRL's classes look at the process group
   and the device when they are made; the description itself is plain data that can be pickled.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import set_seed
from trl import DPOConfig, GRPOConfig, RLOOConfig, SFTConfig

from lib.runs.params_files import load_params_file

TRL_CONFIGS = {"sft": SFTConfig, "dpo": DPOConfig, "grpo": GRPOConfig, "rloo": RLOOConfig}
DEFAULTS = load_params_file(Path(__file__).with_name("defaults.yaml"))
WARMUP = {
    "sft": lambda steps: round(0.05 * steps),
    "dpo": lambda steps: max(1, steps // 10),
    "grpo": lambda steps: max(1, steps // 20),
    "rloo": lambda steps: max(1, steps // 20),
}
SET_HERE = {"output_dir", "save_strategy", "save_only_model", "use_cpu"}


@dataclass(frozen=True)
class TrainingConfig:
    """The description of one training. `fields`: of TRL's config class for `kind`, one of TRL_CONFIGS.

    `folder`: where checkpoints are saved. `scratch`: a folder that outlives an interrupted run, from which the training
    resumes (`lib.training.resume`); None: no resuming. `completions`: a file for sampled completions, or None.
    """

    kind: str
    fields: dict[str, Any]
    folder: Path
    scratch: Path | None = None
    lora: dict[str, Any] | None = None
    launch: str | None = None
    completions: Path | None = None

    def __getattr__(self, name: str) -> Any:
        """Returns a field of TRL's class: `config.max_steps`."""
        if name.startswith("__") or name == "fields" or name not in self.fields:
            raise AttributeError(f"a {self.__class__.__name__} has no field {name!r}")
        return self.fields[name]

    def build(self, **changes: Any) -> Any:
        """Builds the object of TRL's class for this process, with some fields changed."""
        values = self.fields | changes
        steps = values["save_steps"]
        return TRL_CONFIGS[self.kind](
            **values | {"save_steps": steps or values["max_steps"]},
            output_dir=str(self.folder),
            save_strategy="steps" if steps else "no",
            save_only_model=self.scratch is None,  # no training resumes from them
            use_cpu=values["bf16"] and not torch.cuda.is_available(),  # transformers refuses bf16 on a CPU unasked
        )

    def adapters(self) -> LoraConfig | None:
        """Returns peft's config, or None if all weights are trained. Seeds the process, because the trainer initializes
        the adapters at random before it sets its seed."""
        if not self.lora:
            return None
        set_seed(self.seed)
        return LoraConfig(**self.lora, task_type="CAUSAL_LM")

    def in_process(self) -> "TrainingConfig":
        """The same training without `launch`, with absolute folders."""
        names = ("folder", "scratch", "completions")
        absolute: dict[str, Any] = {name: path.resolve() for name in names if (path := getattr(self, name))}
        return replace(self, launch=None, **absolute)


def training_config(
    kind: str,
    block: dict[str, Any],
    folder: Path,
    *,
    scratch: Path | None = None,
    completions: Path | None = None,
    **keywords: Any,
) -> TrainingConfig:
    """Returns the configuration of a training of `kind` (of TRL_CONFIGS) from a preset's `block` and keywords.

    `keywords`: fields of TRL's class, `lora` or `launch`; `max_steps` is required. Raises ValueError for a field that
    TRL's class (or peft's LoraConfig) does not have, or that the training sets itself.
    """
    trl = TRL_CONFIGS[kind]
    known = {field.name for field in fields(trl) if field.init} - SET_HERE | {"lora", "launch"}
    for place, values in {f"of the preset's block `{kind}`": block, "of the call": keywords}.items():
        _require_known(values, known, place, f"TRL's {trl.__name__} that can be set here")
        adapters = {field.name for field in fields(LoraConfig)}
        _require_known(values.get("lora") or {}, adapters, f"{place}, `lora`,", "peft's LoraConfig")
    values = DEFAULTS["all"] | DEFAULTS[kind] | block | keywords
    if "max_steps" not in values:
        raise ValueError(f"a training of kind {kind} needs max_steps")
    values = {"warmup_steps": WARMUP[kind](values["max_steps"])} | values
    values["logging_steps"] = min(values["logging_steps"], values["max_steps"])
    lora, launch = values.pop("lora", None), values.pop("launch", None)
    return TrainingConfig(kind, values, folder, scratch, lora, launch, completions)


def _require_known(names: Iterable[str], known: set[str], place: str, config_class: str) -> None:
    if unknown := sorted(set(names) - known):
        raise ValueError(f"{unknown[0]!r} {place} is no field of {config_class}")
