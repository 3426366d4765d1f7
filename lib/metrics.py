"""Metrics: pure functions from judged completions to the numbers that a report shows.

A record whose verdict is `api_error` says nothing about a program: it is left out of every numerator and denominator
and counted apart. Quality (`summarize`) is kept from time (`summarize_times`), because a rerun repeats the first
exactly and the second never.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

import numpy as np

from lib.judge.verdict import ERROR_TYPES, Verdict


class JudgeFailure(RuntimeError):
    """The judge failed on too many programs for the rest to stand for the whole."""


@dataclass(frozen=True)
class Record:
    """One completion for one problem, judged: the verdict, with what lib.generate and lib.prompts say of the text."""

    dataset: str
    problem_id: str
    difficulty: str
    verdict: Verdict
    gen_tokens: int
    truncated: bool
    format_ok: bool


def summarize(records: Sequence[Record]) -> dict:
    """Quality and length of one completion per problem, under PLAN.md's names; rates and ratios in [0, 1].

    `n` counts the judged records, `api_errors` the others; `api_error_rate` alone is over both. Quantiles interpolate
    linearly. `*_interval` is a 95 % Wilson interval. `cost_per_solved_tokens` is None when nothing is solved; every
    figure is None when nothing was judged.
    """
    judged = _judged(records)
    verdicts = [record.verdict for record in judged]
    ratios = [verdict.pass_ratio for verdict in verdicts]
    solved = sum(verdict.accepted for verdict in verdicts)
    ended = sum(verdict.error_type in ("success", "wrong_answer") for verdict in verdicts)
    return {
        "n": len(judged),
        "api_errors": len(records) - len(judged),
        "accepted_at_1": _share(solved, len(judged)),
        "accepted_at_1_interval": list(wilson(solved, len(judged))),
        "pass_ratio_mean": _mean(ratios),
        "pass_ratio_p50": _quantile(ratios, 0.5),
        "pass_ratio_p90": _quantile(ratios, 0.9),
        "exec_success_rate": _share(ended, len(judged)),
        "exec_success_rate_interval": list(wilson(ended, len(judged))),
        "zero_reward_rate": _share(sum(ratio == 0 for ratio in ratios), len(judged)),
        **{
            f"{error_type}_rate": _share(sum(verdict.error_type == error_type for verdict in verdicts), len(judged))
            for error_type in ERROR_TYPES
            if error_type not in ("success", "api_error")
        },
        "api_error_rate": _share(len(records) - len(judged), len(records)),
        "truncation_rate": _share(sum(record.truncated for record in judged), len(judged)),
        "format_rate": _share(sum(record.format_ok for record in judged), len(judged)),
        "avg_gen_tokens": _mean([record.gen_tokens for record in judged]),
        "cost_per_solved_tokens": _share(sum(record.gen_tokens for record in judged), solved),
    }


def summarize_times(records: Sequence[Record]) -> dict:
    """CPU seconds of the judge per program, and per solved problem (None when nothing is solved)."""
    judged = _judged(records)
    times = [record.verdict.judge_time for record in judged]
    return {
        "avg_judge_time": _mean(times),
        "judge_time_p50": _quantile(times, 0.5),
        "judge_time_p95": _quantile(times, 0.95),
        "cost_per_solved_judge_s": _share(math.fsum(times), sum(record.verdict.accepted for record in judged)),
    }


def by_difficulty(records: Sequence[Record]) -> dict[str, dict]:
    """The headline figures of each difficulty, sorted by its name; records without one are left out."""
    names = sorted({record.difficulty for record in records if record.difficulty})
    kept = ("n", "accepted_at_1", "accepted_at_1_interval", "pass_ratio_mean", "exec_success_rate")
    slices = {name: summarize([record for record in records if record.difficulty == name]) for name in names}
    return {name: {key: slices[name][key] for key in kept} for name in names}


def require_judge(verdicts: Sequence[Verdict], limit: float = 0.01) -> None:
    """Raises JudgeFailure when more than `limit` of the verdicts are `api_error`."""
    failed = [verdict for verdict in verdicts if verdict.error_type == "api_error"]
    if len(failed) > limit * len(verdicts):
        reason = failed[0].feedback or "no reason given"
        raise JudgeFailure(
            f"the judge failed on {len(failed)} of {len(verdicts)} programs (at most {limit:.0%} may); "
            f"the first time: {reason}. Nothing was scored: mend the judge and run again"
        )


def wilson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a rate of `k` in `n` (Wilson 1927); (0, 1) when n is 0."""
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no rate")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    # The two ends are exact where rounding would leave 1e-17 instead of 0, or 1 - 1e-16 instead of 1.
    return (0.0 if k == 0 else centre - half), (1.0 if k == n else centre + half)


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that one of `k` samples is correct, unbiased, from `c` correct of `n` (Chen et al. 2021, eq. 1)."""
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@{k} can't be estimated from {c} correct of {n} samples")
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def mcnemar_exact(a: Sequence[bool], b: Sequence[bool]) -> dict:
    """Two runs on the same problems: how many only one of them solved, and McNemar's two-sided exact p-value (1947)."""
    _require_pairs(a, b)
    only_a = sum(bool(x) and not y for x, y in zip(a, b, strict=True))
    only_b = sum(bool(y) and not x for x, y in zip(a, b, strict=True))
    n = only_a + only_b
    tail = sum(math.comb(n, i) for i in range(min(only_a, only_b) + 1)) / 2**n
    return {"only_a": only_a, "only_b": only_b, "p_value": min(1.0, 2 * tail)}


def paired_bootstrap(
    a: Sequence[float], b: Sequence[float], confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> dict:
    """mean(b) - mean(a) over the same problems, with a percentile interval from resampling the problems."""
    _require_pairs(a, b)
    differences = np.asarray(b, dtype=float) - np.asarray(a, dtype=float)
    random = np.random.default_rng(seed)
    means = [differences[random.integers(0, len(differences), len(differences))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"difference": float(differences.mean()), "low": float(low), "high": float(high)}


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1) over seeds; None for the second when there is one value only."""
    return fmean(values), (stdev(values) if len(values) > 1 else None)


def _judged(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.verdict.error_type != "api_error"]


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _quantile(values: Sequence[float], q: float) -> float | None:
    return float(np.quantile(values, q)) if len(values) else None


def _require_pairs(a: Sequence, b: Sequence) -> None:
    if len(a) != len(b) or not len(a):
        raise ValueError(f"a paired comparison wants the same problems in both runs, not {len(a)} and {len(b)}")
