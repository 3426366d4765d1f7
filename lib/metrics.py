"""Metrics: pure functions from judged completions to the numbers of a report.

The completions of a problem set are a table with a row per sample. Its columns are `problem_id`, `difficulty`,
`error_type`, `pass_ratio` and `judge_time` of the verdict, `gen_tokens`, `truncated` and `format_ok` of the completion.
A row with the error type `api_error` does not describe its program: it is excluded from every numerator and denominator
and counted separately. Quality (`summarize`) is separate from time (`summarize_times`), because a rerun repeats
quality exactly and times never. The last functions score costs of correct programs (`lib.judge.cost`), lower is better.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from lib.judge.verdict import ERROR_TYPES, Verdict
from lib.statistics import bootstrap, detectable_difference, mean, pass_at_k, wilson

RESAMPLES = 2_000  # of a bootstrap interval
MAX_JUDGE_FAILURES = 0.1  # share of a training step's verdicts, over all processes; above it, rewards are unreliable
RAN_TO_THE_END = ("success", "wrong_answer")
FAILURES = tuple(name for name in ERROR_TYPES if name not in ("success", "api_error"))
MEANS = ("pass_ratio_mean", "avg_gen_tokens")  # the other metrics of a sample are true or false
SLICED = ("n", "accepted_at_1", "accepted_at_1_interval", "pass_ratio_mean", "exec_success_rate")


class JudgeFailure(RuntimeError):
    """The judge failed on too many programs for the rest to represent the whole."""


def ran_to_the_end(verdict: Verdict) -> bool:
    """Whether the program ran to its end on every test, with correct or incorrect output."""
    return verdict.error_type in RAN_TO_THE_END


def summarize(samples: pd.DataFrame, ks: Sequence[int] = (), budget: int | None = None, seed: int = 0) -> dict:
    """Quality and length of the completions of a set; rates and ratios in [0, 1].

    Every problem has the same weight: its samples are averaged first. `n` counts problems with a judged sample,
    `api_errors` the samples that were not judged; only `api_error_rate` is over both. `<name>_interval`, 95 %: Wilson
    for rates with one sample per problem, else a bootstrap over problems with `seed`. `pass_at_<k>` for each of `ks`,
    over the `n_pass_at_<k>` problems with k judged samples; `accepted_at_budget` with a `budget` of tokens per problem.
    `detectable_difference`: the change of accepted_at_1 that n problems detect if the other run is unrelated. Quantiles
    are over samples, interpolated linearly.
    `cost_per_solved_tokens`, per accepted sample, is None if nothing is solved; without verdicts every metric is None.
    """
    judged = _judged(samples)
    problems = judged.groupby("problem_id", sort=False)
    by_problem = _of_samples(judged).groupby(judged.problem_id, sort=False).mean()
    n, failed, accepted = len(by_problem), len(samples) - len(judged), mean(by_problem.accepted_at_1)
    metrics = {
        "n": n,
        "api_errors": failed,
        "api_error_rate": _share(failed, len(samples)),
        "pass_ratio_p50": _quantile(judged.pass_ratio, 0.5),
        "pass_ratio_p90": _quantile(judged.pass_ratio, 0.9),
        "cost_per_solved_tokens": _share(judged.gen_tokens.sum(), _accepted(judged).sum()),
        "detectable_difference": detectable_difference(n, 2 * accepted * (1 - accepted)) if accepted else None,
    }
    for name, values in by_problem.items():
        exact = name not in MEANS and len(judged) == n
        interval = wilson(round(values.sum()), n) if exact else _interval(values, seed)
        metrics |= {name: mean(values), f"{name}_interval": list(interval)}
    counts = _accepted(judged).groupby(judged.problem_id, sort=False).agg(["size", "sum"])
    for k in ks:
        estimates = [pass_at_k(drawn, right, k) for drawn, right in counts.itertuples(index=False) if drawn >= k]
        metrics |= {f"pass_at_{k}": mean(estimates), f"pass_at_{k}_interval": list(_interval(estimates, seed))}
        metrics[f"n_pass_at_{k}"] = len(estimates)
    if budget is not None:
        # A problem is solved if one of its samples, in their order, is accepted before the budget is spent.
        spent = problems.gen_tokens.cumsum()
        in_time = (_accepted(judged) & (spent <= budget)).groupby(judged.problem_id).any()
        metrics["accepted_at_budget"] = mean(in_time)
        metrics["accepted_at_budget_interval"] = list(wilson(int(in_time.sum()), n))
        metrics["budget_exhausted_rate"] = mean(problems.gen_tokens.sum() >= budget)
    return metrics


def _of_samples(judged: pd.DataFrame) -> pd.DataFrame:
    """The metrics of each sample, of which `summarize` takes means."""
    return pd.DataFrame(
        {
            "accepted_at_1": _accepted(judged),
            "exec_success_rate": judged.error_type.isin(RAN_TO_THE_END),
            "zero_reward_rate": judged.pass_ratio == 0,
            **{f"{name}_rate": judged.error_type == name for name in FAILURES},
            "truncation_rate": judged.truncated,
            "format_rate": judged.format_ok,
            "pass_ratio_mean": judged.pass_ratio,
            "avg_gen_tokens": judged.gen_tokens,
        }
    ).astype(float)


def summarize_times(samples: pd.DataFrame) -> dict:
    """CPU seconds of the judge per program, and per accepted program (None if nothing is solved)."""
    judged = _judged(samples)
    return {
        "avg_judge_time": mean(judged.judge_time),
        "judge_time_p50": _quantile(judged.judge_time, 0.5),
        "judge_time_p95": _quantile(judged.judge_time, 0.95),
        "cost_per_solved_judge_s": _share(judged.judge_time.sum(), _accepted(judged).sum()),
    }


def by_difficulty(samples: pd.DataFrame) -> dict[str, dict]:
    """The headline metrics of each difficulty, sorted by name; samples without a difficulty are excluded."""
    slices = {name: summarize(part) for name, part in samples[samples.difficulty != ""].groupby("difficulty")}
    return {name: {key: metrics[key] for key in SLICED} for name, metrics in slices.items()}


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


def dps(cost: float | None, references: Sequence[float], scores: Sequence[float]) -> tuple[float, float]:
    """DPS and DPS_norm of a program, both in [0, 100] (EvalPerf: Liu et al. 2024, arXiv 2408.06450; evalplus 0.3.1).

    `references`: costs from slow to fast; `scores`: the percentage of solutions that each is at least as fast as.
    The program is matched with the fastest reference that costs at least as much: DPS is its score, DPS_norm its rank.
    (0, 0) for a program slower than all of them, or None for a wrong one.
    """
    matched = [j for j, reference in enumerate(references) if cost is not None and cost <= reference]
    return (float(scores[matched[-1]]), 100 * (matched[-1] + 1) / len(references)) if matched else (0.0, 0.0)


def beyond(cost: float | None, references: Sequence[float], log: bool = False) -> float:
    """Beyond of a program, in [0, 1]: where it lies between the slowest and the fastest reference, 0 for a wrong one.

    (max R - r) / (max R - min R), r clipped to the range (Mercury: Du et al. 2024, arXiv 2402.07844); `log`: of the
    logarithms, since costs differ by factors. Where all references cost the same, Mercury's ratio is undefined: here 1
    for a program that costs no more, else 0.
    """
    if cost is None:
        return 0.0
    slow, fast, value = (math.log(x) if log else x for x in (max(references), min(references), cost))
    if slow == fast:
        return float(value <= fast)
    return (slow - min(slow, max(fast, value))) / (slow - fast)


def enamel_score(levels: Sequence[Sequence[float]], references: Sequence[float], weights: Sequence[float]) -> float:
    """Efficiency score of a program (ENAMEL: Qiu et al. 2024, arXiv 2406.06647, eq. 2 and 3); above 1 if it beats the
    expert's reference.

    `levels`: costs of the program on the tests of each level, infinite after a timeout; `references`: the reference's
    largest cost on each level; `weights`: hardness of the levels. A level scores max(0, T - slowest) / (T - reference)
    with T = 2 max(references).
    """
    limit = 2 * max(references)
    scores = [max(0.0, limit - max(costs)) / (limit - own) for costs, own in zip(levels, references, strict=True)]
    return sum(w * score for w, score in zip(weights, scores, strict=True)) / sum(weights)


def eff_at_k(scores: Sequence[float], k: int) -> float:
    """Expected best score of `k` programs drawn from these samples of a problem (ENAMEL's estimator, arXiv 2406.06647,
    theorem 1): the sum over r from k to n of C(r - 1, k - 1) / C(n, k) e_r, with scores in ascending order."""
    n = len(scores)
    if not 1 <= k <= n:
        raise ValueError(f"eff@{k} can't be estimated from {n} samples")
    ranked = enumerate(sorted(scores), start=1)
    return sum(math.comb(r - 1, k - 1) * score for r, score in ranked) / math.comb(n, k)


def geometric_mean(ratios: Sequence[float]) -> float | None:
    """The geometric mean, as of costs over those of the best known way; None without values."""
    return math.exp(mean(map(math.log, ratios)) or 0.0) if ratios else None


def speed_up(before: Mapping[str, float | None], after: Mapping[str, float | None], seed: int = 0) -> dict:
    """How many times faster `after` is on the problems that both solve: geometric mean of the ratios of costs, with a
    95 % bootstrap interval over problems. Costs by problem id, None where a program is wrong; `n`: problems."""
    both = [(cost, after.get(name)) for name, cost in before.items()]
    logs = [math.log(a / b) for a, b in both if a is not None and b is not None]
    if not logs:
        return {"n": 0, "speed_up": None, "low": None, "high": None}
    values = np.exp([np.mean(logs), *_interval(logs, seed)])
    return {"n": len(logs), **dict(zip(("speed_up", "low", "high"), map(float, values), strict=True))}


def _judged(samples: pd.DataFrame) -> pd.DataFrame:
    return samples[samples.error_type != "api_error"]


def _accepted(samples: pd.DataFrame) -> pd.Series:
    return samples.error_type == "success"


def _interval(means: Sequence[float] | pd.Series, seed: int) -> tuple[float | None, float | None]:
    return bootstrap(np.asarray(means), resamples=RESAMPLES, seed=seed) if len(means) else (None, None)


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _quantile(values: pd.Series, q: float) -> float | None:
    return float(np.quantile(values, q)) if len(values) else None
