"""Quality of problems: which ones can't be trusted with a reward, and how many wrong programs the tests accept.

    python -m lib.problems.quality write codecontests/train          judges its correct programs and freezes the marks

A problem is marked as unreliable, with the reasons, if
1. its statement says so: several outputs are valid, it is interactive, it needs an image, its
   tests expect two outputs for one input, or it has too few tests;
2. its own correct programs say so: none of them passes, or they disagree, which means that more than DISAGREE of those
   that ran to the end gave another answer than the tests expect.
The marks are frozen in `<source>-<split>.unreliable.jsonl`, beside the manifest. Training leaves such problems out.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from lib.judge.problem import Problem
from lib.problems import manifest
from lib.problems.sources import load_problems

LEAST_TESTS = {"stdio": 5, "function": 3}  # MBPP has three asserts
DISAGREE = 0.2
PROGRAMS = 10  # judged per problem and kind; CodeContests has hundreds for some
_MANY = r"(several|multiple|many|more than one|infinitely many)"
_PRINT = r"\b(print|output|report|return|display|write|give)"
_GOOD = r"(possible|valid|correct|optimal|suitable|right|different|acceptable)"
_ANSWERS = r"(answers?|solutions?|outputs?|results?)"
_SEVERAL = re.compile(
    rf"\b{_MANY}\b.*\bany (of|one)\b|\b{_MANY}\b.*\barbitrar"
    rf"|{_PRINT} any\b|{_PRINT}\b[^.]*(\band|[,:—–-]) any\b|{_PRINT}\b[^.]*\b(any|one) of (them|those|these)\b"
    r"|(?<!not )(?<!n't )\b(find|construct|restore|reconstruct|build|determine) any\b"
    rf"|{_PRINT}(ed)?\b[^.]*\bin (any|an arbitrary|arbitrary|whatever|whichever) order"
    r"|\bany\b[^.]*\b(accepted|acceptable|considered (as )?correct|counted as correct)"
    rf"|\b(may|can|might|could) be {_MANY} ({_GOOD} )*{_ANSWERS}|\b{_MANY} ({_GOOD} )+{_ANSWERS}"
    rf"|\b{_ANSWERS} [^.]*(not|n't) [^.]*\bunique|\bspecial (checker|judge)"
)
_UNIQUE = re.compile(  # a tie is broken, or only the case of letters is free
    r"lexicographic|\b(smallest|largest|min\w*|max\w*|first|shortest|longest|leftmost) (one|of|such)\b"
    r"|\bany (case|register)"
)
_STATED = {
    "interactive": r"\binteractive (problem|task)|\binteractor\b|\bflush",
    "needs an image": r"<image>",
}


@dataclass(frozen=True)
class Quality:
    """A problem's reasons for distrust, and how many of its judged programs were accepted."""

    id: str
    reasons: tuple[str, ...]
    correct: int = 0
    correct_accepted: int = 0
    incorrect: int = 0
    incorrect_accepted: int = 0


def stated_reasons(problem: Problem) -> list[str]:
    """Reasons that need no judge."""
    sentences = re.split(r"(?<=[.!?])\s+|\n", problem.prompt.lower())
    reasons = [reason for reason, words in _STATED.items() if re.search(words, problem.prompt, re.IGNORECASE)]
    if any(_SEVERAL.search(text) and not _UNIQUE.search(text) for text in sentences):
        reasons.insert(0, "several valid outputs")
    outputs: dict[str, str] = {}
    same = (
        outputs.setdefault(test.input.strip(), test.output.strip()) == test.output.strip() for test in problem.tests
    )
    if problem.kind == "stdio" and not all(same):
        reasons.append("two expected outputs for one input")
    return reasons + (["too few tests"] if count_tests(problem) < LEAST_TESTS[problem.kind] else [])


