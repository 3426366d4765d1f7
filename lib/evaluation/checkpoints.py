"""Checkpoints: measures saved steps of a training and selects the best one by what its programs do, not by its loss."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from transformers import PreTrainedModel as Model
from transformers import PreTrainedTokenizerBase as Tokenizer

from lib.evaluation.evaluate import Subject, evaluate
from lib.evaluation.export import CheckpointError, load_complete
from lib.policy.engines import TransformersEngine
from lib.policy.likelihood import log_probabilities
from lib.policy.prompts import answer, prompt_ids
from lib.policy.protocols import Protocol
from lib.problems import Problem, problem_sets
from lib.runs.paths import write_atomically
from lib.runs.record import to_json

# The metric of the main valid set that a phase is selected by, then those that break ties; then the earlier step wins.
SELECTION = {"sft": ("exec_success_rate",), "rl": ("accepted_at_1", "pass_ratio_mean")}

Pair = tuple[list[dict[str, str]], str]  # (conversation, program)


def find_checkpoints(folder: Path) -> dict[int, Path]:
    """step -> folder of each `checkpoint-<step>` that a Trainer saved, in the order of the steps.

    Raises FileNotFoundError if there is none.
    """
    steps = {path: re.fullmatch(r"checkpoint-(\d+)", path.name) for path in folder.glob("*")}
    checkpoints = {int(match[1]): path for path, match in steps.items() if match}
    if not checkpoints:
        raise FileNotFoundError(f"no checkpoint-<step> in {folder.name}: train with save_steps, and keep all of them")
    return dict(sorted(checkpoints.items()))


def due_sets(preset: Mapping, step: int, last: int) -> list[str]:
    """Names of the sets on which the checkpoint of a step is measured. `last`: the step of the last checkpoint.

    A set with `every: 20` in the preset is measured at every checkpoint whose step is a multiple of 20, and at the last
    one. Sets without `every`, the test sets among them, are measured at the end of a phase by a run that reports.
    """
    sets = problem_sets(preset)
    return [name for name, chosen in sets.items() if chosen.every and (step == last or step % chosen.every == 0)]


def measure_checkpoint(
    path: Path,
    subject: Subject,
    sets: dict[str, list[Problem]],
    judge,
    folder: Path,
    protocol: Protocol,
    pairs: list[Pair],
) -> dict:
    """Evaluates a checkpoint and writes `folder`/{metrics.json, summary.json, verdicts.csv, qa_logs/}.

    `pairs` are for the validation loss. Returns the summary. Raises CheckpointError for an incomplete model.
    """
    model, tokenizer = load_complete(path)
    loss = validation_loss(model, tokenizer, pairs) if pairs else None
    metrics = evaluate(TransformersEngine(model, tokenizer), sets, judge, folder, protocol, subject)
    datasets = {
        name: {key: value for key, value in of_set.items() if key != "by_difficulty"}
        for name, of_set in metrics["datasets"].items()
    }
    described = ("protocol", "engine", "model", "checkpoint", "step", "seed", "manifest")
    summary = {**{key: metrics[key] for key in described}, "validation_loss": loss, "datasets": datasets}
    write_atomically(folder / "metrics.json", to_json(metrics))
    write_atomically(folder / "summary.json", to_json(summary))
    return summary


def select_best(phase: str, summaries: list[dict], refused: dict[int, str]) -> dict:
    """The content of best_checkpoint.json: the selected checkpoint, the rule, and every checkpoint with its value.

    `phase`: a key of SELECTION. `refused`: step -> reason. Raises CheckpointError if there is nothing to select from.
    """
    if not summaries:
        raise CheckpointError(f"no valid checkpoint to select from: {'; '.join(refused.values())}")
    metric, *ties = SELECTION[phase]
    valid = _valid_set(summaries[0]["datasets"])
    measured = {summary["step"]: summary["datasets"][valid] for summary in summaries}
    best = min(measured, key=lambda step: (*(-measured[step][name] for name in (metric, *ties)), step))
    rows: dict[int, dict] = {
        step: {"step": step, "checkpoint": f"checkpoint-{step}", "refused": why} for step, why in refused.items()
    }
    for summary in summaries:
        rows[summary["step"]] = {
            "step": summary["step"],
            "checkpoint": summary["checkpoint"],
            "value": measured[summary["step"]][metric],
            "interval": measured[summary["step"]][f"{metric}_interval"],
            "sets": list(summary["datasets"]),
            "validation_loss": summary["validation_loss"],
            "refused": None,
        }
    prefix = f"summary.datasets.{valid}"
    return {
        "selection_metric": f"{prefix}.{metric}",
        "mode": "max",
        "ties": [*(f"{prefix}.{name}" for name in ties), "the earlier step"],
        "best_step": best,
        "best_checkpoint": rows[best]["checkpoint"],
        "best_value": rows[best]["value"],
        **{name: summaries[0][name] for name in ("model", "protocol", "seed", "manifest")},
        "checkpoints": [row for _, row in sorted(rows.items())],
    }


def _valid_set(names: Iterable[str]) -> str:
    """The set that checkpoints are selected by: the main one, whose name ends so in every preset."""
    return next(name for name in names if name.endswith("_valid"))


def validation_loss(model: Model, tokenizer: Tokenizer, pairs: list[Pair]) -> float:
    """Mean negative log-likelihood, in nats, of a token of the answers, the end token included."""
    prompts = [prompt_ids(tokenizer, conversation) for conversation, _ in pairs]
    answers = [tokenizer(answer(program), add_special_tokens=False)["input_ids"] for _, program in pairs]
    rows = [(prompt, [*ids, tokenizer.eos_token_id]) for prompt, ids in zip(prompts, answers, strict=True)]
    rows.sort(key=lambda row: len(row[0]) + len(row[1]))
    return -log_probabilities(model, rows, tokenizer.pad_token_id).mean().item()
