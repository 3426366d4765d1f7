"""Measures a policy while it is trained: greedy answers to fixed problems, and its KL to the initial policy.

The KL is the estimator that TRL logs as `kl` in GRPO, in the same direction: KL(policy || initial policy), in nats per
token. TRL computes it on the training prompts of a step, this module on one answer to each problem of the first set,
sampled at temperature 1.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lib.evaluation.sampling import sample_and_judge
from lib.policy.generation import generate
from lib.policy.likelihood import log_probabilities
from lib.policy.prompts import messages, prompt_ids
from lib.policy.protocols import eval_at_1
from lib.problems import Problem
from lib.statistics import mcnemar_exact, mean

Weights = dict[str, torch.Tensor]
Outcome = tuple[str, float]  # error type, pass ratio


@dataclass(frozen=True)
class EvalPoint:
    """One measurement: the error type and pass ratio of greedy answers, set -> problem id -> both, and the KL to
    step 0."""

    step: int
    outcomes: dict[str, dict[str, Outcome]]
    kl: float = 0.0

    def stats(self, start: "EvalPoint") -> dict[str, dict]:
        """Per set, over the judged problems: rates, and the problems newly failed (`lost`) and newly solved (`won`)."""
        return {name: _stats(start.outcomes[name], outcomes) for name, outcomes in self.outcomes.items()}


class GreedyProbe:
    """Makes an EvalPoint from judged greedy answers to `sets` (name -> problems). The trained weights of step 0 (with
    LoRA, only the adapters) are kept in host memory and swapped in temporarily to compute their log-probabilities."""

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
        self.decoding = eval_at_1(max_new_tokens, instruction, seed)
        self._start: Weights = {}

    def __call__(self, model: PreTrainedModel, step: int) -> EvalPoint:
        """Measures `model`; the call for step 0 also keeps its weights."""
        if step == 0:
            self._start = trained_weights(model)
        problems = [problem for group in self.sets.values() for problem in group]
        prompt = {"instruction": self.decoding.instruction, "seed": self.decoding.seed}
        groups = sample_and_judge(model, self.tokenizer, problems, self.judge, self.decoding, limit=1.0, **prompt)
        outcomes = iter([(sample.verdict.error_type, sample.verdict.pass_ratio) for [sample] in groups])
        by_set = {name: {problem.id: next(outcomes) for problem in group} for name, group in self.sets.items()}
        return EvalPoint(step, by_set, self._kl(model) if step else 0.0)

    def _kl(self, model: PreTrainedModel) -> float:
        decoding, first_set = self.decoding, next(iter(self.sets.values()))
        prompts = [prompt_ids(self.tokenizer, messages(problem, decoding.instruction)) for problem in first_set]
        limits = {"max_new_tokens": decoding.max_new_tokens, "temperature": 1.0, "seed": decoding.seed}
        answers = generate(model, self.tokenizer, prompts, **limits)
        rows = [(prompt, list(answer.ids)) for prompt, [answer] in zip(prompts, answers, strict=True)]
        policy = log_probabilities(model, rows, self.tokenizer.pad_token_id)
        with _swapped(model, self._start):
            start = log_probabilities(model, rows, self.tokenizer.pad_token_id)
        return k3(policy, start)


def k3(policy: torch.Tensor, start: torch.Tensor) -> float:
    """Estimates KL(policy || start) from the log-probabilities of tokens sampled from the policy.

    This is the estimator k3 of Schulman ("Approximating KL Divergence", 2020, joschu.net/blog/kl-approx.html), eq. 4 of
    the GRPO paper (arXiv 2402.03300): unbiased and never negative.
    """
    ratio = start - policy
    return (ratio.exp() - ratio - 1).mean().item()


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


def _stats(start: dict[str, Outcome], outcomes: dict[str, Outcome]) -> dict:
    now = {key: outcome for key, outcome in outcomes.items() if outcome[0] != "api_error"}
    pairs = [(start[key][0], now[key][0]) for key in now if start.get(key, ("api_error",))[0] != "api_error"]
    success, timeout = _paired(pairs, "success"), _paired(pairs, "timeout")
    return {
        "n": len(now),
        "accepted_at_1": mean(error_type == "success" for error_type, _ in now.values()),
        "change": success["change"],
        "lost": success["only_a"],
        "won": success["only_b"],
        "p_value": success["p_value"],
        "pass_ratio_mean": mean(ratio for _, ratio in now.values()),
        "zero_reward_rate": mean(ratio == 0 for _, ratio in now.values()),
        "timeout_rate": mean(error_type == "timeout" for error_type, _ in now.values()),
        "timeout_change": timeout["change"],
        "timeout_p_value": timeout["p_value"],
        "api_error_rate": 1 - len(now) / len(outcomes),
    }


def _paired(pairs: list[tuple[str, str]], error_type: str) -> dict:
    """McNemar's exact test of the share of this error type, and the change of that share."""
    if not pairs:
        return {"only_a": 0, "only_b": 0, "p_value": 1.0, "change": 0.0}
    before, after = ([kind == error_type for kind in side] for side in zip(*pairs, strict=True))
    return mcnemar_exact(before, after) | {"change": fmean(after) - fmean(before)}
