"""What repair is worth and what it costs, and the control that it has to beat: drawing again. Pure functions, no torch.

Repair and resampling are given the same first answer and the same right to stop: both look at public tests only, and
both go on only where these fail. Repair spends its next tokens on an answer to the feedback, resampling on another
sample for the bare statement. The comparison is at equal tokens, counted in two ways: those generated, and those
generated and read, because a repair prompt is longer than a statement.

What k retries are worth is the mean over all ways to draw them from the samples that there are, computed exactly.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from lib.evaluation.best_of_n import Sample, p_accepted
from lib.judge.verdict import ERROR_TYPES
from lib.statistics import bootstrap, mcnemar_exact, paired_bootstrap, wilson

RESAMPLES = 2_000  # of a bootstrap interval
NOT_CONTINUED = "not continued"


def summary(dialogues: Sequence, rounds: int) -> dict:
    """The figures of Phase 4 for at most `rounds` rounds. `dialogues`: of `lib.evaluation.dialogues.run_dialogues`, one per problem.

    `accepted_at_1` after round 1 and `accepted_at_multi` at the end, by all tests; `recovery_rate`: of the problems
    whose first program was rejected, the share accepted at the end; `<name>_interval`, 95 % (Wilson). `missed`:
    rejected programs that public tests let pass. `delta_pass_ratio` (mean, p50, p90): last minus first, of the
    dialogues with more than one round. Per round and in total: `dialogues`, `tokens` generated, `prompt_tokens`,
    `public_judge_s` (CPU seconds of the public tests, which repair pays for). `saved_rounds`: share of all rounds that
    needed not be played. `cost_per_solved_tokens` of repair and of its first round alone: generated; `..._all_tokens`:
    with those read; None when nothing is solved.
    """
    own = [dialogue.upto(rounds) for dialogue in dialogues]
    first, last = ([one.turns[k].verdict for one in own] for k in (0, -1))
    rejected = [b for a, b in zip(first, last, strict=True) if not a.accepted]
    deltas = [one.last.verdict.pass_ratio - one.turns[0].verdict.pass_ratio for one in own if len(one.turns) > 1]
    by_round = [_round([one.turns[k] for one in own if len(one.turns) > k]) for k in range(rounds)]
    total = {name: sum(part[name] for part in by_round) for name in by_round[0]}
    solved = {"repair": sum(v.accepted for v in last), "single": sum(v.accepted for v in first)}
    spent = {"repair": total, "single": by_round[0]}
    n = len(own)
    return {
        "n": n,
        "rounds": rounds,
        "accepted_at_1": solved["single"] / n,
        "accepted_at_1_interval": list(wilson(solved["single"], n)),
        "accepted_at_multi": solved["repair"] / n,
        "accepted_at_multi_interval": list(wilson(solved["repair"], n)),
        "recovery_rate": sum(v.accepted for v in rejected) / len(rejected) if rejected else None,
        "recovery_rate_interval": list(wilson(sum(v.accepted for v in rejected), len(rejected))),
        "missed": sum(one.ending == "passed" and not one.last.verdict.accepted for one in own),
        "delta_pass_ratio": {
            "n": len(deltas),
            "mean": fmean(deltas) if deltas else None,
            "p50": float(np.quantile(deltas, 0.5)) if deltas else None,
            "p90": float(np.quantile(deltas, 0.9)) if deltas else None,
        },
        "avg_rounds_used": fmean(len(one.turns) for one in own),
        "saved_rounds": 1 - total["dialogues"] / (n * rounds),
        "endings": dict(Counter(one.ending for one in own)),
        "by_round": by_round,
        "total": total,
        "cost_per_solved_tokens": {k: _each(spent[k]["tokens"], solved[k]) for k in solved},
        "cost_per_solved_all_tokens": {
            k: _each(spent[k]["tokens"] + spent[k]["prompt_tokens"], solved[k]) for k in solved
        },
        "cost_per_solved_judge_s": {k: _each(spent[k]["public_judge_s"], solved[k]) for k in solved},
    }


def transitions(dialogues: Sequence, number: int) -> dict[str, dict[str, int]]:
    """How many went from which error type in round `number` to which in the next, or were not continued."""
    found = {a: dict.fromkeys((*ERROR_TYPES, NOT_CONTINUED), 0) for a in ERROR_TYPES}
    for one in dialogues:
        if len(one.turns) >= number:
            after = one.turns[number].verdict.error_type if len(one.turns) > number else NOT_CONTINUED
            found[one.turns[number - 1].verdict.error_type][after] += 1
    return found


@dataclass(frozen=True)
class Retries:
    """A problem under resampling, for 0, 1, 2, ... retries: chance to be accepted, tokens generated and tokens read."""

    accepted: list[float]
    tokens: list[float]
    prompt_tokens: list[float]


def resampled(dialogues: Sequence, drawn: Sequence[Sequence[tuple[Sample, bool, bool]]]) -> list[Retries]:
    """What resampling on demand makes of the first round of each dialogue.

    `drawn`: per problem its samples as (what public tests say, all public tests passed, accepted by all tests); as many
    for each problem that failed its public tests in round 1, none for the others. It stops at the first sample that
    passes all public tests; if none does, what passed most of them is handed in.
    """
    most = max(map(len, drawn), default=0)
    found = []
    for one, own in zip(dialogues, drawn, strict=True):
        turn = one.turns[0]
        read, written = len(turn.prompt_ids), float(turn.completion.tokens)
        accepted, tokens, prompts = [float(turn.verdict.accepted)], [written], [float(read)]
        if own:
            accepted += p_accepted("public tests", [sample for sample, _, _ in own], [right for _, _, right in own])
        passing, failing = ([sample.tokens for sample, passed, _ in own if passed == ok] for ok in (True, False))
        for k in range(most):
            # Draw k + 1 is made when the k before it failed, and is any of the others.
            made = math.comb(len(failing), k) / math.comb(len(own), k) if own else 0.0
            others = sum(passing) + (len(failing) - k) * _mean(failing)
            tokens.append(tokens[-1] + (made * others / (len(own) - k) if made else 0.0))
            prompts.append(prompts[-1] + made * read)
        found.append(Retries(accepted if own else accepted * (most + 1), tokens, prompts))
    return found


def at_budget(retries: Sequence[Retries], budget: float, with_prompts: bool = False) -> dict:
    """Resampling for `budget` tokens per problem on average: between two numbers of retries a coin decides.

    Returns `retries` (how many are allowed on average), `tokens` spent and `accepted`, the chance of each problem. A
    budget above what all samples cost is not spent: `tokens` says so.
    """
    costs = [
        fmean(one.tokens[k] + (one.prompt_tokens[k] if with_prompts else 0) for one in retries)
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
        "accepted": [(1 - share) * one.accepted[k] + share * one.accepted[other] for one in retries],
    }


def by_retries(retries: Sequence[Retries], seed: int = 0) -> list[dict]:
    """The curve of resampling: for every number of retries `tokens` generated per problem and the share `accepted`,
    with its 95 % interval from resampling the problems (`low`, `high`)."""
    rows = []
    for k in range(len(retries[0].tokens)):
        values = [one.accepted[k] for one in retries]
        low, high = bootstrap(values, resamples=RESAMPLES, seed=seed)
        tokens = fmean(one.tokens[k] for one in retries)
        rows.append({"retries": k, "tokens": tokens, "accepted": fmean(values), "low": low, "high": high})
    return rows


def compare(control: Sequence[float], treated: Sequence[float], seed: int = 0) -> dict:
    """Repair against a control on the same problems: `control`, `repair` and the difference in points with a 95 %
    paired bootstrap interval; McNemar's exact `p` where both are verdicts, not chances."""
    found = paired_bootstrap(control, treated, resamples=RESAMPLES, seed=seed)
    exact = all(value in (0, 1) for value in (*control, *treated))
    return {
        "control": fmean(control),
        "repair": fmean(treated),
        "points": 100 * found["difference"],
        "low": 100 * found["low"],
        "high": 100 * found["high"],
        "p": mcnemar_exact(control, treated)["p_value"] if exact else None,
    }


def _round(turns: Sequence) -> dict[str, float]:
    return {
        "dialogues": len(turns),
        "accepted": sum(turn.verdict.accepted for turn in turns),
        "tokens": sum(turn.completion.tokens for turn in turns),
        "prompt_tokens": sum(len(turn.prompt_ids) for turn in turns),
        "public_judge_s": sum(turn.public_verdict.judge_time for turn in turns if turn.public_verdict),
    }


def _each(spent: float, solved: int) -> float | None:
    return spent / solved if solved else None


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0
