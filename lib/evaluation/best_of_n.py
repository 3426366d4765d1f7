"""Best of n: a rule selects one of n samples of a policy; its expected result is computed. Pure functions, no torch.

A rule sees what a user of the policy could see: how many public tests a program passes, or what it prints on their
inputs. `only_public` and `without_expected` make the problems that are judged before a selection; they contain no other
test. The oracle reads the verdict on all tests: an upper bound that nobody can reach, never a result.

The value of a rule with n samples is its mean over all subsets of n of the drawn samples, computed exactly from counts
like pass@k (Chen et al. 2021, eq. 1), so that no lucky draw is reported.
"""

import ast
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from lib.judge.verdict import Verdict
from lib.problems import Problem, Test
from lib.statistics import bootstrap, paired_bootstrap

RULES = ("public tests", "majority")
ORACLE = "oracle (upper bound)"
JUDGE_SECONDS = {"public tests": "public_s", "majority": "outputs_s"}  # rule -> the field of Sample with its cost
RESAMPLES = 2_000


@dataclass(frozen=True)
class Sample:
    """What the rules see of a sample. `passed`: public tests; `output`: its output on each of their inputs, None if it
    did not end on one of them or there are none; `public_s` and `outputs_s`: CPU seconds to find out either."""

    tokens: int
    passed: int = 0
    output: tuple[str, ...] | None = None
    public_s: float = 0.0
    outputs_s: float = 0.0


def only_public(problem: Problem) -> Problem | None:
    """The problem with its public tests only and without solutions; None if it has no public test."""
    tests = tuple(test for test in problem.tests if test.visibility == "public")
    return replace(problem, tests=tests, solutions=(), incorrect_solutions=()) if tests else None


def without_expected(problem: Problem) -> Problem | None:
    """The inputs of the public tests without expected outputs: its verdict contains outputs and nothing else.

    For a function problem the inputs are the left sides of the public asserts (`assert f(2) == 4`). None if there are
    no public tests, or if one of them has another form.
    """
    if (shown := only_public(problem)) is None:
        return None
    tests = [_without_answer(test, problem.kind) for test in shown.tests]
    return None if None in tests else replace(shown, tests=tuple(tests), checker="exact")


def _without_answer(test: Test, kind: str) -> Test | None:
    if kind == "stdio":
        return replace(test, output="")
    *before, last = ast.parse(test.input).body
    if not isinstance(last, ast.Assert) or any(isinstance(node, ast.Assert) for node in before):
        return None
    compared = last.test
    if not isinstance(compared, ast.Compare) or not isinstance(compared.ops[0], ast.Eq) or len(compared.ops) > 1:
        return None
    # Never true, because the judge reports the output only of an assert that fails.
    last.test = ast.Compare(compared.left, [ast.Is()], [ast.Constant(...)])
    return replace(test, input="\n".join(map(ast.unparse, [*before, last])))


def judge_public(
    judge, problems: Sequence[Problem], programs: Sequence[Sequence[tuple[str, int]]]
) -> list[list[Sample]]:
    """The samples of each problem, given as (program, tokens), as the rules see them; judges public tests only.

    `judge` has `judge_many`. Raises ValueError if it failed on a sample.
    """
    seen = []
    for view in (only_public, without_expected):
        views = [view(problem) for problem in problems]
        pairs = [(text, shown) for shown, drawn in zip(views, programs, strict=True) if shown for text, _ in drawn]
        verdicts = iter(judge.judge_many(pairs))
        seen.append(
            [[next(verdicts) if shown else None for _ in of] for shown, of in zip(views, programs, strict=True)]
        )
    return [
        [make_sample(tokens, *verdicts) for (_, tokens), *verdicts in zip(drawn, *both, strict=True)]
        for drawn, *both in zip(programs, *seen, strict=True)
    ]


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
    """The index of the sample that a rule selects; of equal samples the first that was drawn.

    `public tests`: a program that passes most of them. `majority`: a program with the most frequent output; programs
    without an output come last. Raises ValueError for an unknown rule.
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}; choose one of {', '.join(RULES)}")
    if rule == "public tests":
        return max(range(len(samples)), key=lambda n: (samples[n].passed, -n))
    outputs = [sample.output for sample in samples]
    return max(range(len(samples)), key=lambda n: (outputs[n] is not None, outputs.count(outputs[n]), -n))


def p_accepted(rule: str, samples: Sequence[Sample], accepted: Sequence[bool]) -> list[float]:
    """The probability that the sample selected by `rule` is accepted, for n = 1, 2, ... len(samples) samples.

    `accepted`: of each sample, by all tests; no rule but ORACLE reads it. Equals the mean of `accepted[choose(...)]`
    over all orders and subsets. Raises ValueError for an unknown rule, or without a verdict for every sample.
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
        gain = paired_bootstrap(by_n[n], accepted, resamples=RESAMPLES)
        points = {"points": 100 * gain["difference"], "low": 100 * gain["low"], "high": 100 * gain["high"]}
        shares = {"best of n": fmean(by_n[n]), "policy": fmean(accepted)}
        rows.append({"n": n, "times the tokens": n * per_sample / tokens, **shares, **points, "reached with": reached})
    return rows
