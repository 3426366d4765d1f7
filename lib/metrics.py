"""Metrics: pure functions from judged completions to the numbers of a report.

A record with the verdict `api_error` does not describe its program: it is excluded from every numerator and denominator
and counted separately. Quality (`summarize`) is separate from time (`summarize_times`), because a rerun repeats
quality exactly and times never.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from lib.judge.verdict import ERROR_TYPES, Verdict
from lib.statistics import bootstrap, detectable_difference, pass_at_k, wilson

RESAMPLES = 2_000  # of a bootstrap interval
MAX_JUDGE_FAILURES = 0.1  # share of a training step's verdicts, over all processes; above it, rewards are unreliable
RAN_TO_THE_END = ("success", "wrong_answer")
FAILURES = tuple(name for name in ERROR_TYPES if name not in ("success", "api_error"))
SLICED = ("n", "accepted_at_1", "accepted_at_1_interval", "pass_ratio_mean", "exec_success_rate")


class JudgeFailure(RuntimeError):
    """The judge failed on too many programs for the rest to represent the whole."""


@dataclass(frozen=True)
class Record:
    """One judged completion for one problem: its verdict, and what generation and extraction report about its text."""

    dataset: str
    problem_id: str
    difficulty: str
    verdict: Verdict
    gen_tokens: int
    truncated: bool
    format_ok: bool
    sample: int = 0


def ran_to_the_end(verdict: Verdict) -> bool:
    """Whether the program ran to its end on every test, with correct or incorrect output."""
    return verdict.error_type in RAN_TO_THE_END


_RATES: dict[str, Callable[[Record], bool]] = {
    "accepted_at_1": lambda record: record.verdict.accepted,
    "exec_success_rate": lambda record: ran_to_the_end(record.verdict),
    "zero_reward_rate": lambda record: record.verdict.pass_ratio == 0,
    **{f"{name}_rate": lambda record, name=name: record.verdict.error_type == name for name in FAILURES},
    "truncation_rate": lambda record: record.truncated,
    "format_rate": lambda record: record.format_ok,
}
_MEANS: dict[str, Callable[[Record], float]] = {
    "pass_ratio_mean": lambda record: record.verdict.pass_ratio,
    "avg_gen_tokens": lambda record: record.gen_tokens,
}


def summarize(records: Sequence[Record], ks: Sequence[int] = (), budget: int | None = None, seed: int = 0) -> dict:
    """Quality and length of the completions of a set; rates and ratios in [0, 1].

    Every problem has the same weight: its samples are averaged first. `n` counts problems with a judged sample,
    `api_errors` the samples that were not judged; only `api_error_rate` is over both. `<name>_interval`, 95 %: Wilson
    for rates with one sample per problem, else a bootstrap over problems with `seed`. `pass_at_<k>` for each of `ks`,
    over the `n_pass_at_<k>` problems with k judged samples; `accepted_at_budget` with a `budget` of tokens per problem.
    `detectable_difference`: the change of accepted_at_1 that n problems detect if the other run is unrelated. Quantiles
    are over samples, interpolated linearly.
    `cost_per_solved_tokens`, per accepted sample, is None if nothing is solved; without verdicts every metric is None.
    """
    judged = _judged(records)
    problems = _by_problem(judged)
    ratios = [record.verdict.pass_ratio for record in judged]
    failed, solved = len(records) - len(judged), sum(record.verdict.accepted for record in judged)
    accepted = _mean([_problem_mean(samples, _RATES["accepted_at_1"]) for samples in problems])
    discordant = None if accepted is None else 2 * accepted * (1 - accepted)
    metrics: dict[str, Any] = {
        "n": len(problems),
        "api_errors": failed,
        "api_error_rate": _share(failed, len(records)),
        "pass_ratio_p50": _quantile(ratios, 0.5),
        "pass_ratio_p90": _quantile(ratios, 0.9),
        "cost_per_solved_tokens": _share(sum(record.gen_tokens for record in judged), solved),
        "detectable_difference": detectable_difference(len(problems), discordant) if discordant else None,
    }
    for name, value in (_RATES | _MEANS).items():
        means = [_problem_mean(samples, value) for samples in problems]
        exact = name in _RATES and len(judged) == len(problems)
        interval = wilson(round(sum(means)), len(means)) if exact else _interval(means, seed)
        metrics |= {name: _mean(means), f"{name}_interval": list(interval)}
    counts = [(len(samples), sum(record.verdict.accepted for record in samples)) for samples in problems]
    for k in ks:
        estimates = [pass_at_k(n, right, k) for n, right in counts if n >= k]
        metrics |= {f"pass_at_{k}": _mean(estimates), f"pass_at_{k}_interval": list(_interval(estimates, seed))}
        metrics[f"n_pass_at_{k}"] = len(estimates)
    return metrics | ({} if budget is None else _within_budget(problems, budget))


def _within_budget(problems: list[list[Record]], budget: int) -> dict:
    """A problem is solved if one of its samples, in their order, is accepted before the budget is spent."""
    solved = exhausted = 0
    for samples in problems:
        spent = np.cumsum([record.gen_tokens for record in samples])
        solved += any(record.verdict.accepted and at <= budget for record, at in zip(samples, spent, strict=True))
        exhausted += bool(spent[-1] >= budget)
    return {
        "accepted_at_budget": _share(solved, len(problems)),
        "accepted_at_budget_interval": list(wilson(solved, len(problems))),
        "budget_exhausted_rate": _share(exhausted, len(problems)),
    }


def summarize_times(records: Sequence[Record]) -> dict:
    """CPU seconds of the judge per program, and per accepted program (None if nothing is solved)."""
    judged = _judged(records)
    times = [record.verdict.judge_time for record in judged]
    return {
        "avg_judge_time": _mean(times),
        "judge_time_p50": _quantile(times, 0.5),
        "judge_time_p95": _quantile(times, 0.95),
        "cost_per_solved_judge_s": _share(math.fsum(times), sum(record.verdict.accepted for record in judged)),
    }


def by_difficulty(records: Sequence[Record]) -> dict[str, dict]:
    """The headline metrics of each difficulty, sorted by name; records without a difficulty are excluded."""
    names = sorted({record.difficulty for record in records if record.difficulty})
    slices = {name: summarize([record for record in records if record.difficulty == name]) for name in names}
    return {name: {key: slices[name][key] for key in SLICED} for name in names}


def transitions(before: dict[str, str], after: dict[str, str]) -> dict[str, dict[str, int]]:
    """Error type before -> error type after -> number of problems. Both arguments: problem id -> error type.

    Raises ValueError if they are not about the same problems.
    """
    if before.keys() != after.keys():
        raise ValueError(f"{len(before.keys() ^ after.keys())} problems are in one of the two evaluations only")
    counts = {error_type: dict.fromkeys(ERROR_TYPES, 0) for error_type in ERROR_TYPES}
    for problem, error_type in before.items():
        counts[error_type][after[problem]] += 1
    return counts


def require_judge(
    verdicts: Sequence[Verdict], limit: float = 0.01, add: Callable[[list[int]], list[int]] = lambda counts: counts
) -> None:
    """Raises JudgeFailure if more than `limit` of the verdicts are `api_error`. `add` adds counts up over processes, so
    that all of them raise or none does."""
    reasons = [verdict.feedback or "no reason given" for verdict in verdicts if verdict.error_type == "api_error"]
    failed, total = add([len(reasons), len(verdicts)])
    if failed > limit * total:
        raise JudgeFailure(
            f"the judge failed on {failed} of {total} programs (at most {limit:.0%} may); "
            f"the first time: {[*reasons, 'in another process'][0]}. Nothing was scored: repair the judge and run again"
        )


def _judged(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.verdict.error_type != "api_error"]


def _by_problem(records: Sequence[Record]) -> list[list[Record]]:
    """The samples of each problem, in their order."""
    problems: dict[tuple[str, str], list[Record]] = {}
    for record in sorted(records, key=lambda record: record.sample):
        problems.setdefault((record.dataset, record.problem_id), []).append(record)
    return list(problems.values())


def _problem_mean(samples: list[Record], value: Callable[[Record], float]) -> float:
    return fmean(value(record) for record in samples)


def _interval(means: Sequence[float], seed: int) -> tuple[float | None, float | None]:
    return bootstrap(means, resamples=RESAMPLES, seed=seed) if len(means) else (None, None)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if len(values) else None


def _quantile(values: Sequence[float], q: float) -> float | None:
    return float(np.quantile(values, q)) if len(values) else None
