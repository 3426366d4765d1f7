"""Reads which runs a preset has and which runs each of them needs.

A run that needs another names it in its params file; nothing else describes the order.
"""

import fnmatch
import graphlib

from . import paths
from .fingerprint import finish_mark, notebook_of, upstream_names
from .parameters import read_parameters, resolve, run_name
from .params_files import load_params_file, load_preset


class GraphError(ValueError):
    """The params files are inconsistent; the message says which file and why."""


def graph(preset: str) -> dict[str, list[str]]:
    """The runs of a preset, each with the runs that it needs, in an order in which they can be executed.

    Raises ParameterError for an unknown preset, and GraphError if it has no runs, and for a params file whose name and
    content disagree, that names a run without a params file, or that is part of a circle.
    """
    load_preset(preset)
    runs = sorted(path.stem for path in (paths.root() / "params" / preset).glob("[0-9]*.yaml"))
    if not runs:
        raise GraphError(f"params/{preset}/ holds no params file of a run, such as 03_baseline-s0.yaml")
    needs: dict[str, list[str]] = {}
    for run in runs:
        needs[run] = []
        for name in _named(preset, run):
            if name in runs:
                needs[run].append(name)
            elif finish_mark(preset, name) is None:  # a run started by hand has no params file
                raise GraphError(f"params/{preset}/{run}.yaml names the run {name}, which has no params file (a typo?)")
    try:
        return {run: needs[run] for run in graphlib.TopologicalSorter(needs).static_order()}
    except graphlib.CycleError as error:
        raise GraphError(f"runs need each other in a circle: {' <- '.join(error.args[1])}") from None


def _named(preset: str, run: str) -> list[str]:
    """The runs that the params file of a run names."""
    try:
        template = paths.template(notebook_of(run))
        if not template.is_file():
            raise ValueError(f"there is no notebook {template.name}")
        parameters = resolve(read_parameters(template), load_params_file(paths.params_file(preset, run)))
        name = run_name(template, parameters)
    except ValueError as error:
        raise GraphError(f"params/{preset}/{run}.yaml: {error}") from None
    if parameters["preset"] != preset or name != run:
        raise GraphError(
            f"params/{preset}/{run}.yaml describes the run {name} of preset {parameters['preset']}: "
            "correct its name or its content"
        )
    return upstream_names(parameters)


def select(needs: dict[str, list[str]], patterns: list[str]) -> list[str]:
    """The runs that match any of the patterns (no pattern: all runs) and the runs that they need, in their order.

    A pattern is a run's name, its beginning, or contains a shell's wildcards. Raises GraphError if nothing matches.
    """
    chosen = set(needs) if not patterns else set()
    for pattern in patterns:
        matches = fnmatch.filter(needs, pattern) or [run for run in needs if run.startswith(pattern)]
        if not matches:
            raise GraphError(f"no run matches {pattern!r}; the runs are: {', '.join(needs)}")
        chosen.update(matches)
    for run in reversed(needs):
        if run in chosen:
            chosen.update(needs[run])
    return [run for run in needs if run in chosen]
