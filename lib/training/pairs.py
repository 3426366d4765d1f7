"""Pairs to train on: prompts with verified solutions for SFT, and preference pairs for DPO.

A preference pair is made of judged samples: the best program for a train problem, and the worst.

chosen    highest pass_ratio; ties: the shorter answer (tokens), then the faster program, then the earlier sample
rejected  lowest pass_ratio; ties: syntax errors first, then timeouts, then the earlier sample

A problem gives no pair for one of REASONS. Syntax errors and timeouts of another policy on the same problems become
further pairs, the flywheel: the best program for the problem against each of them. No torch: functions over plain data.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from lib.policy.prompts import answer, count_tokens, messages
from lib.problems import Problem
from lib.rewards import Sample

MARGIN = Fraction(3, 10)  # least difference of pass ratios within a pair, compared exactly
TIME_STEP = 0.05  # seconds of CPU; less is noise, and would make a rerun choose differently
HARD = ("syntax_error", "timeout")  # error types of hard negatives, in the order of rejection
TIES = ("tokens", "time")  # tie-breakers between equally good samples, in this order
REASONS = ("no sample passes a test", "all samples pass all tests", "pass ratios too close", "too few verdicts")
LONGEST = 4000  # characters of a solution
# Which of several accepted solutions of a problem is used first: the key of (program, CPU seconds).
PREFER = {
    "shortest": lambda program, seconds: len(program),
    "fastest": lambda program, seconds: (round(seconds / 0.05), len(program)),
}
_READS_INPUT = re.compile(r"\b(input|stdin|open|fileinput)\b")


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


def verified_pairs(
    problems: list[Problem],
    judge,
    per_problem: int,
    instruction: str = "",
    prefer: str = "shortest",
    easy: Collection[str] = (),
    tokens: tuple[Any, int] | None = None,
) -> tuple[list[tuple[list[dict[str, str]], str]], dict[str, int]]:
    """(messages, program) of solutions that the judge accepts: at most `per_problem` for each problem.

    `prefer`: the `shortest` solutions are used, or the `fastest` (in steps of 50 ms of CPU, then the shortest).
    Excluded before judging: solutions of more than LONGEST characters, those that with their statement have more
    tokens than `tokens` (a tokenizer, a limit) allows, and programs that never read their input.
    Pairs of easy problems come first: problems whose difficulty is in `easy` or not known.
    Also returns counts: of problems, of those with solutions, of solutions excluded and judged, of solutions that the
    set calls correct and the judge rejects, of the resulting pairs, and of the easy ones among them.
    """

    def is_short(program: str, problem: Problem) -> bool:
        if tokens is None or len(program) > LONGEST:
            return len(program) <= LONGEST
        tokenizer, limit = tokens
        pair = [*messages(problem, instruction), {"role": "assistant", "content": answer(program)}]
        return count_tokens(tokenizer, pair) <= limit

    offered = [(program, problem) for problem in problems for program in dict.fromkeys(problem.solutions)]
    short = [pair for pair in offered if is_short(*pair)]
    judged = [(text, problem) for text, problem in short if problem.kind != "stdio" or _READS_INPUT.search(text)]
    verdicts = judge.judge_many(judged, progress=False)
    accepted: dict[str, list] = {}
    for (program, problem), verdict in zip(judged, verdicts, strict=True):
        if verdict.accepted:
            accepted.setdefault(problem.id, []).append((PREFER[prefer](program, verdict.judge_time), program, problem))
    best = [sorted(found, key=lambda solution: solution[0])[:per_problem] for found in accepted.values()]
    chosen = [(problem, program) for found in best for _, program, problem in found]
    is_easy = {problem.id: not problem.difficulty or problem.difficulty in easy for problem in problems}
    chosen.sort(key=lambda solution: not is_easy[solution[0].id])
    counts = {
        "problems": len(problems),
        "with solutions": sum(bool(problem.solutions) for problem in problems),
        "over-long": len(offered) - len(short),
        "reads no input": len(short) - len(judged),
        "solutions judged": len(judged),
        "rejected by the judge": sum(not verdict.accepted for verdict in verdicts),
        "pairs": len(chosen),
        "easy pairs": sum(is_easy[problem.id] for problem, _ in chosen),
    }
    return [(messages(problem, instruction), program) for problem, program in chosen], counts


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
