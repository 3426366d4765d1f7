"""Reads which runs a preset has and which runs each of them needs.

A run that needs another names it in its params file; nothing else describes the order.
"""

import fnmatch
import graphlib
from pathlib import Path

from . import paths
from .fingerprint import finish_mark, notebook_of, upstream_names
from .parameters import read_parameters, resolve, run_name
from .params_files import load_params_file, load_preset


class GraphError(Exception):
    """The params files are inconsistent; the message says which file and why."""


def graph(preset: str) -> dict[str, list[str]]:
    """The runs of a preset, each with the runs that it needs, in an order in which they can be executed.

    Raises GraphError if there are none, and for a params file whose name and content disagree, that names a run without
    a params file, or that is part of a circle.
    """
    folder = paths.root() / "params" / preset
    try:
        load_preset(preset)
    except ValueError as error:
        raise GraphError(str(error)) from None
    needs = {path.stem: _needs(path, preset) for path in sorted(folder.glob("[0-9]*.yaml"))}
    if not needs:
        raise GraphError(f"params/{preset}/ holds no params file of a run, such as 03_baseline-s0.yaml")
    for run, upstream in needs.items():
        for name in upstream:
            if name not in needs and finish_mark(preset, name) is None:
                raise GraphError(f"params/{preset}/{run}.yaml names the run {name}, which has no params file (a typo?)")
    try:
        order = list(graphlib.TopologicalSorter(needs).static_order())
    except graphlib.CycleError as error:
        raise GraphError(f"runs need each other in a circle: {' <- '.join(error.args[1])}") from None
    return {run: [name for name in needs[run] if name in needs] for run in order if run in needs}


def _needs(path: Path, preset: str) -> list[str]:
    try:
        template = paths.root() / "notebooks" / f"{notebook_of(path.stem)}.ipynb"
        if not template.is_file():
            raise ValueError(f"there is no notebook {template.name}")
        parameters = resolve(read_parameters(template), load_params_file(path))
        name = run_name(template, parameters)
    except ValueError as error:
        raise GraphError(f"params/{preset}/{path.name}: {error}") from None
    if parameters["preset"] != preset or name != path.stem:
        raise GraphError(
            f"params/{preset}/{path.name} describes the run {name} of preset {parameters['preset']}: "
            "correct its name or its content"
        )
    return upstream_names(parameters)


def select(needs: dict[str, list[str]], patterns: list[str]) -> list[str]:
    """The runs that match any of the patterns (no pattern: all runs) and the runs that they need, in their order.

    A pattern is a run's name, its beginning, or contains a shell's wildcards. Raises GraphError if nothing matches.
    """
    chosen = set(needs) if not patterns else set()
    for pattern in patterns:
        matches = {run for run in needs if fnmatch.fnmatchcase(run, pattern)}
        matches = matches or {run for run in needs if run.startswith(pattern)}
        if not matches:
            raise GraphError(f"no run matches {pattern!r}; the runs are: {', '.join(needs)}")
        chosen |= matches
    for run in reversed(needs):
        if run in chosen:
            chosen.update(needs[run])
    return [run for run in needs if run in chosen]
