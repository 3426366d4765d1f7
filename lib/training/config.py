"""Builds the configuration of a training from a preset and a notebook's parameters.

    config = training_config("grpo", run.preset["grpo"], run.folder / "checkpoints", scratch=run.scratch,
                             max_steps=steps, learning_rate=learning_rate, beta=beta, seed=seed)
    curve = train_grpo(model, tokenizer, problems, judge, reward, config)

1. The preset's blocks `sft`, `dpo` and `grpo`, and the keywords, are fields of TRL's SFTConfig, DPOConfig and
   GRPOConfig under TRL's own names. A field that the class does not have is an error that names the field and the
   block.
2. Two keys of a block are not TRL's: `lora`, the arguments of peft's LoraConfig, and `launch`, the file of an
   accelerate configuration (`lib.training.launch`).
3. Keywords override the block, and both override `DEFAULTS`, this project's changes to TRL's defaults.
4. `TrainingConfig.build` makes TRL's object. It is called inside each training process, since TRL's classes look at the
   process group and the device when they are made; the description itself is plain data that can be pickled.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import set_seed
from trl import DPOConfig, GRPOConfig, SFTConfig

TRL_CONFIGS = {"sft": SFTConfig, "dpo": DPOConfig, "grpo": GRPOConfig}
DEFAULTS: dict[str, dict[str, Any]] = {
    "all": {
        "gradient_checkpointing": False,  # the models are small; a preset with a large model turns it on
        "save_steps": 0,  # no checkpoints
        "seed": 0,
        "bf16": False,  # weights stay in the precision they were saved in
        "report_to": "none",
        "dataloader_pin_memory": False,
        "disable_tqdm": True,  # progress bars freeze in an executed notebook
    },
    "sft": {
        "per_device_train_batch_size": 32,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "cosine",
        "weight_decay": 0.01,
        "max_length": 512,
        "completion_only_loss": True,
        "logging_steps": 10,
    },
    "dpo": {
        "per_device_train_batch_size": 32,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "constant_with_warmup",  # so that a training can be continued or stopped at any step
        "beta": 0.1,
        "max_length": 4096,
        "train_sampling_strategy": "sequential",  # already ordered: pairs of similar length share a batch
        "precompute_ref_log_probs": True,  # no second model in memory, and a step costs a third less
        "logging_steps": 1,
    },
    "grpo": {
        "per_device_train_batch_size": 64,  # completions per step: problems times num_generations
        "num_generations": 8,
        "max_completion_length": 160,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "constant_with_warmup",
        "beta": 0.01,  # above 0, so that the reference model stays and the KL is logged
        "temperature": 1.0,
        "scale_rewards": "group",
        "shuffle_dataset": False,  # already ordered by `lib.training.grpo.order_problems`
        "logging_steps": 1,
    },
}
WARMUP = {"sft": lambda steps: round(0.05 * steps), "dpo": lambda steps: max(1, steps // 10)}
WARMUP["grpo"] = lambda steps: max(1, steps // 20)
SET_HERE = ("output_dir", "save_strategy", "save_only_model", "use_cpu")


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
        """Builds TRL's SFTConfig, DPOConfig or GRPOConfig for this process, with some fields changed."""
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
        set_seed(self.fields["seed"])
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
    """Returns the configuration of a training of `kind` ("sft", "dpo" or "grpo") from a preset's `block` and keywords.

    `keywords`: fields of TRL's class, `lora` or `launch`; `max_steps` is required. Raises ValueError for a field that
    TRL's class (or peft's LoraConfig) does not have, or that the training sets itself.
    """
    given = {"": block, "of the call": keywords}
    names = {field.name for field in fields(TRL_CONFIGS[kind]) if field.init} - set(SET_HERE)
    for where, values in given.items():
        place = where or f"of the preset's block `{kind}`"
        if unknown := sorted(values.keys() - names - {"lora", "launch"}):
            why = "is set by the training itself" if unknown[0] in SET_HERE else f"is no field of TRL's {kind} config"
            raise ValueError(f"{unknown[0]!r} {place} {why} ({TRL_CONFIGS[kind].__name__})")
        adapters = values.get("lora") or {}
        if unknown := sorted(adapters.keys() - {field.name for field in fields(LoraConfig)}):
            raise ValueError(f"{unknown[0]!r} {place}, `lora`, is no field of peft's LoraConfig")
    values = DEFAULTS["all"] | DEFAULTS[kind] | block | keywords
    if "max_steps" not in values:
        raise ValueError(f"a training of kind {kind} needs max_steps")
    values = {"warmup_steps": WARMUP[kind](values["max_steps"])} | values
    values["logging_steps"] = min(values["logging_steps"], values["max_steps"])
    lora: Any = values.pop("lora", None)
    launch: Any = values.pop("launch", None)
    return TrainingConfig(kind, values, folder, scratch, lora, launch, completions)
