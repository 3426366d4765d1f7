"""Checkpoints: measures saved steps of a training and selects the best one by what its programs do.

Validation loss is recorded beside it for comparison: it tells how well a model fits its examples, not whether its
programs run.
"""

import re
from pathlib import Path

import pandas as pd
import torch
from transformers import PreTrainedModel as Model
from transformers import PreTrainedTokenizerBase as Tokenizer

from lib.evaluation.evaluate import Subject, evaluate
from lib.evaluation.export import CheckpointError, require_complete
from lib.metrics import RAN_TO_THE_END
from lib.policy.engines import TransformersEngine
from lib.policy.models import load_policy, load_tokenizer
from lib.policy.prompts import answer, prompt_ids
from lib.policy.protocols import Protocol
from lib.problems import Problem
from lib.runs.paths import write_atomically
from lib.runs.record import to_json
from lib.statistics import paired_bootstrap

SELECTION_SET = "contests_valid"
# The metric of SELECTION_SET that a phase is selected by, then those that break its ties; then the earlier step wins.
SELECTION = {"sft": ("exec_success_rate",), "rl": ("accepted_at_1", "pass_ratio_mean")}
LOGITS_TOKENS = 8192  # in a batch of validation_loss: their logits take 5 GB for a 7B model

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

    `pairs` are for the validation loss. Returns the summary. Raises CheckpointError, before it loads anything, for an
    incomplete model.
    """
    require_complete(path)
    model, tokenizer = load_policy(path), load_tokenizer(path)
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
    measured = {summary["step"]: summary["datasets"][SELECTION_SET] for summary in summaries}
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
    prefix = f"summary.datasets.{SELECTION_SET}"
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


def ran_against(folder: Path, control: int, selected: int) -> dict[str, float]:
    """Programs of SELECTION_SET that run to their end: checkpoint `selected` minus `control`, in points.

    Returns `points` and the 95 % paired bootstrap interval, `low` and `high`. `folder` has an eval_step_<N> of each.
    """
    ran = []
    for step in (control, selected):
        verdicts = pd.read_csv(folder / f"eval_step_{step}" / "verdicts.csv")
        ran.append(verdicts.error_type[verdicts.dataset == SELECTION_SET].isin(RAN_TO_THE_END).tolist())
    gain = paired_bootstrap(*ran)
    return {"points": 100 * gain["difference"], "low": 100 * gain["low"], "high": 100 * gain["high"]}


@torch.inference_mode()
def validation_loss(model: Model, tokenizer: Tokenizer, pairs: list[Pair], batch_size: int = 32) -> float:
    """Mean negative log-likelihood, in nats, of a token of the answers, the end token included."""
    rows = []
    for conversation, program in pairs:
        prompt = prompt_ids(tokenizer, conversation)
        target = [*tokenizer(answer(program), add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        rows.append((prompt + target, [-100] * len(prompt) + target))
    rows.sort(key=lambda row: len(row[0]))
    batch_size = max(1, min(batch_size, LOGITS_TOKENS // len(rows[-1][0])))
    total = tokens = 0.0
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        width = len(batch[-1][0])
        ids, labels = (
            torch.tensor([row[part] + [fill] * (width - len(row[part])) for row in batch], device=model.device)
            for part, fill in ((0, tokenizer.pad_token_id), (1, -100))
        )
        # Padded on the right: no token of an answer attends to what follows it, so no mask is needed.
        logits = model(input_ids=ids).logits[:, :-1].float()
        total += torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum"
        ).item()
        tokens += (labels[:, 1:] != -100).sum().item()
    return total / tokens
