"""Best of n: which of several samples of one policy is handed in, and what that is worth. Pure functions, no torch.

A rule sees of a sample what a user of the policy could see: how many of the public tests its program passes, or what
the program gives on the inputs of the public tests. No test that is not public is in the problems that `only_public`
and `without_expected` make, and these are all that is judged before a choice. The oracle knows the whole verdict: an upper bound that
nobody can reach, never to be read as a result.

What a rule is worth for n samples is the mean over all ways to draw n of the samples that there are, computed exactly
from counts (as pass@k is; Chen et al. 2021, eq. 1), so that no lucky draw is reported.
"""

import ast
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from lib.judge.verdict import Verdict
from lib.problems import Problem, Test
from lib.statistics import bootstrap, paired_bootstrap

RULES = ("public tests", "majority")
ORACLE = "oracle (upper bound)"
RESAMPLES = 2_000


@dataclass(frozen=True)
class Sample:
    """A sample as a rule sees it. `passed`: public tests. `output`: what it gave on the inputs of all public tests;
    None when it did not end on one of them, or there are none. `tokens` generated; the CPU seconds of either look.
    """

    tokens: int
    passed: int = 0
    output: tuple[str, ...] | None = None
    public_s: float = 0.0
    outputs_s: float = 0.0


def only_public(problem: Problem) -> Problem | None:
    """The problem with its public tests only and without solutions; None when it has none."""
    tests = tuple(test for test in problem.tests if test.visibility == "public")
    return replace(problem, tests=tests, solutions=(), incorrect_solutions=()) if tests else None


def without_expected(problem: Problem) -> Problem | None:
    """The inputs of the public tests without what is expected: its verdicts say what a program gave, never if it was
    right. Of a function problem these are the left sides of its public asserts (`assert f(2) == 4`). None when there
    are no public tests, or when one of them has no such form.
    """
    shown = only_public(problem)
    if shown is None:
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
    # Never true: only of an assert that fails does the judge tell what the last call gave.
    last.test = ast.Compare(compared.left, [ast.Is()], [ast.Constant(...)])
    return replace(test, input="\n".join(map(ast.unparse, [*before, last])))


def sample(tokens: int, shown: Verdict | None = None, given: Verdict | None = None) -> Sample:
    """From the verdicts on the `only_public` and the `without_expected` problem, None where there is no such problem.

    Outputs are compared by their words, of the 300 characters of each that the judge keeps. Raises ValueError when the
    judge failed: a sample that was not looked at is no sample that failed.
    """
    if any(verdict is not None and verdict.error_type == "api_error" for verdict in (shown, given)):
        raise ValueError("the judge failed on a sample: judge it again before anything is chosen")
    ended = given is not None and len(given.tests) == given.total and given.error_type in ("success", "wrong_answer")
    return Sample(
        tokens=tokens,
        passed=shown.passed if shown else 0,
        output=tuple(" ".join(test.got.split()) for test in given.tests) if ended else None,
        public_s=shown.judge_time if shown else 0.0,
        outputs_s=given.judge_time if given else 0.0,
    )


def choose(rule: str, samples: Sequence[Sample]) -> int:
    """The index of the sample that a rule hands in; of what is equal to it, the one that was drawn first.

    `public tests`: the most of them passed. `majority`: the output that most programs gave, the first of those; any
    program that ended comes before one that did not. Raises ValueError for another rule.
    """
    if rule not in RULES:
        raise ValueError(f"no rule {rule!r}; there are: {', '.join(RULES)}")
    if rule == "public tests":
        return max(range(len(samples)), key=lambda n: (samples[n].passed, -n))
    outputs = [one.output for one in samples]
    return max(range(len(samples)), key=lambda n: (outputs[n] is not None, outputs.count(outputs[n]), -n))


def p_accepted(rule: str, samples: Sequence[Sample], accepted: Sequence[bool]) -> list[float]:
    """The chance that what `rule` hands in is accepted, for n = 1, 2, ... len(samples) of the samples.

    `accepted`: of each sample by all tests, which no rule but ORACLE reads. Equal to the mean of
    `accepted[choose(...)]` over all orders and subsets. Raises ValueError as `choose`.
    """
    if len(samples) != len(accepted) or not samples:
        raise ValueError(f"{len(samples)} samples and {len(accepted)} verdicts are no pairs")
    if rule == "majority":
        return _plurality([one.output for one in samples], accepted)
    scores = {
        "public tests": [one.passed for one in samples],
        ORACLE: list(accepted),
    }
    if rule not in scores:
        raise ValueError(f"no rule {rule!r}; there are: {', '.join((*RULES, ORACLE))}")
    return _highest(scores[rule], accepted)


def _highest(scores: Sequence[int], accepted: Sequence[bool]) -> list[float]:
    """Of n samples the one with the highest score: the chance of each score to be the highest, times its share."""
    total, found = len(scores), []
    for n in range(1, total + 1):
        value = 0.0
        for score in set(scores):
            up_to = math.comb(sum(one <= score for one in scores), n)
            below = math.comb(sum(one < score for one in scores), n)
            value += (up_to - below) / math.comb(total, n) * _share(scores, score, accepted)
        found.append(value)
    return found


