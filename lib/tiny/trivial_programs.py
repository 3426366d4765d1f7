"""What the tests of the tiny world let through: labelled solutions, labelled mistakes and trivial programs, judged."""

from collections import Counter
from dataclasses import replace

import pandas as pd

from lib.judge import ERROR_TYPES, Judge
from lib.problems import Problem

TRIVIAL = {
    **{f"print({value!r})": f"print({value!r})\n" for value in (0, 1, -1, 2, "EMPTY")},
    "echo of the input": "import sys\nprint(sys.stdin.read())\n",
    "echo of the list": "input()\nprint(input())\n",
}


def judge_labelled(solved: list[Problem], failed: list[Problem], judge: Judge) -> pd.DataFrame:
    """Shares of the error types among the solutions of `solved` and among the incorrect solutions of `failed`."""
    submissions = {
        "labelled correct": [(program, problem) for problem in solved for program in problem.solutions],
        "labelled incorrect": [(program, problem) for problem in failed for program in problem.incorrect_solutions],
    }
    rows = {}
    for label, pairs in submissions.items():
        counts = Counter(verdict.error_type for verdict in judge.judge_many(pairs, progress=False))
        rows[label] = {kind: counts[kind] / len(pairs) for kind in ERROR_TYPES}
    return pd.DataFrame(rows).T


def judge_trivial(problems: list[Problem], judge: Judge) -> pd.DataFrame:
    """For each trivial program, its mean share of the hidden tests passed (`earned`) and the problems it `solved`."""
    hidden = [replace(p, tests=tuple(t for t in p.tests if t.visibility != "public")) for p in problems]
    rows = {}
    for name, program in TRIVIAL.items():
        verdicts = judge.judge_many([(program, problem) for problem in hidden], progress=False)
        earned = sum(verdict.pass_ratio for verdict in verdicts) / len(verdicts)
        rows[name] = {"earned": earned, "solved": sum(verdict.accepted for verdict in verdicts)}
    return pd.DataFrame(rows).T
