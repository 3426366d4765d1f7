"""Metrics of multi-round repair, and of its control, resampling. Pure functions, no torch.

Repair and resampling start from the same first answer and continue only where public tests fail: repair with an answer
to the feedback, resampling with another sample from the original prompt. They are compared at an equal token budget,
counted in two ways: generated, and generated plus read, because a repair prompt is longer than a statement. The value
of k retries is the mean over all ways to draw them from the samples, computed exactly.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.evaluation.best_of_n import Sample, p_accepted
from lib.evaluation.dialogues import Dialogue
from lib.judge.verdict import ERROR_TYPES
from lib.statistics import mean, wilson

NOT_CONTINUED = "not continued"


def summary(dialogues: Sequence[Dialogue], rounds: int) -> dict:
    """The numbers of Phase 4 with at most `rounds` rounds.

    By all tests: `accepted_at_1` after round 1, `accepted_at_multi` at the end, and `recovery_rate`, the share accepted
    at the end of those rejected in round 1; each `_interval` is Wilson's, 95 %. `missed`: rejected programs that pass
    the public tests. `delta_pass_ratio`: last minus first, of dialogues with several rounds. `by_round` and `total`:
    `dialogues`, `accepted`, `tokens` generated, `prompt_tokens`, and `public_judge_s`, CPU seconds of the public tests.
    `saved_rounds`: share of all rounds that were not needed. `cost_per_solved_...` of repair and of its first round
    alone, None if nothing is solved: `tokens` generated, `all_tokens` with those read, `judge_s`.
    """
    dialogues = [dialogue.upto(rounds) for dialogue in dialogues]
    turns = pd.DataFrame(
        {
            "dialogue": row,
            "round": number,
            "pass_ratio": turn.verdict.pass_ratio,
            "dialogues": 1,
            "accepted": int(turn.verdict.accepted),
            "tokens": turn.completion.tokens,
            "prompt_tokens": len(turn.prompt_ids),
            "public_judge_s": turn.public_verdict.judge_time if turn.public_verdict else 0.0,
        }
        for row, dialogue in enumerate(dialogues)
        for number, turn in enumerate(dialogue.turns)
    ).set_index("dialogue")
    first, last = turns[turns["round"] == 0], turns[~turns.index.duplicated(keep="last")]
    sums = turns.groupby("round").sum().reindex(range(rounds), fill_value=0).drop(columns="pass_ratio")
    by_round, total = sums.to_dict("records"), sums.agg("sum").to_dict()
    n, rejected = len(dialogues), int((first.accepted == 0).sum())
    deltas = (last.pass_ratio - first.pass_ratio)[last["round"] > 0]
    spent = {"repair": total, "single": by_round[0]}
    solved = {"repair": last.accepted.sum(), "single": first.accepted.sum()}

    def cost_per_solved(*names: str) -> dict[str, float | None]:
        return {k: float(sum(spent[k][name] for name in names) / solved[k]) if solved[k] else None for k in spent}

    return {
        "n": n,
        "rounds": rounds,
        **_rate("accepted_at_1", n - rejected, n),
        **_rate("accepted_at_multi", int(last.accepted.sum()), n),
        **_rate("recovery_rate", int((last.accepted > first.accepted).sum()), rejected),
        "missed": sum(dialogue.ending == "passed" and not dialogue.last.verdict.accepted for dialogue in dialogues),
        "delta_pass_ratio": {
            "n": len(deltas),
            "mean": mean(deltas),
            **{f"p{q}": float(deltas.quantile(q / 100)) if len(deltas) else None for q in (50, 90)},
        },
        "avg_rounds_used": len(turns) / n,
        "saved_rounds": 1 - len(turns) / (n * rounds),
        "endings": dict(Counter(dialogue.ending for dialogue in dialogues)),
        "by_round": by_round,
        "total": total,
        "cost_per_solved_tokens": cost_per_solved("tokens"),
        "cost_per_solved_all_tokens": cost_per_solved("tokens", "prompt_tokens"),
        "cost_per_solved_judge_s": cost_per_solved("public_judge_s"),
    }


def _rate(name: str, k: int, n: int) -> dict:
    return {name: k / n if n else None, f"{name}_interval": list(wilson(k, n))}


def transitions(dialogues: Sequence[Dialogue], number: int) -> dict[str, dict[str, int]]:
    """Error type in round `number` -> error type in the next round, or NOT_CONTINUED -> how many dialogues."""
    counts = {a: dict.fromkeys((*ERROR_TYPES, NOT_CONTINUED), 0) for a in ERROR_TYPES}
    for dialogue in dialogues:
        types = [turn.verdict.error_type for turn in dialogue.turns[number - 1 : number + 1]]
        if types:
            counts[types[0]][types[1] if len(types) > 1 else NOT_CONTINUED] += 1
    return counts


@dataclass(frozen=True)
class Retries:
    """Resampling with 0, 1, ... retries (columns) for each problem (rows): the probability of acceptance, and the
    expected numbers of tokens generated and read."""

    accepted: np.ndarray
    tokens: np.ndarray
    prompt_tokens: np.ndarray


def resampled(dialogues: Sequence[Dialogue], drawn: Sequence[Sequence[tuple[Sample, bool, bool]]]) -> Retries:
    """Resampling on demand in place of the later rounds of each dialogue. `drawn`: of `dialogues.resample`.

    Resampling stops at the first sample that passes all public tests; if none does, it selects the one that passes
    most.
    """
    first = [dialogue.turns[0] for dialogue in dialogues]
    shape = 1, 1 + max(map(len, drawn), default=0)
    accepted = np.tile([[float(turn.verdict.accepted)] for turn in first], shape)
    tokens = np.tile([[float(turn.completion.tokens)] for turn in first], shape)
    prompt_tokens = np.tile([[float(len(turn.prompt_ids))] for turn in first], shape)
    for row, samples in enumerate(drawn):
        if samples:
            seen, passed, right = zip(*samples, strict=True)
            accepted[row, 1:] = p_accepted("public tests", seen, right)
            lengths = pd.Series([sample.tokens for sample in seen])
            passing, failing = lengths[list(passed)], lengths[[not ok for ok in passed]]
            # Retry k + 1 is drawn if the k before it failed, and is equally likely to be any of the other samples.
            for k in range(len(samples)):
                needed = math.comb(len(failing), k) / math.comb(len(samples), k)
                others = passing.sum() + (len(failing) - k) * (mean(failing) or 0.0)
                tokens[row, k + 1 :] += needed * others / (len(samples) - k)
                prompt_tokens[row, k + 1 :] += needed * prompt_tokens[row, 0]
    return Retries(accepted, tokens, prompt_tokens)


def at_budget(retries: Retries, budget: float, with_prompts: bool = False) -> dict:
    """Resampling for `budget` tokens per problem on average, as a random mixture of two numbers of retries.

    Returns `retries` (allowed on average), `tokens` spent and `accepted`, the probability of each problem. Where the
    budget exceeds the cost of all samples, `tokens` is that cost.
    """
    costs = (retries.tokens + (retries.prompt_tokens if with_prompts else 0)).mean(0)
    allowed = float(np.interp(budget, costs, range(len(costs))))
    k, other, share = int(allowed), math.ceil(allowed), allowed % 1
    accepted = (1 - share) * retries.accepted[:, k] + share * retries.accepted[:, other]
    return {
        "retries": allowed,
        "tokens": float((1 - share) * costs[k] + share * costs[other]),
        "accepted": accepted.tolist(),
    }