def count_tests(problem: Problem) -> int:
    """Tests of a stdio problem, asserts of a function problem: HumanEval's one test holds many."""
    return sum(test.input.count("assert") if problem.kind == "function" else 1 for test in problem.tests)


def assess(problems: list[Problem], judge, incorrect: bool = True) -> list[Quality]:
    """Judges up to PROGRAMS correct programs of each problem, and as many incorrect ones unless `incorrect` is False.

    Programs on which the judge failed are not counted.
    """
    chosen = [(p, _some(p.solutions), _some(p.incorrect_solutions if incorrect else ())) for p in problems]
    verdicts = iter(judge.judge_many([(code, p) for p, right, wrong in chosen for code in (*right, *wrong)]))
    qualities = []
    for problem, right, wrong in chosen:
        correct, failed = (Counter(next(verdicts).error_type for _ in group) for group in (right, wrong))
        del correct["api_error"], failed["api_error"]
        reasons = (*stated_reasons(problem), *_judged_reasons(correct))
        counts = (correct.total(), correct["success"], failed.total(), failed["success"])
        qualities.append(Quality(problem.id, reasons, *counts))
    return qualities


def _some(programs: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(programs))[:PROGRAMS]


def _judged_reasons(correct: Counter[str]) -> list[str]:
    ended = correct["success"] + correct["wrong_answer"]
    if correct.total() and not correct["success"]:
        return ["no correct program passes"]
    return ["correct programs disagree"] if ended and correct["wrong_answer"] / ended > DISAGREE else []


def summary(qualities: list[Quality]) -> dict:
    """Counts and shares over a set. The false-positive rate is the share of incorrect programs that were accepted, over
    all problems and over the reliable ones, where it bounds what a reward can mean."""
    reliable = [quality for quality in qualities if not quality.reasons]
    unreliable, correct, incorrect = (
        len(qualities) - len(reliable),
        _sum(qualities, "correct"),
        _sum(qualities, "incorrect"),
    )
    return {
        "problems": len(qualities),
        "unreliable": unreliable,
        "unreliable_share": _share(unreliable, len(qualities)),
        "reasons": dict(sorted(Counter(reason for quality in qualities for reason in quality.reasons).items())),
        "correct_judged": correct,
        "correct_accepted_rate": _share(_sum(qualities, "correct_accepted"), correct),
        "incorrect_judged": incorrect,
        "false_positive_rate": _share(_sum(qualities, "incorrect_accepted"), incorrect),
        "false_positive_rate_of_reliable": _share(_sum(reliable, "incorrect_accepted"), _sum(reliable, "incorrect")),
    }


def _sum(qualities: list[Quality], count: str) -> int:
    return sum(getattr(quality, count) for quality in qualities)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def write(source: str, split: str, judge, rows: str | None = None) -> dict:
    """Judges the correct programs of a frozen split and freezes the marks; returns the summary."""
    qualities = assess(load_problems(source, split, rows), judge, incorrect=False)
    marks = [{"id": quality.id, "reasons": quality.reasons} for quality in qualities if quality.reasons]
    result = summary(qualities)
    about = {"judged": manifest.checksum(source, split), "unreliable": result["reasons"]}
    manifest.freeze({manifest.marks_file(source, split): (marks, about)})
    return result


def main(arguments: list[str] | None = None) -> int:
    from lib.judge import Judge  # here: whoever reads problems needs no judge

    parser = argparse.ArgumentParser(prog="python -m lib.problems.quality", description=__doc__.split("\n\n")[0])
    parser.add_argument("action", choices=["write"])
    parser.add_argument("sets", nargs="+", metavar="SOURCE/SPLIT", help="what to judge; it must be frozen")
    parser.add_argument("--source", metavar="PATH", help="rows from a file or folder")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_intermixed_args(arguments)
    with Judge(options.workers) as judge:
        for word in options.sets:
            source, _, split = word.partition("/")
            print(word, json.dumps(write(source, split, judge, options.source)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
