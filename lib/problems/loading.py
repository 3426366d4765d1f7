"""Loading: reads the problem sets of a run's preset, checks their roles, and records the ids in the run's ledger.

train = read_sets(run, "train")
valid = read_problems(run, "contests_valid", purpose="select")
"""

from collections.abc import Collection
from pathlib import Path

from lib.problems.ledger import Ledger
from lib.problems.manifest import Problems, reliable
from lib.problems.missing import missing_data
from lib.problems.roles import RoleError, problem_sets, require, role_of
from lib.problems.sources import given_place, load_problems
from lib.runs import requirements

requirements.CHECKS.append(missing_data)  # what a run that reads problems must have before it starts
_ROLES = {"train": ("train",), "select": ("select", "monitor"), "report": ("select", "monitor", "test")}


def read_problems(
    run,
    name: str,
    *,
    purpose: str,
    limit: int = 0,
    dev: bool = False,
    source: str | Path | None = None,
    frozen: bool = True,
) -> Problems:
    """Reads one set of the run's preset for a purpose: `train`, `select`, `monitor` or `report`.

    `run`: an open `lib.runs.run.Run`. `name`: a key of the preset's `sets`. `limit`: if > 0, only the first `limit`
    problems; `dev`: the fixed dev subset; `source`: a local copy of the set's rows. For training, problems marked as
    unreliable are excluded; `.dropped`, the ledger and a message count them. `frozen=False`, for reports only, needs no
    manifest. Raises ValueError for an unknown set or purpose; RoleError if the set's role does not allow the purpose or
    if the run has already read a test set and now requests `train` or `select`; and what `load_problems` and `reliable`
    raise.
    """
    if run.ledger is None:
        run.ledger = Ledger(run.folder)
    sets = problem_sets(run.preset)
    if name not in sets:
        raise ValueError(f"the preset has no set {name!r}; it has: {', '.join(sets)}")
    place = sets[name].source, sets[name].split
    role = role_of(*place)
    if role != sets[name].role:
        raise RoleError(f"the run's preset gives {name} the role {sets[name].role!r}, but it has the role {role!r}")
    require(purpose, role, name)
    run.ledger.require_phase(purpose)
    if not frozen and purpose != "report":
        freeze = f"python -m lib.problems.freeze write {place[0]}"
        raise ValueError(f"{name} is not frozen, so it cannot be used for {purpose}; run {freeze}")
    problems = load_problems(*place, source or given_place(place[0], sets[name].rows), dev=dev, frozen=frozen)
    if purpose == "train":
        problems = reliable(problems, *place)
    problems = Problems(problems[: limit or None], problems.dropped)
    run.ledger.record(name, *place, role, purpose, problems, frozen)
    if purpose == "train":
        reasons = "".join(f"; left out: {count} {reason}" for reason, count in problems.dropped.items())
        print(f"{name}: {len(problems)} problems to train on{reasons}")
    return problems


def read_sets(run, purpose: str, limit: int = 0, without: Collection[str] = ()) -> dict[str, Problems]:
    """Reads all sets of the run's preset that belong to a purpose, in the preset's order: {name: problems}.

    | purpose | roles of the sets that are read                            |
    |---|---|
    | train   | train                                                      |
    | select  | select; also monitor, recorded with the purpose `monitor`  |
    | report  | select, monitor, test                                      |

    `limit`: if > 0, only the first `limit` problems of each set; `without`: names of sets to exclude. Raises ValueError
    for another purpose, and what `read_problems` raises.
    """
    if purpose not in _ROLES:
        raise ValueError(f"unknown purpose {purpose!r}; read_sets accepts train, select or report")
    purposes = {role: "monitor" if (purpose, role) == ("select", "monitor") else purpose for role in _ROLES[purpose]}
    chosen = {name: entry.role for name, entry in problem_sets(run.preset).items() if name not in without}
    return {
        name: read_problems(run, name, purpose=purposes[role], limit=limit)
        for name, role in chosen.items()
        if role in purposes
    }
