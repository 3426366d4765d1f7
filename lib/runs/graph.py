"""The graph: which runs a preset has, and which of them each one needs.

A run that needs another names it in its params file; nothing else describes the order.
"""

import fnmatch
import graphlib
from pathlib import Path

from lib.runs import paths
from lib.runs.fingerprint import RUN_NAME, finish_mark, upstream_names
from lib.runs.parameters import load_params_file, read_parameters, resolve, run_name


class GraphError(Exception):
    """The params files make no sensible set of runs; the message says which file and why."""


def graph(preset: str) -> dict[str, list[str]]:
    """The runs of a preset, each with the runs it needs, in an order in which they can be executed.

    Raises GraphError when there are none, and for a params file whose name and content disagree, that names a run
    which nobody makes, or that is part of a circle.
    """
    folder = paths.root() / "params" / preset
    if not (folder / "preset.yaml").is_file():
        raise GraphError(f"no preset {preset!r}: params/{preset}/preset.yaml is missing")
    needs = {path.stem: _needs(path, preset) for path in sorted(folder.glob("[0-9]*.yaml"))}
    if not needs:
        raise GraphError(f"params/{preset}/ holds no params file of a run, such as 03_baseline-s0.yaml")
    for run, upstream in needs.items():
        for name in upstream:
            if name not in needs and finish_mark(preset, name) is None:
                raise GraphError(f"params/{preset}/{run}.yaml names the run {name}: no params file makes it (a typo?)")
    try:
        order = list(graphlib.TopologicalSorter(needs).static_order())
    except graphlib.CycleError as error:
        raise GraphError(f"runs need each other in a circle: {' <- '.join(error.args[1])}") from None
    return {run: [name for name in needs[run] if name in needs] for run in order if run in needs}


def _needs(path: Path, preset: str) -> list[str]:
    file = f"params/{preset}/{path.name}"
    match = RUN_NAME.fullmatch(path.stem)
    notebook = match["notebook"] if match else ""
    template = paths.root() / "notebooks" / f"{notebook}.ipynb"
    if not template.is_file():
        raise GraphError(f"{file} is not named after a notebook: <notebook>[-<variant>]-s<seed>.yaml is expected")
    try:
        parameters = resolve(read_parameters(template), load_params_file(path))
        name = run_name(notebook, parameters, paths.root() / "params")
    except ValueError as error:
        raise GraphError(f"{file}: {error}") from None
    if parameters["preset"] != preset or name != path.stem:
        raise GraphError(
            f"{file} describes the run {name} of preset {parameters['preset']}: correct its name or content"
        )
    return upstream_names(parameters)


def select(needs: dict[str, list[str]], patterns: list[str]) -> list[str]:
    """The runs that match any of the patterns (none given: all) and those they need, in the order of `needs`.

    A pattern is a run's name, the beginning of one, or has a shell's wildcards. Raises GraphError without a match.
    """
    chosen = set(needs) if not patterns else set()
    for pattern in patterns:
        matches = {run for run in needs if fnmatch.fnmatchcase(run, pattern)}
        matches = matches or {run for run in needs if run.startswith(pattern)}
        if not matches:
            raise GraphError(f"no run matches {pattern!r}; there are: {', '.join(needs)}")
        chosen |= matches
    for run in reversed(needs):
        if run in chosen:
            chosen.update(needs[run])
    return [run for run in needs if run in chosen]
