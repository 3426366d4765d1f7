"""Quality of problems: which of them can't be trusted with a reward, and how much the tests of the others let through.

    python -m lib.problems.quality write codecontests/train          judges its correct programs and freezes the marks

A problem is marked as unreliable, with the reasons, when
1. its statement says so: several outputs are valid, it is interactive, it needs an image, or it has too few tests;
2. its own correct programs say so: none of them passes, or they disagree, which means that more than DISAGREE of those
   that ran to their end gave another answer than the tests expect.
The marks lie beside the manifest, in `<set>-<split>.unreliable.jsonl`; a run that trains leaves such problems out.
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
from lib.problems.manifest import ManifestError
from lib.problems.problems import Problems
from lib.problems.sources import load_problems

LEAST_TESTS = {"stdio": 5, "function": 3}  # MBPP has three asserts
DISAGREE = 0.2
PROGRAMS = 10  # judged per problem and kind; CodeContests has hundreds for some
_SAYS = {
    "several valid outputs": r"\b(print|output|find|report|return|choose|display) any\b|any of them|"
    r"(several|multiple|many|more than one) (possible |valid |correct |optimal |such )*(answer|solution|output|way)s?",
    "interactive": r"\binteractive (problem|task)|\binteractor\b|\bflush",
    "needs an image": r"<image>",
}


@dataclass(frozen=True)
class Quality:
    """What is known of a problem: reasons for distrust, and how many of the programs judged were accepted."""

    id: str
    reasons: tuple[str, ...]
    correct: int = 0
    correct_accepted: int = 0
    incorrect: int = 0
    incorrect_accepted: int = 0


def stated_reasons(problem: Problem) -> list[str]:
    """Reasons that need no judge."""
    found = [reason for reason, words in _SAYS.items() if re.search(words, problem.prompt, re.IGNORECASE)]
    return found + (["too few tests"] if count_tests(problem) < LEAST_TESTS[problem.kind] else [])


def count_tests(problem: Problem) -> int:
    """Tests of a stdio problem, asserts of a function problem: HumanEval's one test holds many."""
    return sum(test.input.count("assert") if problem.kind == "function" else 1 for test in problem.tests)


def assess(problems: list[Problem], judge, incorrect: bool = True) -> list[Quality]:
    """The quality of each problem, from its statement and from what `judge` says of its programs.

    Up to PROGRAMS correct programs of a problem are judged and, unless `incorrect` is False, as many incorrect ones. A
    program that the judge failed on says nothing and is not counted.
    """
    chosen = [
        (_some(problem.solutions), _some(problem.incorrect_solutions if incorrect else ())) for problem in problems
    ]
    pairs = [
        (program, problem)
        for problem, groups in zip(problems, chosen, strict=True)
        for group in groups
        for program in group
    ]
    verdicts = iter(judge.judge_many(pairs))
    found = []
    for problem, (right, wrong) in zip(problems, chosen, strict=True):
        correct, failed = (Counter(next(verdicts).error_type for _ in group) for group in (right, wrong))
        del correct["api_error"], failed["api_error"]
        reasons = (*stated_reasons(problem), *_judged_reasons(correct))
        counts = (correct.total(), correct["success"], failed.total(), failed["success"])
        found.append(Quality(problem.id, reasons, *counts))
    return found


def _judged_reasons(correct: Counter[str]) -> list[str]:
    ended = correct["success"] + correct["wrong_answer"]
    if correct.total() and not correct["success"]:
        return ["no correct program passes"]
    return ["correct programs disagree"] if ended and correct["wrong_answer"] / ended > DISAGREE else []


def _some(programs: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(programs))[:PROGRAMS]


def summary(qualities: list[Quality]) -> dict:
    """Counts and shares: unreliable problems by reason; correct programs accepted; incorrect programs accepted, among
    all and among those of reliable problems, which is the false-positive rate that a reward inherits."""
    reliable = [one for one in qualities if not one.reasons]
    return {
        "problems": len(qualities),
        "unreliable": len(qualities) - len(reliable),
        "unreliable_share": _share(len(qualities) - len(reliable), len(qualities)),
        "reasons": dict(sorted(Counter(reason for one in qualities for reason in one.reasons).items())),
        "correct_judged": sum(one.correct for one in qualities),
        "correct_accepted_rate": _rate(qualities, "correct"),
        "incorrect_judged": sum(one.incorrect for one in qualities),
        "false_positive_rate": _rate(qualities, "incorrect"),
        "false_positive_rate_of_reliable": _rate(reliable, "incorrect"),
    }


def _rate(qualities: list[Quality], kind: str) -> float | None:
    accepted = sum(getattr(one, f"{kind}_accepted") for one in qualities)
    return _share(accepted, sum(getattr(one, kind) for one in qualities))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def reliable(problems: Problems, name: str, split: str) -> Problems:
    """The problems without marks; the others are counted in `dropped`.

    Raises ManifestError when the set has not been judged since it was frozen.
    """
    file = _file_name(name, split)
    lines = manifest.read_lines(file)
    if lines is None or manifest.read_index()[file]["judged"] != manifest.checksum(name, split):
        raise ManifestError(
            f"{name}, split {split}, has not been judged since it was frozen: "
            f"python -m lib.problems.quality write {name}/{split}"
        )
    marks = {one["id"]: one["reasons"] for one in lines}
    dropped = Counter(f"unreliable: {marks[problem.id][0]}" for problem in problems if problem.id in marks)
    return Problems((problem for problem in problems if problem.id not in marks), problems.dropped + dropped)


def write(name: str, split: str, judge, source: str | None = None) -> dict:
    """Judges the correct programs of a frozen set and freezes the marks; returns the summary."""
    qualities = assess(load_problems(name, split, source), judge, incorrect=False)
    marks = [{"id": one.id, "reasons": one.reasons} for one in qualities if one.reasons]
    found = summary(qualities)
    about = {"judged": manifest.checksum(name, split), "unreliable": found["reasons"]}
    manifest.freeze({_file_name(name, split): (marks, about)})
    return found


def _file_name(name: str, split: str) -> str:
    return manifest.file_name(name, split).replace(".jsonl", ".unreliable.jsonl")


def main(arguments: list[str] | None = None) -> int:
    from lib.judge import Judge

    parser = argparse.ArgumentParser(prog="python -m lib.problems.quality", description=__doc__.split("\n\n")[0])
    parser.add_argument("action", choices=["write"])
    parser.add_argument("sets", nargs="+", metavar="SET/SPLIT", help="what to judge; it must be frozen")
    parser.add_argument("--source", metavar="PATH", help="rows from a file or folder")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_intermixed_args(arguments)
    with Judge(options.workers) as judge:
        for word in options.sets:
            name, _, split = word.partition("/")
            print(word, json.dumps(write(name, split, judge, options.source)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
