"""Metrics of multi-round repair, and of its control, resampling. Pure functions, no torch.

Repair and resampling start from the same first answer and stop by the same rule: both look at public tests only, and
continue only where these fail. Repair spends its next tokens on an answer to the feedback, resampling on another sample
from the original prompt. They are compared at an equal token budget, counted in two ways: generated, and generated plus
read, because a repair prompt is longer than a statement.

The value of k retries is the mean over all ways to draw them from the samples, computed exactly.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from lib.evaluation.best_of_n import Sample, p_accepted
from lib.evaluation.dialogues import Dialogue, Turn
from lib.judge.verdict import ERROR_TYPES
from lib.statistics import bootstrap, mcnemar_exact, paired_bootstrap, wilson

RESAMPLES = 2_000  # of a bootstrap interval
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
    n, several = len(dialogues), [dialogue for dialogue in dialogues if len(dialogue.turns) > 1]
    first, last = ([dialogue.turns[k].verdict for dialogue in dialogues] for k in (0, -1))
    solved = {"repair": sum(v.accepted for v in last), "single": sum(v.accepted for v in first)}
    rejected, recovered = n - solved["single"], sum(b.accepted > a.accepted for a, b in zip(first, last, strict=True))
    deltas = [dialogue.last.verdict.pass_ratio - dialogue.turns[0].verdict.pass_ratio for dialogue in several]
    by_round = [_totals([run.turns[k] for run in dialogues if len(run.turns) > k]) for k in range(rounds)]
    total = {name: sum(of_round[name] for of_round in by_round) for name in by_round[0]}
    spent = {"repair": total, "single": by_round[0]}

    def cost_per_solved(*names: str) -> dict[str, float | None]:
        return {k: sum(spent[k][name] for name in names) / solved[k] if solved[k] else None for k in solved}

    return {
        "n": n,
        "rounds": rounds,
        "accepted_at_1": solved["single"] / n,
        "accepted_at_1_interval": list(wilson(solved["single"], n)),
        "accepted_at_multi": solved["repair"] / n,
        "accepted_at_multi_interval": list(wilson(solved["repair"], n)),
        "recovery_rate": recovered / rejected if rejected else None,
        "recovery_rate_interval": list(wilson(recovered, rejected)),
        "missed": sum(dialogue.ending == "passed" and not dialogue.last.verdict.accepted for dialogue in dialogues),
        "delta_pass_ratio": {
            "n": len(deltas),
            "mean": fmean(deltas) if deltas else None,
            **{f"p{q}": float(np.quantile(deltas, q / 100)) if deltas else None for q in (50, 90)},
        },
        "avg_rounds_used": fmean(len(dialogue.turns) for dialogue in dialogues),
        "saved_rounds": 1 - total["dialogues"] / (n * rounds),
        "endings": dict(Counter(dialogue.ending for dialogue in dialogues)),
        "by_round": by_round,
        "total": total,
        "cost_per_solved_tokens": cost_per_solved("tokens"),
        "cost_per_solved_all_tokens": cost_per_solved("tokens", "prompt_tokens"),
        "cost_per_solved_judge_s": cost_per_solved("public_judge_s"),
    }


def _totals(turns: Sequence[Turn]) -> dict[str, float]:
    return {
        "dialogues": len(turns),
        "accepted": sum(turn.verdict.accepted for turn in turns),
        "tokens": sum(turn.completion.tokens for turn in turns),
        "prompt_tokens": sum(len(turn.prompt_ids) for turn in turns),
        "public_judge_s": sum(turn.public_verdict.judge_time for turn in turns if turn.public_verdict),
    }


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
    """A problem under resampling with 0, 1, ... retries: probability of acceptance, tokens generated, tokens read."""

    accepted: list[float]
    tokens: list[float]
    prompt_tokens: list[float]


def resampled(dialogues: Sequence[Dialogue], drawn: Sequence[Sequence[tuple[Sample, bool, bool]]]) -> list[Retries]:
    """Resampling on demand in place of the later rounds of each dialogue.

    `drawn`: as `lib.evaluation.dialogues.resample` returns it, equally many samples for each problem that failed its
    public tests in round 1, none for the others. Resampling stops at the first sample that passes all public tests; if
    none does, it selects the one that passes most of them.
    """
    most = max(map(len, drawn), default=0)
    retries = []
    for dialogue, samples in zip(dialogues, drawn, strict=True):
        turn = dialogue.turns[0]
        read = len(turn.prompt_ids)
        accepted, prompts = [float(turn.verdict.accepted)], [float(read)]
        tokens = [float(turn.completion.tokens)]
        if samples:
            seen, _, right = zip(*samples, strict=True)
            accepted += p_accepted("public tests", seen, right)
        passing, failing = ([sample.tokens for sample, passed, _ in samples if passed == ok] for ok in (True, False))
        for k in range(most):
            # Retry k + 1 is drawn if the k before it failed, and is equally likely to be any of the other samples.
            needed = math.comb(len(failing), k) / math.comb(len(samples), k) if samples else 0.0
            others = sum(passing) + (len(failing) - k) * (fmean(failing) if failing else 0.0)
            tokens.append(tokens[-1] + (needed * others / (len(samples) - k) if needed else 0.0))
            prompts.append(prompts[-1] + needed * read)
        retries.append(Retries(accepted if samples else accepted * (most + 1), tokens, prompts))
    return retries


def at_budget(retries: Sequence[Retries], budget: float, with_prompts: bool = False) -> dict:
    """Resampling for `budget` tokens per problem on average, as a random mixture of two numbers of retries.

    Returns `retries` (allowed on average), `tokens` spent and `accepted`, the probability of each problem. Where the
    budget exceeds the cost of all samples, `tokens` is that cost.
    """
    costs = [
        fmean(retry.tokens[k] + (retry.prompt_tokens[k] if with_prompts else 0) for retry in retries)
        for k in range(len(retries[0].tokens))
    ]
    k = max((k for k, cost in enumerate(costs) if cost <= budget), default=0)
    share = 0.0
    if k + 1 < len(costs) and budget > costs[k]:
        share = (budget - costs[k]) / (costs[k + 1] - costs[k]) if costs[k + 1] > costs[k] else 0.0
    other = min(k + 1, len(costs) - 1)
    return {
        "retries": k + share,
        "tokens": (1 - share) * costs[k] + share * costs[other],
        "accepted": [(1 - share) * retry.accepted[k] + share * retry.accepted[other] for retry in retries],
    }


def by_retries(retries: Sequence[Retries], seed: int = 0) -> list[dict]:
    """The curve of resampling: per number of retries the `tokens` generated per problem and the share `accepted`, with
    its 95 % bootstrap interval over problems (`low`, `high`)."""
    rows = []
    for k in range(len(retries[0].tokens)):
        values = [retry.accepted[k] for retry in retries]
        low, high = bootstrap(values, resamples=RESAMPLES, seed=seed)
        tokens = fmean(retry.tokens[k] for retry in retries)
        rows.append({"retries": k, "tokens": tokens, "accepted": fmean(values), "low": low, "high": high})
    return rows


def compare(control: Sequence[float], treated: Sequence[float], seed: int = 0) -> dict:
    """Repair compared with a control on the same problems: both shares, the difference in `points` with a 95 % paired
    bootstrap interval, and McNemar's exact `p` if both are verdicts and not probabilities."""
    gain = paired_bootstrap(control, treated, resamples=RESAMPLES, seed=seed)
    exact = all(value in (0, 1) for value in (*control, *treated))
    return {
        "control": fmean(control),
        "repair": fmean(treated),
        "points": 100 * gain["difference"],
        "low": 100 * gain["low"],
        "high": 100 * gain["high"],
        "p": mcnemar_exact([*map(bool, control)], [*map(bool, treated)])["p_value"] if exact else None,
    }