def _plurality(outputs: Sequence, accepted: Sequence[bool]) -> list[float]:
    """Of n samples one of the largest group of equal outputs; of groups of one size, each is as likely to be first."""
    total = len(outputs)
    sizes = {output: outputs.count(output) for output in outputs if output is not None}
    without = outputs.count(None)
    found = [math.comb(without, n) / math.comb(total, n) * _share(outputs, None, accepted) for n in range(1, total + 1)]
    for output, size in sizes.items():
        share = _share(outputs, output, accepted)
        for count in range(1, size + 1) if share else ():
            # Ways to draw the others: {(how many, groups that tie): ways}; no other group may have more than `count`.
            ways = {(k, 0): math.comb(without, k) for k in range(without + 1)}
            for other, its_size in sizes.items():
                if other != output:
                    ways = _with_group(ways, its_size, count)
            for (others, ties), number in ways.items():
                n = count + others
                found[n - 1] += math.comb(size, count) * number / math.comb(total, n) / (ties + 1) * share
    return found


def _with_group(ways: dict[tuple[int, int], int], size: int, most: int) -> dict[tuple[int, int], int]:
    grown: dict[tuple[int, int], int] = {}
    for (others, ties), number in ways.items():
        for k in range(min(size, most) + 1):
            key = (others + k, ties + (k == most))
            grown[key] = grown.get(key, 0) + number * math.comb(size, k)
    return grown


def _share(values: Sequence, value: object, accepted: Sequence[bool]) -> float:
    own = [bool(right) for one, right in zip(values, accepted, strict=True) if one == value]
    return fmean(own) if own else 0.0


def curve(
    problems: Sequence[tuple[Sequence[Sample], Sequence[bool]]], ns: Sequence[int], seed: int = 0
) -> tuple[list[dict], dict[tuple[str, int], list[float]]]:
    """What every rule is worth for every n of `ns`: rows for a table, and the chances behind them, one per problem.

    `problems`: (samples, accepted) of each. A row: `rule`, `n`, `accepted` with its 95 % interval from resampling the
    problems (`low`, `high`), and what a problem costs: `tokens` generated, `judge_s` CPU seconds of the rule's looking
    (equal programs counted each; 0 for the oracle, whose price nobody pays). With n = 1 there is nothing to choose.
    """
    rows, by_problem = [], {}
    for rule in (*RULES, ORACLE):
        all_chances = [p_accepted(rule, *one) for one in problems]
        looks = {"public tests": "public_s", "majority": "outputs_s"}.get(rule)
        for n in ns:
            values = by_problem[rule, n] = [one[n - 1] for one in all_chances]
            low, high = bootstrap(values, resamples=RESAMPLES, seed=seed)
            rows.append(
                {
                    "rule": rule,
                    "n": n,
                    "accepted": fmean(values),
                    "low": low,
                    "high": high,
                    "tokens": n * fmean(fmean(one.tokens for one in own) for own, _ in problems),
                    "judge_s": n * fmean(fmean(getattr(one, looks) for one in own) for own, _ in problems)
                    if looks
                    else 0.0,
                }
            )
    return rows, by_problem


def judge_public(
    judge, problems: Sequence[Problem], programs: Sequence[Sequence[tuple[str, int]]]
) -> list[list[Sample]]:
    """What the rules may see of the samples of each problem, given as (program, tokens); judges nothing else.

    `judge` offers `judge_many`, as lib.judge.Judge does. Raises ValueError when it failed, as `sample`.
    """
    seen = []
    for view in (only_public, without_expected):
        views = [view(problem) for problem in problems]
        pairs = [(text, one) for one, own in zip(views, programs, strict=True) if one for text, _ in own]
        verdicts = iter(judge.judge_many(pairs))
        seen.append([[next(verdicts) if one else None for _ in own] for one, own in zip(views, programs, strict=True)])
    return [
        [sample(tokens, *looks) for (_, tokens), *looks in zip(own, *views, strict=True)]
        for own, *views in zip(programs, *seen, strict=True)
    ]


def versus_policy(
    tokens: float,
    accepted: Sequence[bool],
    rule: str,
    by_problem: dict[tuple[str, int], list[float]],
    per_sample: float,
) -> list[dict]:
    """`rule` against a policy that spends `tokens` on a problem and was right on `accepted`, the same problems: once
    with as many samples as these tokens pay for, at least one, and once with all that there are.

    `by_problem` as `curve` gives it; `per_sample`: tokens of one sample. `points`: what the policy is better, in
    percent of the problems, with a 95 % paired bootstrap interval. `reached with`: the smallest n that is at least as
    good as the policy, None when no n here is.
    """
    ns = sorted(n for one, n in by_problem if one == rule)
    paid = max([n for n in ns if n * per_sample <= tokens], default=ns[0])
    reached = next((n for n in ns if fmean(by_problem[rule, n]) >= fmean(accepted)), None)
    rows = []
    for n in sorted({paid, ns[-1]}):
        found = paired_bootstrap(by_problem[rule, n], accepted, resamples=RESAMPLES)
        points = {key: 100 * found[name] for key, name in (("points", "difference"), ("low", "low"), ("high", "high"))}
        right = {"best of n": fmean(by_problem[rule, n]), "policy": fmean(accepted)}
        rows.append({"n": n, "times the tokens": n * per_sample / tokens, **right, **points, "reached with": reached})
    return rows
