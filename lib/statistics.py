"""Statistics: how certain a rate is, and whether two runs on the same problems differ. Pure functions.

The unit is the problem: samples of one problem are not independent, so they are averaged before they get here.
scipy and statsmodels do the work wherever they give the same numbers; `sign_flip` is 200 times faster than theirs.
"""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

import numpy as np
from scipy import optimize, stats

_BLOCK = 2_000_000  # numbers drawn at once: 16 MB
Values = Sequence[float] | np.ndarray


def wilson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a rate of `k` in `n` (Wilson 1927); (0, 1) when n is 0. Raises ValueError unless 0 <= k <= n."""
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is not a rate: the count must lie between 0 and the number of problems")
    if n == 0:
        return 0.0, 1.0
    low, high = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    return float(low), float(high)


def bootstrap(values: Values, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of the mean from resampling `values`, one per problem (Efron 1979).

    Raises ValueError when there are none.
    """
    sample = np.asarray(values, dtype=float)
    if not len(sample):
        raise ValueError("an interval requires at least one problem")
    if len(sample) == 1:  # scipy refuses a single value, whose resamples are all the same
        return float(sample[0]), float(sample[0])
    drawn = {"n_resamples": resamples, "batch": max(1, _BLOCK // len(sample)), "rng": np.random.default_rng(seed)}
    found = stats.bootstrap((sample,), np.mean, method="percentile", confidence_level=confidence, **drawn)
    low, high = sorted(map(float, found.confidence_interval))  # scipy rounds the ends of equal resamples apart
    return low, high


def crossed_bootstrap(values: np.ndarray, seed: int = 0, resamples: int = 10_000) -> tuple[float, float]:
    """95 % percentile interval of the mean of `values` [seeds, problems], resampling both (a crossed bootstrap:
    Owen 2007, "The pigeonhole bootstrap"). Over three seeds it is rather too narrow than too wide."""
    random, (n, problems) = np.random.default_rng(seed), values.shape
    seeds = random.multinomial(n, np.full(n, 1 / n), resamples) / n
    drawn = random.integers(0, problems, (resamples, problems))
    means = (seeds * np.stack([row[drawn].mean(1) for row in values], axis=1)).sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def paired_bootstrap(a: Values, b: Values, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0) -> dict:
    """mean(b) - mean(a) over the same problems, with a percentile interval from resampling the problems."""
    _require_pairs(a, b)
    differences = np.asarray(b, dtype=float) - np.asarray(a, dtype=float)
    low, high = bootstrap(differences, confidence, resamples, seed)
    return {"difference": float(differences.mean()), "low": low, "high": high}


def paired_points(a: Values, b: Values, **options) -> dict:
    """`paired_bootstrap` in percentage points, with the keys `points`, `low` and `high`."""
    difference, low, high = paired_bootstrap(a, b, **options).values()
    return {"points": 100 * difference, "low": 100 * low, "high": 100 * high}


def mcnemar_exact(a: Values, b: Values) -> dict:
    """Problems that only one of two runs solved (`only_a`, `only_b`), and McNemar's two-sided exact p-value (1947)."""
    _require_pairs(a, b)
    only_a = sum(bool(x) and not y for x, y in zip(a, b, strict=True))
    only_b = sum(bool(y) and not x for x, y in zip(a, b, strict=True))
    p_value = float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return {"only_a": only_a, "only_b": only_b, "p_value": p_value}


def sign_flip(differences: np.ndarray, seed: int = 0, draws: int = 10_000) -> float:
    """Two-sided p of a paired permutation test over problems: under the null hypothesis, the mean over seeds of each
    problem's difference is as likely to have the other sign. `differences`: [seeds, problems]. It concerns these
    trainings and no others. The observed signs count as a draw, so p is never 0 (Phipson and Smyth 2010)."""
    by_problem = differences.mean(0)
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), (draws, len(by_problem)))
    return float((1 + (abs(signs @ by_problem) >= abs(by_problem.sum()) - 1e-9).sum()) / (draws + 1))


def detectable_difference(n: int, discordant: float, confidence: float = 0.95, power: float = 0.8) -> float | None:
    """Smallest difference of two rates that McNemar's test on `n` problems finds with `power` (Connor 1987, eq. 3).

    `discordant`: the share of problems on which the two runs differ; 2 p (1 - p) for unrelated runs of rate p, less for
    a policy and its descendant. None when not even the largest difference, that share itself, would be found.
    """
    if n < 1 or not 0 <= discordant <= 1:
        raise ValueError(f"{n} problems with a share of {discordant} that differ are not a comparison")
    alpha, beta = stats.norm.ppf((1 + confidence) / 2), stats.norm.ppf(power)

    def missing(d: float) -> float:  # problems needed for the difference d, beyond n; falls with d
        return (alpha * math.sqrt(discordant) + beta * math.sqrt(discordant - d**2)) ** 2 / d**2 - n

    if discordant == 0 or missing(discordant) > 0:
        return None
    return float(optimize.brentq(missing, 1e-9, discordant, xtol=1e-15))


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that one of `k` samples is correct, unbiased, from `c` correct of `n` (Chen et al. 2021, eq. 1)."""
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@{k} can't be estimated from {c} correct of {n} samples")
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def mean(values: Iterable[float]) -> float | None:
    """The mean, correctly rounded; None without values."""
    numbers = list(values)
    return fmean(numbers) if numbers else None


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1) over seeds; None for the second when there is one value only."""
    return fmean(values), (stdev(values) if len(values) > 1 else None)


def _require_pairs(a: Values, b: Values) -> None:
    if len(a) != len(b) or not len(a):
        raise ValueError(f"a paired comparison requires the same problems in both runs, not {len(a)} and {len(b)}")
