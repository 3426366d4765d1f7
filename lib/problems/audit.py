"""The audit of the data: opens every set for a report, and puts what there is into tables. Used by `01_data`."""

import pandas as pd

from lib.problems import Problems, role_of
from lib.problems.loading import read_problems
from lib.problems.overlap import normalise
from lib.problems.quality import count_tests
from lib.problems.sets import SETS
from lib.runs import paths

# Rows of the real sets as files, where they lie beside the project: (file, whether it is all of the frozen set).
LOCAL = {
    ("codecontests", "test"): ("codecontests/test_165.jsonl.gz", True),
    ("humaneval", "test"): ("humaneval/HumanEval.jsonl.gz", True),
    ("mbpp_reg", "test"): ("mbpp/mbpp.jsonl", True),
    ("codecontests", "train"): ("codecontests/train_150.jsonl.gz", False),
    ("mbpp", "train"): ("mbpp/mbpp.jsonl", True),
}


def open_sets(run, which: str) -> dict[str, Problems]:
    """Every set of a world, opened for the report of `run`: name and split -> problems.

    `which`: tiny; or real, from the files in `../shared/data` beside the project or else from the hub, where only whole
    sets are opened. Raises ValueError for another world, and as `load_problems` without files and hub.
    """
    if which == "tiny":
        places = [(name, split) for name, one in SETS.items() if one.tiny for split in one.roles]
        return {f"{name} {split}": read_problems(run, name, split, purpose="report") for name, split in places}
    if which != "real":
        raise ValueError(f"no world {which!r}; there are: tiny, real")
    folder = paths.root().parent / "shared" / "data"
    sets = {}
    for (name, split), (file, whole) in LOCAL.items():
        source = folder / file if (folder / file).is_file() else None
        if source or whole:
            found = read_problems(run, name, split, purpose="report", source=source, frozen=whole)
            sets[f"{name} {split}"] = found
    return sets


def size_table(sets: dict[str, Problems]) -> pd.DataFrame:
    """One row per set: role, problems, rows left out and why, problems with solutions."""
    rows = {}
    for label, problems in sets.items():
        rows[label] = {
            "role": role_of(*label.split()),
            "problems": len(problems),
            "tests": sum(count_tests(problem) for problem in problems),
            "with solutions": sum(bool(problem.solutions) for problem in problems),
            "left out": "; ".join(f"{n} {reason}" for reason, n in problems.dropped.items()) or "none",
        }
    return pd.DataFrame(rows).T


def problem_table(sets: dict[str, Problems]) -> pd.DataFrame:
    """One row per problem: set, difficulty, tests, words of the statement, longest input in characters."""
    return pd.DataFrame(
        {
            "set": label,
            "difficulty": problem.difficulty or "unknown",
            "tests": count_tests(problem),
            "words": len(normalise(problem.prompt)),
            "longest input": max(len(test.input) for test in problem.tests),
        }
        for label, problems in sets.items()
        for problem in problems
    )
