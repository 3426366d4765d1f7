"""Problems: one shape for every data set, real or tiny.

    from lib.problems import load_problems
    problems = load_problems("tiny_contests", "valid")
    problems.dropped            # Counter: how many rows were left out, by reason

A `Problem` is plain data: no torch, no judge, no file handle. Notebooks go through
`lib.problems.loading`, which checks the role and keeps the ledger; `load_problems` is the door behind it.

- `problem`: the dataclasses; `sets`: which sets there are, their splits and roles, and the door;
- `rows`: rows from the hub, a folder of the hub's shape, or a file; `convert`: a row becomes a problem;
- `manifest`: the frozen list of a set, and whether what was loaded is what was frozen.
"""

from lib.judge.problem import Problem, Test
from lib.problems.convert import mbpp_prompt
from lib.problems.manifest import ManifestError
from lib.problems.problems import Problems
from lib.problems.sets import load_problems, role_of

__all__ = ["ManifestError", "Problem", "Problems", "Test", "load_problems", "mbpp_prompt", "role_of"]
