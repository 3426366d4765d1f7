"""Tables about best of n (`lib.evaluation.best_of_n`): the curve of each rule, and rules compared with a policy."""

from collections.abc import Sequence
from statistics import fmean

from lib.evaluation.best_of_n import ORACLE, RULES, Sample, p_accepted
from lib.metrics import RESAMPLES
from lib.statistics import bootstrap, paired_points

JUDGE_SECONDS = {"public tests": "public_s", "majority": "outputs_s"}  # rule -> the field of Sample with its cost


def curve(
    problems: Sequence[tuple[Sequence[Sample], Sequence[bool]]], ns: Sequence[int], seed: int = 0
) -> tuple[list[dict], dict[tuple[str, int], list[float]]]:
    """Every rule for every n of `ns`: rows for a table, and (rule, n) -> the probability of each problem.

    `problems`: (samples, accepted) of each. A row has `rule`, `n`, the mean `accepted` with its 95 % bootstrap interval
    over problems (`low`, `high`), and the cost per problem: `tokens` generated and `judge_s`, CPU seconds of what the
    rule looks at (0 for the oracle).
    """
    rows, by_problem = [], {}
    tokens = fmean(fmean(sample.tokens for sample in samples) for samples, _ in problems)
    for rule in (*RULES, ORACLE):
        probabilities = [p_accepted(rule, *problem) for problem in problems]
        seconds = JUDGE_SECONDS.get(rule)
        judge_s = fmean(fmean(getattr(one, seconds) for one in samples) for samples, _ in problems) if seconds else 0.0
        for n in ns:
            values = by_problem[rule, n] = [of_problem[n - 1] for of_problem in probabilities]
            low, high = bootstrap(values, resamples=RESAMPLES, seed=seed)
            interval = {"accepted": fmean(values), "low": low, "high": high}
            rows.append({"rule": rule, "n": n, **interval, "tokens": n * tokens, "judge_s": n * judge_s})
    return rows, by_problem


def versus_policy(
    tokens: float, accepted: Sequence[bool], by_n: dict[int, list[float]], per_sample: float
) -> list[dict]:
    """A rule compared with a policy on the same problems: with as many samples as the policy's tokens pay for (at least
    one), and with all samples.

    `tokens` and `accepted`: what the policy generates per problem, and its verdict on each. `by_n`: n -> probability of
    each problem; `per_sample`: tokens of a sample. `points`: how much better the policy is, in percent of the problems,
    with a 95 % paired bootstrap interval. `reached with`: the smallest n that is as good as the policy, or None.
    """
    ns = sorted(by_n)
    affordable = max([n for n in ns if n * per_sample <= tokens], default=ns[0])
    reached = next((n for n in ns if fmean(by_n[n]) >= fmean(accepted)), None)
    rows = []
    for n in sorted({affordable, ns[-1]}):
        points = paired_points(by_n[n], accepted, resamples=RESAMPLES)
        shares = {"best of n": fmean(by_n[n]), "policy": fmean(accepted)}
        rows.append({"n": n, "times the tokens": n * per_sample / tokens, **shares, **points, "reached with": reached})
    return rows
