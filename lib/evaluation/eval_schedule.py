"""Tiers: what the checkpoints of a training are measured on, and how often.

| tier | sets                                | when (steps, from the preset's `tiers`)                   |
|---|---|---|
| 1    | valid, MBPP_reg                     | every `tier_1`                                            |
| 2    | and valid_big                       | every `tier_2`, and at the last checkpoint                |
| 3    | and test, HumanEval                 | once, at the end of a phase, by a run that reports        |

The sets bear the names of the real ones, also where the preset loads their tiny twins.
"""

from collections.abc import Mapping

from lib.problems import Problem
from lib.problems.loading import read_problems

TIERS = {1: ("codecontests_valid", "mbpp_reg")}
TIERS[2] = (*TIERS[1], "codecontests_valid_big")
TIERS[3] = (*TIERS[2], "codecontests_test", "humaneval")
_PLACES = {  # name -> which of the preset's sets, and its split
    "codecontests_valid": ("contests", "valid"),
    "codecontests_valid_big": ("contests", "valid_big"),
    "codecontests_test": ("contests", "test"),
    "humaneval": ("humaneval", "test"),
    "mbpp_reg": ("mbpp", "test"),
}


def tier_at(step: int, every: Mapping[str, int], last: int) -> int:
    """The tier that the checkpoint of a step is due for; 0: none. `last`: the step of the last checkpoint."""
    if step == last or step % every["tier_2"] == 0:
        return 2
    return 1 if step % every["tier_1"] == 0 else 0


def tier_sets(run, tier: int, purpose: str, first: int = 0) -> dict[str, list[Problem]]:
    """The problems of a tier by the names of its sets; `first` > 0: so many of each only.

    `run`: an open run (`lib.runs.run.Run`). `purpose`: "select", for a run that chooses or tunes anything, or "report".
    Raises lib.problems.ledger.RoleError when tier 3 is asked for by a run that selects: what has been looked at while choosing
    measures nothing afterwards.
    """
    sets = {}
    for name in TIERS[tier]:
        kind, split = _PLACES[name]
        why = "monitor" if (name, purpose) == ("mbpp_reg", "select") else purpose  # watched, never chosen by
        sets[name] = read_problems(run, run.preset["sets"][kind], split, purpose=why, first=first)
    return sets
