"""Data report: reads every set of a preset and describes it in tables. Used by `01_data`."""

import pandas as pd

from lib.judge.host.compare import comparison
from lib.problems import manifest
from lib.problems.loading import read_problems
from lib.problems.manifest import Problems
from lib.problems.overlap import normalise
from lib.problems.quality import count_tests
from lib.problems.roles import problem_sets
from lib.problems.sources import given_place
from lib.runs import paths

# Files of rows of the real sources, in ../shared/data beside the repository: (file, whether it is the whole split).
LOCAL = {
    ("codecontests", "test"): ("codecontests/test_165.jsonl.gz", True),
    ("humaneval", "test"): ("humaneval/HumanEval.jsonl.gz", True),
    ("mbpp_reg", "test"): ("mbpp/mbpp.jsonl", True),
    ("codecontests", "train"): ("codecontests/train_150.jsonl.gz", False),
    ("mbpp", "train"): ("mbpp/mbpp.jsonl", True),
}


def open_sets(run) -> dict[str, Problems]:
    """Reads the sets of the run's preset for its report: {name: problems}.

    Rows come from the place that RLVR_ROWS or the preset names, else from ../shared/data beside the repository if they
    are there, else from the set's own source. Sets that are not frozen yet and have no rows there are excluded.
    """
    folder = paths.root().parent / "shared" / "data"
    index, sets = manifest.read_index(), {}
    for name, chosen in problem_sets(run.preset).items():
        place = chosen.source, chosen.split
        file, whole = LOCAL.get(place, ("", True))
        beside = folder / file if (folder / file).is_file() else None
        source = given_place(chosen.source, chosen.rows) or beside
        if source or manifest.file_name(*place) in index:
            sets[name] = read_problems(run, name, purpose="report", source=source, frozen=whole)
    return sets


def size_table(sets: dict[str, Problems], preset: dict) -> pd.DataFrame:
    """One row per set of the preset: role, source, problems, tests, problems with solutions, problems with answers in
    any case and with real answers, excluded rows and why."""
    rows = {}
    for name, chosen in problem_sets(preset).items():
        problems = sets.get(name, Problems())
        compared = [comparison(problem) for problem in problems]
        reasons = "; ".join(f"{n} {reason}" for reason, n in problems.dropped.items())
        rows[name] = {
            "role": chosen.role,
            "source": f"{chosen.source} {chosen.split}",
            "problems": len(problems),
            "tests": sum(count_tests(problem) for problem in problems),
            "with solutions": sum(bool(problem.solutions) for problem in problems),
            "in any case": sum(bool(rule.words) for rule in compared),
            "real answers": sum(rule.real for rule in compared),
            "rows left out": (reasons or "none") if name in sets else "all: the set is not frozen yet",
        }
    return pd.DataFrame(rows).T


def problem_table(sets: dict[str, Problems]) -> pd.DataFrame:
    """One row per problem: set, difficulty, tests, words of the statement, longest input in characters."""
    return pd.DataFrame(
        {
            "set": name,
            "difficulty": problem.difficulty or "unknown",
            "tests": count_tests(problem),
            "words": len(normalise(problem.prompt)),
            "longest input": max(len(test.input) for test in problem.tests),
        }
        for name, problems in sets.items()
        for problem in problems
    )
