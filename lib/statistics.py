"""Statistics: how sure a rate is, and whether two runs on the same problems really differ. Pure functions.

The unit is always the problem: samples of one problem are not independent, so they are averaged before they get here.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

import numpy as np

_BLOCK = 2_000_000  # numbers drawn at once: 16 MB


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


def bootstrap(
    values: Sequence[float], confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the mean from resampling `values`, one per problem (Efron 1979).

    Raises ValueError when there are none.
    """
    values = np.asarray(values, dtype=float)
    if not len(values):
        raise ValueError("an interval wants at least one problem")
    random = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(values))
    sizes = [min(block, resamples - start) for start in range(0, resamples, block)]
    means = np.concatenate([values[random.integers(0, len(values), (size, len(values)))].mean(1) for size in sizes])
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def paired_bootstrap(
    a: Sequence[float], b: Sequence[float], confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> dict:
    """mean(b) - mean(a) over the same problems, with a percentile interval from resampling the problems."""
    _require_pairs(a, b)
    differences = np.asarray(b, dtype=float) - np.asarray(a, dtype=float)
    low, high = bootstrap(differences, confidence, resamples, seed)
    return {"difference": float(differences.mean()), "low": low, "high": high}


def mcnemar_exact(a: Sequence[bool], b: Sequence[bool]) -> dict:
    """Two runs on the same problems: how many only one of them solved, and McNemar's two-sided exact p-value (1947)."""
    _require_pairs(a, b)
    only_a = sum(bool(x) and not y for x, y in zip(a, b, strict=True))
    only_b = sum(bool(y) and not x for x, y in zip(a, b, strict=True))
    n = only_a + only_b
    tail = sum(math.comb(n, i) for i in range(min(only_a, only_b) + 1)) / 2**n
    return {"only_a": only_a, "only_b": only_b, "p_value": min(1.0, 2 * tail)}


def detectable_difference(n: int, discordant: float, confidence: float = 0.95, power: float = 0.8) -> float | None:
    """Smallest difference of two rates that McNemar's test on `n` problems finds with `power` (Connor 1987, eq. 3).

    `discordant`: the share of problems on which the two runs differ; 2 p (1 - p) for unrelated runs of rate p, less for
    a policy and its descendant. None when not even the largest difference, that share itself, would be found.
    """
    if n < 1 or not 0 <= discordant <= 1:
        raise ValueError(f"{n} problems, {discordant} of which differ, are no comparison")
    alpha, beta = NormalDist().inv_cdf((1 + confidence) / 2), NormalDist().inv_cdf(power)

    def needed(difference: float) -> float:  # falls with the difference
        return (alpha * math.sqrt(discordant) + beta * math.sqrt(discordant - difference**2)) ** 2 / difference**2

    if discordant == 0 or needed(discordant) > n:
        return None
    low, high = 0.0, discordant
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if needed(middle) > n else (low, middle)
    return high


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that one of `k` samples is correct, unbiased, from `c` correct of `n` (Chen et al. 2021, eq. 1)."""
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@{k} can't be estimated from {c} correct of {n} samples")
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1) over seeds; None for the second when there is one value only."""
    return fmean(values), (stdev(values) if len(values) > 1 else None)


def _require_pairs(a: Sequence, b: Sequence) -> None:
    if len(a) != len(b) or not len(a):
        raise ValueError(f"a paired comparison wants the same problems in both runs, not {len(a)} and {len(b)}")
