"""QA logs: some prompts and answers of every error type, drawn with a seed, for people to read.

| set                        | of each error type | and at random |
|---|---|---|
| contests valid, valid_big  | 5                  | 5             |
| contests test              | 10                 |               |
| HumanEval                  | 6                  |               |
| any other                  | 5                  |               |
"""

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from lib.judge.verdict import ERROR_TYPES

PER_TYPE = {"contests_test": 10, "humaneval": 6}
RANDOM = {"contests_valid": 5, "contests_valid_big": 5}
Row = TypeVar("Row")


def draw(dataset: str, rows: Sequence[Row], error_type: Callable[[Row], str], seed: int) -> list[tuple[str, Row]]:
    """(stratum, row) of the rows to keep, by error type, then the random ones among the rest; in the set's order."""
    name = dataset.removeprefix("code")  # codecontests_valid, where the sets bear the names of the real ones
    kept, chosen = [], set()
    for stratum in (*ERROR_TYPES, "random"):
        if stratum == "random":
            pool, wanted = [n for n in range(len(rows)) if n not in chosen], RANDOM.get(name, 0)
        else:
            pool, wanted = [n for n, row in enumerate(rows) if error_type(row) == stratum], PER_TYPE.get(name, 5)
        # A seed per stratum: more failures of one type don't move the sample of another.
        drawn = sorted(random.Random(f"{seed} {stratum}").sample(pool, min(wanted, len(pool))))
        chosen.update(drawn)
        kept += [(stratum, rows[n]) for n in drawn]
    return kept


def summary(kept: Sequence[tuple[str, Row]], rows: Sequence[Row], error_type: Callable[[Row], str]) -> dict:
    """How many rows there were of each error type, and how many of them were kept for it; how many at random."""
    strata = [stratum for stratum, _ in kept]
    types = [error_type(row) for row in rows]
    return {
        "n": len(rows),
        "by_error_type": {one: {"found": types.count(one), "kept": strata.count(one)} for one in ERROR_TYPES},
        "random": strata.count("random"),
    }
