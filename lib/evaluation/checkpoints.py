"""Checkpoints: every saved step of a training, measured on the sets that are due; the best chosen by its programs.

Validation loss is kept beside it, to be looked at: it says how well a model learned its examples, not whether its
programs run.
"""

import re
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lib.evaluation.evaluate import Subject, evaluate
from lib.evaluation.export import CheckpointError, require_complete
from lib.policy.models import load_policy, load_tokenizer
from lib.policy.prompts import answer
from lib.problems import Problem
from lib.runs.paths import write_atomically
from lib.runs.record import to_json

# What a phase is selected by, in the order in which ties are broken; what is still equal goes to the earlier step.
_VALID = "summary.datasets.contests_valid"
SELECTION = {
    "sft": (f"{_VALID}.exec_success_rate",),
    "rl": (f"{_VALID}.accepted_at_1", f"{_VALID}.pass_ratio_mean"),
}
_NAMED = ("protocol", "engine", "model", "checkpoint", "step", "seed", "manifest")


def find_checkpoints(folder: Path) -> dict[int, Path]:
    """step -> folder of the `checkpoint-<step>` that a Trainer saved, in the order of the steps.

    Raises FileNotFoundError when there is none.
    """
    found = {
        int(match[1]): path for path in folder.glob("*") if (match := re.fullmatch(r"checkpoint-(\d+)", path.name))
    }
    if not found:
        raise FileNotFoundError(f"no checkpoint-<step> in {folder.name}: train with save_steps, and keep all of them")
    return dict(sorted(found.items()))


def measure_checkpoint(
    path: Path,
    subject: Subject,
    sets: dict[str, list[Problem]],
    judge,
    folder: Path,
    pairs: list[tuple[list[dict[str, str]], str]],
    **options,
) -> dict:
    """Evaluates a checkpoint and writes `folder`/{metrics.json, summary.json, verdicts.csv, qa_logs/}; the summary.

    `pairs`: (messages, program) for the validation loss. `options`: of `lib.evaluation.evaluate.evaluate`. Raises CheckpointError,
    before anything is loaded, for a folder that is no complete model.
    """
    require_complete(path)
    model, tokenizer = load_policy(path), load_tokenizer(path)
    loss = validation_loss(model, tokenizer, pairs) if pairs else None
    metrics = evaluate(model, tokenizer, sets, judge, folder, subject=subject, **options)
    kept = {
        name: {key: value for key, value in found.items() if key != "by_difficulty"}
        for name, found in metrics["datasets"].items()
    }
    summary = {**{key: metrics[key] for key in _NAMED}, "validation_loss": loss, "datasets": kept}
    write_atomically(folder / "metrics.json", to_json(metrics))
    write_atomically(folder / "summary.json", to_json(summary))
    return summary


def select_best(phase: str, summaries: list[dict], refused: dict[int, str]) -> dict:
    """What belongs into best_checkpoint.json: the choice, its rule, and every checkpoint with its value.

    `phase`: "sft" or "rl". `refused`: step -> reason. Raises CheckpointError when there is nothing to choose from.
    """
    if not summaries:
        raise CheckpointError(f"there is no sound checkpoint to choose from: {'; '.join(refused.values())}")
    metric, *ties = SELECTION[phase]
    values = {one["step"]: [_at(one, name) for name in (metric, *ties)] for one in summaries}
    best = min(values, key=lambda step: ([-value for value in values[step]], step))
    listed = [
        {
            "step": one["step"],
            "checkpoint": one["checkpoint"],
            "value": values[one["step"]][0],
            "interval": _at(one, f"{metric}_interval"),
            "sets": list(one["datasets"]),
            "validation_loss": one["validation_loss"],
            "refused": None,
        }
        for one in summaries
    ]
    listed += [{"step": step, "checkpoint": f"checkpoint-{step}", "refused": why} for step, why in refused.items()]
    [chosen] = [one for one in listed if one["step"] == best]
    return {
        "selection_metric": metric,
        "mode": "max",
        "ties": [*ties, "the earlier step"],
        "best_step": best,
        "best_checkpoint": chosen["checkpoint"],
        "best_value": chosen["value"],
        **{name: summaries[0][name] for name in ("model", "protocol", "seed", "manifest")},
        "checkpoints": sorted(listed, key=lambda one: one["step"]),
    }


@torch.inference_mode()
def validation_loss(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: list[tuple[list[dict[str, str]], str]],
    batch_size: int = 32,
) -> float:
    """Mean negative log-likelihood, in nats, of a token of the answers, the end token included."""
    rows = []
    for conversation, program in pairs:
        asked = tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_dict=False)
        said = tokenizer(answer(program), add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        rows.append((asked + said, [-100] * len(asked) + said))
    rows.sort(key=lambda row: len(row[0]))
    batch_size = max(1, min(batch_size, 8192 // len(rows[-1][0])))  # logits of 8192 tokens of a 7B model have 5 GB
    total = tokens = 0
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        width = len(batch[-1][0])
        ids, labels = (
            torch.tensor([row[part] + [fill] * (width - len(row[part])) for row in batch], device=model.device)
            for part, fill in ((0, tokenizer.pad_token_id), (1, -100))
        )
        # Padded on the right: no answer's token looks at what comes after it, so that no mask is needed.
        logits = model(input_ids=ids).logits[:, :-1].float()
        total += torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum"
        ).item()
        tokens += (labels[:, 1:] != -100).sum().item()
    return total / tokens


def _at(summary: dict, path: str):
    value = {"summary": summary}
    for key in path.split("."):
        value = value[key]
    return value
