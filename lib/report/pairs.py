"""Describes preference pairs before a training on them (`lib.training.pairs`)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median

from lib.judge.verdict import ERROR_TYPES
from lib.rewards import Sample
from lib.statistics import mean
from lib.training.pairs import TIES, Pair, build_pairs


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
            "mean": mean(deltas),
            "median": median(deltas) if deltas else None,
            "full": sum(delta == 1 for delta in deltas),
            "histogram": {f"{n / 10:.1f} to {(n + 1) / 10:.1f}": bins[n] for n in range(3, 10)},
        },
        "error_types": {side: _by_error_type(samples) for side, samples in sides.items()},
        "tokens": {side: mean([sample.tokens for sample in samples]) for side, samples in sides.items()},
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
            "tokens of the chosen": mean([pair.chosen.tokens for pair in others]),
            "judge CPU s of the chosen": mean([pair.chosen.verdict.judge_time for pair in others]),
        }
    return rows


def _by_error_type(samples: Iterable[Sample]) -> dict[str, int]:
    counts = Counter(sample.verdict.error_type for sample in samples)
    return {name: counts[name] for name in ERROR_TYPES}
