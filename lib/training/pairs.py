"""Preference pairs for DPO from judged samples: the best program for each train problem, and the worst.

chosen    highest pass_ratio; ties: the shorter answer (tokens), then the faster program, then the earlier sample
rejected  lowest pass_ratio; ties: syntax errors first, then timeouts, then the earlier sample

A problem gives no pair when no sample passed a test, when all samples are about equally good (pass ratios less than
`MARGIN` apart), or when the judge reached a verdict on fewer than two samples: an api_error does not describe a
program. Syntax errors and timeouts of another policy on the same problems become further pairs, the flywheel: the best
program for the problem against each of them. No torch, no judge: pure functions over plain data.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import fmean, median

from lib.judge.verdict import ERROR_TYPES
from lib.rewards import Sample

MARGIN = Fraction(3, 10)  # least difference of pass ratios within a pair, compared exactly
TIME_STEP = 0.05  # seconds of CPU; less is noise, and would make a rerun choose differently
HARD = ("syntax_error", "timeout")  # error types of hard negatives, in the order of rejection
TIES = ("tokens", "time")  # tie-breakers between equally good samples, in this order
REASONS = ("no sample passes a test", "all samples pass all tests", "pass ratios too close", "too few verdicts")


@dataclass(frozen=True)
class Pair:
    """Two samples for the same problem; `chosen` is better by at least `MARGIN`."""

    chosen: Sample
    rejected: Sample

    @property
    def delta(self) -> float:
        """Difference of the pass ratios, in [MARGIN, 1]."""
        return float(_ratio(self.chosen) - _ratio(self.rejected))


def build_pairs(groups: Iterable[Sequence[Sample]], ties: tuple[str, ...] = TIES) -> tuple[list[Pair], Counter[str]]:
    """The pairs of `groups`, each the samples for one problem; and how many problems gave none, by reason."""
    pairs, without = [], Counter(dict.fromkeys(REASONS, 0))
    for group in groups:
        judged = _judged(group)
        if len(judged) < 2:
            without["too few verdicts"] += 1
            continue
        pair = Pair(min(judged, key=lambda sample: _merit(sample, ties)), min(judged, key=_demerit))
        if pair.chosen.verdict.pass_ratio == 0:
            without["no sample passes a test"] += 1
        elif pair.rejected.verdict.pass_ratio == 1:
            without["all samples pass all tests"] += 1
        elif not _apart(pair.chosen, pair.rejected):
            without["pass ratios too close"] += 1
        else:
            pairs.append(pair)
    return pairs, without


def hard_negatives(
    pairs: Sequence[Pair], groups: Iterable[Sequence[Sample]], failures: Iterable[Sample], limit: int = 2
) -> list[Pair]:
    """Further pairs: the best sample for a problem against at most `limit` different `failures` on the same problem.

    `pairs`: the existing ones; a rejected text is not rejected twice. Failures on problems without a good sample in
    `groups` are excluded, since no answer could be preferred to them.
    """
    known = {(pair.rejected.problem.id, pair.rejected.completion) for pair in pairs}
    best = {judged[0].problem.id: min(judged, key=_merit) for group in groups if (judged := _judged(group))}
    added, used = [], Counter()
    for failure in failures:
        problem, key = failure.problem.id, (failure.problem.id, failure.completion)
        if failure.verdict.error_type not in HARD or problem not in best or key in known or used[problem] == limit:
            continue
        if best[problem].completion != failure.completion and _apart(best[problem], failure):
            known.add(key)
            used[problem] += 1
            added.append(Pair(best[problem], failure))
    return added


def quality_report(groups: Sequence[Sequence[Sample]], pairs: Sequence[Pair], without: Counter[str]) -> dict:
    """Describes a set of pairs before training on it, in plain JSON.

    Counts of problems, samples, pairs and of problems without a pair, by reason; delta: the distribution of the
    difference of pass ratios; error types and mean tokens of both sides; the judge's cost: CPU seconds of all samples,
    and per pair.
    """
    deltas = [pair.delta for pair in pairs]
    samples = [sample for group in groups for sample in group]
    seconds = sum(sample.verdict.judge_time for sample in samples)
    sides = {"chosen": [pair.chosen for pair in pairs], "rejected": [pair.rejected for pair in pairs]}
    bins = Counter(min(int(10 * delta + 1e-9), 9) for delta in deltas)
    return {
        "problems": len(groups),
        "samples": len(samples),
        "samples_by_error_type": _by_error_type(samples),
        "pairs": len(pairs),
        "problems_without_a_pair": dict(without),
        "delta": {
            "mean": _mean(deltas),
            "median": median(deltas) if deltas else None,
            "full": sum(delta == 1 for delta in deltas),
            "histogram": {f"{n / 10:.1f} to {(n + 1) / 10:.1f}": bins[n] for n in range(3, 10)},
        },
        "error_types": {side: _by_error_type(samples) for side, samples in sides.items()},
        "tokens": {side: _mean([sample.tokens for sample in samples]) for side, samples in sides.items()},
        "judge_cpu_s": seconds,
        "judge_cpu_s_per_pair": seconds / len(pairs) if pairs else None,
    }


def tie_ablation(groups: Sequence[Sequence[Sample]]) -> dict[str, dict]:
    """Compares orders of tie-breakers: pairs that differ from those of TIES, and the cost of the chosen samples."""
    pairs, _ = build_pairs(groups)
    rows = {}
    for order in (TIES, ("tokens",), ("time", "tokens")):
        others, _ = build_pairs(groups, order)
        rows[", then ".join(order)] = {
            "pairs that differ": sum(pair != other for pair, other in zip(pairs, others, strict=True)),
            "tokens of the chosen": _mean([pair.chosen.tokens for pair in others]),
            "judge CPU s of the chosen": _mean([pair.chosen.verdict.judge_time for pair in others]),
        }
    return rows


def _judged(group: Sequence[Sample]) -> list[Sample]:
    return [sample for sample in group if sample.verdict.error_type != "api_error"]


def _merit(sample: Sample, ties: tuple[str, ...] = TIES) -> tuple:
    values = {"tokens": sample.tokens, "time": round(sample.verdict.judge_time / TIME_STEP)}
    return -sample.verdict.pass_ratio, *(values[name] for name in ties)


def _demerit(sample: Sample) -> tuple:
    kind = sample.verdict.error_type
    return sample.verdict.pass_ratio, HARD.index(kind) if kind in HARD else len(HARD)


def _apart(better: Sample, worse: Sample) -> bool:
    return _ratio(better) - _ratio(worse) >= MARGIN


def _ratio(sample: Sample) -> Fraction:
    """The pass ratio as the fraction of tests that it is: in binary 0.7 - 0.4 is less than 0.3."""
    return Fraction(sample.verdict.passed, sample.verdict.total) if sample.verdict.total else Fraction(0)


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _by_error_type(samples: Iterable[Sample]) -> dict[str, int]:
    counts = Counter(sample.verdict.error_type for sample in samples)
    return {name: counts[name] for name in ERROR_TYPES}
