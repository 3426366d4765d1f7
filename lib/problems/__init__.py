"""Problems: one shape for all problem sets, read through a run that checks roles and keeps a ledger.

    from lib.problems import read_problems, read_sets
    train = read_sets(run, "train")                                     # {name: problems}
    valid = read_problems(run, "contests_valid", purpose="select")
    valid.dropped               # Counter: number of excluded rows, by reason

A `Problem` is plain data: no torch, no judge, no file handle. Sets, their roles and the schedule stand in
`params/<preset>/preset.yaml`, under `sets`.

- `sources`: where rows come from; `rows` reads them, `convert` turns a row into a problem;
- `roles`: what each set may be used for; `loading`: how a run reads sets; `ledger`: what a run has read, and the proof;
- `public`: views of a problem that contain its public tests only;
- `freeze`, `manifest`: the frozen list of a split; `overlap`: copies; `quality`: unreliable problems.
"""

from lib.judge.problem import Problem, Test
from lib.problems.convert import mbpp_prompt
from lib.problems.loading import read_problems, read_sets
from lib.problems.manifest import ManifestError, Problems
from lib.problems.roles import RoleError, problem_sets, role_of, set_labels
from lib.problems.sources import load_problems

__all__ = [
    "ManifestError",
    "Problem",
    "Problems",
    "RoleError",
    "Test",
    "load_problems",
    "mbpp_prompt",
    "problem_sets",
    "read_problems",
    "read_sets",
    "role_of",
    "set_labels",
]
