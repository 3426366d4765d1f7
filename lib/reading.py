"""Reading: how a run opens a set of problems: role checked, manifest checked, ids in the ledger.

train = read_problems(run, "tiny_contests", "train", purpose="train")
"""

from lib.problems import Problems, load_problems
from lib.quality import reliable


def read_problems(run, name: str, split: str, *, purpose: str, first: int = 0, dev: bool = False) -> Problems:
    """The problems of a frozen set, for one purpose: `train`, `select`, `monitor` or `report`.

    `run`: an open `lib.run.Run`, whose ledger keeps the ids. `first` > 0: so many only; `dev`: the fixed subset for
    frequent checks. For training, problems marked as unreliable are left out, and counted in `dropped`.
    Raises lib.ledger.RoleError when the role of the set does not allow the purpose, or when the run has opened a test
    set and asks for more to train or select with; else as `load_problems` and `lib.quality.reliable`.
    """
    run.ledger.require(name, split, purpose)
    problems = load_problems(name, split, dev=dev)
    if purpose == "train":
        problems = reliable(problems, name, split)
    problems = Problems(problems[: first or None], problems.dropped)
    run.ledger.record(name, split, purpose, problems)
    return problems
