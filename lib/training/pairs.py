"""Preference pairs for DPO from judged samples: of each train problem the best program, and the worst.

chosen    highest pass_ratio; ties: the shorter answer (tokens), then the faster program, then the one drawn first
rejected  lowest pass_ratio; ties: syntax errors first, then timeouts, then the one drawn first

A problem gives no pair when no sample passed a test, when all are about equally good (pass ratios less than `MARGIN`
apart), or when the judge reached a verdict on fewer than two samples: an api_error says nothing about a program.
Syntax errors and timeouts of another policy on the same problems become further pairs, the flywheel: the best program
of the problem against each of them. No torch, no judge: pure functions over plain data.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from lib.judge.verdict import ERROR_TYPES, Verdict
from lib.problems import Problem

MARGIN = 0.3  # least difference of pass ratios within a pair
TIME_STEP = 0.05  # seconds of CPU; less is noise, and would make a rerun choose differently
HARD = ("syntax_error", "timeout")  # what becomes a hard negative, and in which order it is rejected
TIES = ("tokens", "time")  # by what the better of two equally good samples is told, in this order
REASONS = ("no sample passes a test", "all samples pass all tests", "pass ratios too close", "too few verdicts")


@dataclass(frozen=True)
class Sample:
    """What a policy wrote for a problem, and what the judge says of it. `judge_time` in CPU seconds, of all tests."""

    problem_id: str
    text: str
    tokens: int
    error_type: str
    pass_ratio: float
    judge_time: float

    @classmethod
    def of(cls, problem: Problem, text: str, tokens: int, verdict: Verdict) -> "Sample":
        """The sample `text`, judged."""
        return cls(problem.id, text, tokens, verdict.error_type, verdict.pass_ratio, verdict.judge_time)


@dataclass(frozen=True)
class Pair:
    """Two samples for the same problem; `chosen` is the better one by at least `MARGIN`."""

    chosen: Sample
    rejected: Sample

    @property
    def delta(self) -> float:
        """Difference of the pass ratios, in [MARGIN, 1]."""
        return self.chosen.pass_ratio - self.rejected.pass_ratio


def build_pairs(groups: Iterable[Sequence[Sample]], ties: tuple[str, ...] = TIES) -> tuple[list[Pair], Counter[str]]:
    """The pairs of `groups`, each the samples of one problem; and how many problems gave none, by reason."""
    pairs, without = [], Counter(dict.fromkeys(REASONS, 0))
    for group in groups:
        judged = [sample for sample in group if sample.error_type != "api_error"]
        if len(judged) < 2:
            without["too few verdicts"] += 1
            continue
        pair = Pair(min(judged, key=lambda one: _merit(one, ties)), min(judged, key=_demerit))
        if pair.chosen.pass_ratio == 0:
            without["no sample passes a test"] += 1
        elif pair.rejected.pass_ratio == 1:
            without["all samples pass all tests"] += 1
        elif not _apart(*(one.pass_ratio for one in (pair.chosen, pair.rejected))):
            without["pass ratios too close"] += 1
        else:
            pairs.append(pair)
    return pairs, without


def hard_negatives(
    pairs: Sequence[Pair], groups: Iterable[Sequence[Sample]], failures: Iterable[Sample], limit: int = 2
) -> list[Pair]:
    """Further pairs: the best sample of a problem against at most `limit` different `failures` on the same problem.

    `pairs`: those there are already; a rejected text is not rejected twice. Failures on problems without a good sample
    in `groups` are left out, since there is nothing to prefer to them.
    """
    known = {(pair.rejected.problem_id, pair.rejected.text) for pair in pairs}
    best = {}
    for group in groups:
        judged = [sample for sample in group if sample.error_type != "api_error"]
        if judged:
            best[judged[0].problem_id] = min(judged, key=_merit)
    found, used = [], Counter()
    for failure in failures:
        chosen, key = best.get(failure.problem_id), (failure.problem_id, failure.text)
        if failure.error_type not in HARD or chosen is None or key in known or used[failure.problem_id] == limit:
            continue
        if chosen.text != failure.text and _apart(chosen.pass_ratio, failure.pass_ratio):
            known.add(key)
            used[failure.problem_id] += 1
            found.append(Pair(chosen, failure))
    return found


def quality_report(groups: Sequence[Sequence[Sample]], pairs: Sequence[Pair], without: Counter[str]) -> dict:
    """What is to be known of a set of pairs before it is trained on; plain JSON.

    Counts of problems, samples, pairs and of problems without one, by reason; delta: the distribution of the difference
    of pass ratios; error types and mean tokens of both sides; the judge's cost: CPU seconds of all samples, by pair.
    """
    deltas = [pair.delta for pair in pairs]
    samples = [sample for group in groups for sample in group]
    seconds = sum(sample.judge_time for sample in samples)
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
        "error_types": {side: _by_error_type(own) for side, own in sides.items()},
        "tokens": {side: _mean([one.tokens for one in own]) for side, own in sides.items()},
        "judge_cpu_s": seconds,
        "judge_cpu_s_per_pair": seconds / len(pairs) if pairs else None,
    }


def tie_ablation(groups: Sequence[Sequence[Sample]]) -> dict[str, dict]:
    """What the order of ties is worth: pairs that differ from those of TIES, and what the chosen cost."""
    pairs, _ = build_pairs(groups)
    rows = {}
    for order in (TIES, ("tokens",), ("time", "tokens")):
        found, _ = build_pairs(groups, order)
        rows[", then ".join(order)] = {
            "pairs that differ": sum(ours != theirs for ours, theirs in zip(pairs, found, strict=True)),
            "tokens of the chosen": _mean([pair.chosen.tokens for pair in found]),
            "judge CPU s of the chosen": _mean([pair.chosen.judge_time for pair in found]),
        }
    return rows


def _merit(sample: Sample, ties: tuple[str, ...] = TIES) -> tuple:
    values = {"tokens": sample.tokens, "time": round(sample.judge_time / TIME_STEP)}
    return -sample.pass_ratio, *(values[name] for name in ties)


def _demerit(sample: Sample) -> tuple:
    order = HARD.index(sample.error_type) if sample.error_type in HARD else len(HARD)
    return sample.pass_ratio, order


def _apart(better: float, worse: float) -> bool:
    return better - worse >= MARGIN - 1e-9  # 0.8 - 0.5 is less than 0.3 in binary


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _by_error_type(samples: Iterable[Sample]) -> dict[str, int]:
    counts = Counter(sample.error_type for sample in samples)
    return {name: counts[name] for name in ERROR_TYPES}
