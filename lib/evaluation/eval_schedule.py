"""The evaluation schedule: on which sets each checkpoint of a training is measured.

The preset says so once: a set with `every: 20` is measured at every checkpoint whose step is a multiple of 20, and at
the last one. Sets without `every`, the test sets among them, are measured at the end of a phase by a run that reports.
"""

from collections.abc import Mapping

from lib.problems import problem_sets


def due_sets(preset: Mapping, step: int, last: int) -> list[str]:
    """Names of the sets on which the checkpoint of a step is measured. `last`: the step of the last checkpoint."""
    sets = problem_sets(preset)
    return [name for name, chosen in sets.items() if chosen.every and (step == last or step % chosen.every == 0)]
