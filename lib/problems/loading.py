"""Reading: how a run opens a set of problems: role checked, manifest checked, ids in the ledger.

train = read_problems(run, "tiny_contests", "train", purpose="train")
"""

from pathlib import Path

from lib.problems import Problems, load_problems
from lib.problems.ledger import Ledger
from lib.problems.quality import reliable


def read_problems(
    run,
    name: str,
    split: str,
    *,
    purpose: str,
    first: int = 0,
    dev: bool = False,
    source: str | Path | None = None,
    frozen: bool = True,
) -> Problems:
    """The problems of a frozen set, for one purpose: `train`, `select`, `monitor` or `report`.

    `run`: an open `lib.runs.run.Run`, whose ledger keeps the ids. `first` > 0: so many only; `dev`: the fixed subset for
    frequent checks; `source`: a local copy of the set. For training, problems marked as unreliable are left out, and
    counted in `dropped`. `frozen`: False is for reports about rows that have no manifest.
    Raises lib.problems.ledger.RoleError when the role of the set does not allow the purpose, or when the run has opened a test
    set and asks for more to train or select with; ValueError for rows without a manifest and another purpose than a
    report; else as `load_problems` and `lib.problems.quality.reliable`.
    """
    if run.ledger is None:
        run.ledger = Ledger(run.folder)
    run.ledger.require(name, split, purpose)
    if not frozen and purpose != "report":
        raise ValueError(f"to {purpose}, a set must be frozen: python -m lib.problems.freeze write {name}")
    problems = load_problems(name, split, source, dev=dev, frozen=frozen)
    if purpose == "train":
        problems = reliable(problems, name, split)
    problems = Problems(problems[: first or None], problems.dropped)
    run.ledger.record(name, split, purpose, problems, frozen)
    return problems
