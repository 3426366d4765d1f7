"""Best of n: a rule selects one of n samples of a policy; its expected result is computed. Pure functions, no torch.

A rule sees what a user of the policy could see: how many public tests a program passes, or what it prints on their
inputs. Only the views of `lib.problems.public` are judged before a selection. The oracle reads the verdict on all
tests: an upper bound that nobody can reach, never a result.

The value of a rule with n samples is its mean over all subsets of n of the drawn samples, computed exactly from counts
like pass@k (Chen et al. 2021, eq. 1), so that no lucky draw is reported.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lib.judge.verdict import Verdict
from lib.problems import Problem
from lib.problems.public import only_public, without_expected

RULES = ("public tests", "majority")
ORACLE = "oracle (upper bound)"


@dataclass(frozen=True)
class Sample:
    """What the rules see of a sample. `passed`: public tests; `output`: its output on each of their inputs, None if it
    did not end on one of them or there are none; `public_s` and `outputs_s`: CPU seconds to find out either."""

    tokens: int
    passed: int = 0
    output: tuple[str, ...] | None = None
    public_s: float = 0.0
    outputs_s: float = 0.0


def judge_public(
    judge, problems: Sequence[Problem], programs: Sequence[Sequence[tuple[str, int]]]
) -> list[list[Sample]]:
    """The samples of each problem, given as (program, tokens), as the rules see them; judges public tests only.

    `judge` has `judge_many`. Raises ValueError if it failed on a sample.
    """
    views = [(only_public(problem), without_expected(problem)) for problem in problems]
    asked = [
        (text, view)
        for both, drawn in zip(views, programs, strict=True)
        for view in both
        for text, _ in drawn
        if view is not None
    ]
    verdicts, samples = iter(judge.judge_many(asked)), []
    for both, drawn in zip(views, programs, strict=True):
        seen = [[next(verdicts) if view else None for _ in drawn] for view in both]
        samples.append([make_sample(tokens, *pair) for (_, tokens), *pair in zip(drawn, *seen, strict=True)])
    return samples


def make_sample(tokens: int, public: Verdict | None = None, outputs: Verdict | None = None) -> Sample:
    """A sample from its verdicts on the `only_public` and the `without_expected` problem, None without it.

    Outputs are compared by their words, of the first 300 characters that the judge keeps. Raises ValueError for a
    failure of the judge, which must not count as a failure of the sample.
    """
    if any(verdict is not None and verdict.error_type == "api_error" for verdict in (public, outputs)):
        raise ValueError("the judge failed on a sample: judge it again before a sample is selected")
    ended = outputs and len(outputs.tests) == outputs.total and outputs.error_type in ("success", "wrong_answer")
    return Sample(
        tokens=tokens,
        passed=public.passed if public else 0,
        output=tuple(" ".join(test.got.split()) for test in outputs.tests) if ended else None,
        public_s=public.judge_time if public else 0.0,
        outputs_s=outputs.judge_time if outputs else 0.0,
    )


def choose(rule: str, samples: Sequence[Sample]) -> int:
    """The index of the sample that a rule selects: it passes most `public tests`, or its output is that of the
    `majority`; of equal samples the first that was drawn. Raises ValueError for an unknown rule."""
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}; choose one of {', '.join(RULES)}")
    if rule == "public tests":
        return max(range(len(samples)), key=lambda n: (samples[n].passed, -n))
    outputs = [sample.output for sample in samples]
    return max(range(len(samples)), key=lambda n: (outputs[n] is not None, outputs.count(outputs[n]), -n))


def p_accepted(rule: str, samples: Sequence[Sample], accepted: Sequence[bool]) -> list[float]:
    """The probability that the sample selected by `rule` is accepted, for n = 1, 2, ... len(samples) samples: the mean
    of `accepted[choose(...)]` over all orders and subsets. `accepted`: of each sample, by all tests.

    Raises ValueError for an unknown rule, or without a verdict for every sample.
    """
    if len(samples) != len(accepted) or not samples:
        raise ValueError(f"{len(samples)} samples and {len(accepted)} verdicts: each sample needs one verdict")
    if rule == "majority":
        return _most_frequent([sample.output for sample in samples], accepted)
    if rule not in (*RULES, ORACLE):
        raise ValueError(f"unknown rule {rule!r}; choose one of {', '.join((*RULES, ORACLE))}")
    return _highest(list(accepted) if rule == ORACLE else [sample.passed for sample in samples], accepted)


def _highest(scores: Sequence[int], accepted: Sequence[bool]) -> list[float]:
    """A sample with the highest score: for each score the probability to be the highest, times its accepted share."""
    total = len(scores)
    values = [0.0] * total
    for score, share in sorted(_shares(scores, accepted).items()):
        up_to, below = sum(one <= score for one in scores), sum(one < score for one in scores)
        for n in range(1, total + 1):
            values[n - 1] += (math.comb(up_to, n) - math.comb(below, n)) / math.comb(total, n) * share
    return values


def _most_frequent(outputs: Sequence, accepted: Sequence[bool]) -> list[float]:
    """A sample of the largest group of equal outputs; groups of the same size are equally likely to be the first."""
    total, shares = len(outputs), _shares(outputs, accepted)
    sizes = Counter(outputs)
    without = sizes.pop(None, 0)
    values = [math.comb(without, n) / math.comb(total, n) * shares.get(None, 0.0) for n in range(1, total + 1)]
    for output, size in sizes.items():
        for count in range(1, size + 1) if shares[output] else ():
            # Ways to draw the other samples: {(how many, groups that tie): ways}; no group may have more than `count`.
            ways = {(k, 0): math.comb(without, k) for k in range(without + 1)}
            for other, other_size in sizes.items():
                if other != output:
                    ways = _with_group(ways, other_size, count)
            for (others, ties), number in ways.items():
                n = count + others
                values[n - 1] += math.comb(size, count) * number / math.comb(total, n) / (ties + 1) * shares[output]
    return values


def _with_group(ways: dict[tuple[int, int], int], size: int, most: int) -> dict[tuple[int, int], int]:
    extended: Counter[tuple[int, int]] = Counter()
    for (others, ties), number in ways.items():
        for k in range(min(size, most) + 1):
            extended[others + k, ties + (k == most)] += number * math.comb(size, k)
    return extended


def _shares(values: Sequence, accepted: Sequence[bool]) -> dict:
    """value -> accepted share of the samples with it."""
    counts, right = Counter(values), Counter(value for value, ok in zip(values, accepted, strict=True) if ok)
    return {value: right[value] / count for value, count in counts.items()}
