"""Measures a policy while it is trained: greedy answers to fixed problems, and its KL to the initial policy.

The KL is the estimator that TRL logs as `kl` in GRPO, in the same direction: KL(policy || initial policy), over tokens
sampled from the policy at temperature 1, as the mean over all tokens of

    exp(start(token) - policy(token)) - (start(token) - policy(token)) - 1        (log-probabilities; in nats per token)

which is the estimator k3 of Schulman ("Approximating KL Divergence", 2020, joschu.net/blog/kl-approx.html), eq. 4 of
the GRPO paper (arXiv 2402.03300). It is unbiased and never negative. TRL computes it on the training prompts of a step,
this module on one sampled answer to each problem of the first set.
"""

import math
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lib.judge import Verdict
from lib.policy.generation import generate
from lib.policy.prompts import extract, messages
from lib.problems import Problem
from lib.statistics import mcnemar_exact

MAX_TOKENS = 8192  # of a batch whose log-probabilities are read; the logits of a 7B model then take 5 GB

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class EvalPoint:
    """One measurement: the verdicts on greedy answers, set -> problem id -> verdict, and the KL to step 0."""

    step: int
    verdicts: dict[str, dict[str, Verdict]]
    kl: float = 0.0

    def without_tests(self) -> "EvalPoint":
        """The same without the results of single tests, which early stopping does not need."""
        verdicts = {
            name: {key: replace(verdict, tests=(), feedback="") for key, verdict in by_problem.items()}
            for name, by_problem in self.verdicts.items()
        }
        return replace(self, verdicts=verdicts)

    def stats(self, start: "EvalPoint") -> dict[str, dict]:
        """Per set, over the judged problems: rates, and the problems newly failed (`lost`) and newly solved (`won`)."""
        return {name: _stats(start.verdicts[name], verdicts) for name, verdicts in self.verdicts.items()}


class GreedyProbe:
    """Makes an EvalPoint: judged greedy answers to `sets` (name -> problems), and the KL to the initial policy.

    The initial policy is that of step 0. Its trained weights (with LoRA, only the adapters) are kept in host memory and
    swapped in temporarily to compute its log-probabilities.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        sets: dict[str, list[Problem]],
        judge,
        *,
        max_new_tokens: int,
        instruction: str = "",
        seed: int = 0,
    ):
        self.tokenizer, self.sets, self.judge = tokenizer, sets, judge
        self.max_new_tokens, self.instruction, self.seed = max_new_tokens, instruction, seed
        self._start: Weights = {}

    def __call__(self, model: PreTrainedModel, step: int) -> EvalPoint:
        """Measures `model`. The call for step 0 also keeps the weights that later calls are compared with."""
        if step == 0:
            self._start = trained_weights(model)
        problems = [problem for group in self.sets.values() for problem in group]
        chats = [messages(problem, self.instruction) for problem in problems]
        answers = [completion.text for [completion] in generate(model, self.tokenizer, chats, **self._limits(0.0))]
        submissions = [(extract(text).program, problem) for text, problem in zip(answers, problems, strict=True)]
        verdicts = iter(self.judge.judge_many(submissions, progress=False))
        by_set = {name: {problem.id: next(verdicts) for problem in group} for name, group in self.sets.items()}
        return EvalPoint(step, by_set, self._kl(model) if step else 0.0)

    def _limits(self, temperature: float) -> dict:
        return {"max_new_tokens": self.max_new_tokens, "temperature": temperature, "seed": self.seed}

    def _kl(self, model: PreTrainedModel) -> float:
        chats = [messages(problem, self.instruction) for problem in next(iter(self.sets.values()))]
        prompts: list[Any] = [
            self.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False) for chat in chats
        ]
        answers = generate(model, self.tokenizer, prompts, **self._limits(1.0))
        rows = [(prompt, list(answer.ids)) for prompt, [answer] in zip(prompts, answers, strict=True)]
        policy = log_probabilities(model, rows, self.tokenizer.pad_token_id)
        with _swapped(model, self._start):
            start = log_probabilities(model, rows, self.tokenizer.pad_token_id)
        return k3(policy, start)


def k3(policy: torch.Tensor, start: torch.Tensor) -> float:
    """Estimates KL(policy || start) from the log-probabilities of tokens sampled from the policy (see module docs)."""
    ratio = start - policy
    return (ratio.exp() - ratio - 1).mean().item()


@torch.inference_mode()
def log_probabilities(model: PreTrainedModel, rows: list[tuple[list[int], list[int]]], pad: int) -> torch.Tensor:
    """The log-probability of each token of the answers, one after the other. `rows`: (prompt ids, answer ids)."""
    was_training = model.training
    model.eval()
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    size, values = max(1, MAX_TOKENS // width), []
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        # Padded on the right: no token attends to later ones, so no mask is needed.
        ids = [prompt + answer + [pad] * (width - len(prompt) - len(answer)) for prompt, answer in batch]
        logits = model(input_ids=torch.tensor(ids, device=model.device)).logits
        for row, (prompt, answer) in zip(logits, batch, strict=True):
            predictions = row[len(prompt) - 1 : len(prompt) + len(answer) - 1].float()
            chosen = predictions.gather(1, torch.tensor(answer, device=row.device)[:, None])[:, 0]
            values.append(chosen - predictions.logsumexp(-1))
    model.train(was_training)
    return torch.cat(values).cpu()


def trained_weights(model: torch.nn.Module) -> Weights:
    """A copy in the host's memory of the weights that are trained."""
    trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    return {name: weight.detach().to("cpu", copy=True) for name, weight in trained}


@contextmanager
def _swapped(model: torch.nn.Module, weights: Weights) -> Generator[None]:
    """Temporarily replaces the trained weights of the model."""
    kept = trained_weights(model)
    model.load_state_dict(weights, strict=False)
    try:
        yield
    finally:
        model.load_state_dict(kept, strict=False)


def _stats(start: dict[str, Verdict], verdicts: dict[str, Verdict]) -> dict:
    now = {key: verdict for key, verdict in verdicts.items() if verdict.error_type != "api_error"}
    pairs = [(start[key], now[key]) for key in now if key in start and start[key].error_type != "api_error"]
    success, timeout = _paired(pairs, "success"), _paired(pairs, "timeout")
    return {
        "n": len(now),
        "accepted_at_1": mean(verdict.accepted for verdict in now.values()),
        "change": success["change"],
        "lost": success["only_a"],
        "won": success["only_b"],
        "p_value": success["p_value"],
        "pass_ratio_mean": mean(verdict.pass_ratio for verdict in now.values()),
        "zero_reward_rate": mean(verdict.pass_ratio == 0 for verdict in now.values()),
        "timeout_rate": mean(verdict.error_type == "timeout" for verdict in now.values()),
        "timeout_change": timeout["change"],
        "timeout_p_value": timeout["p_value"],
        "api_error_rate": 1 - len(now) / len(verdicts),
    }


def _paired(pairs: list[tuple[Verdict, Verdict]], error_type: str) -> dict:
    """McNemar's exact test of the share of verdicts of this type, and the change of that share."""
    if not pairs:
        return {"only_a": 0, "only_b": 0, "p_value": 1.0, "change": 0.0}
    before, after = ([verdict.error_type == error_type for verdict in side] for side in zip(*pairs, strict=True))
    return mcnemar_exact(before, after) | {"change": fmean(after) - fmean(before)}


def mean(values: Iterable[float]) -> float | None:
    """The mean; None without values."""
    numbers = [float(value) for value in values]
    return math.fsum(numbers) / len(numbers) if numbers else None
