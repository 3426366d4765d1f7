"""Which run is it? From the path that papermill was given, and the parameters, to the run's name and folder."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import click

from .. import paths
from ..parameters import Parameter, read_parameters, resolve, run_name
from ..params_files import load_preset
from ..run import UpstreamError, find_upstream

INJECTED = "injected-parameters"  # papermill's tag for the cell that it adds below the parameters cell
BUILT_IN = frozenset({"PAPERMILL_INPUT_PATH", "PAPERMILL_OUTPUT_PATH"})  # added by papermill's --inject-paths


class Refusal(click.ClickException):
    """A call that is refused; on the command line a message without a traceback, and exit code 1."""


@dataclass(frozen=True)
class Plan:
    """A run that is about to be made. `overrides`: the `parameters` that differ from the template's defaults."""

    template: Path
    name: str
    parameters: dict
    overrides: dict

    @property
    def home(self) -> Path:
        """The run's notebook when no output path is given: artifacts/<preset>/<run>/<notebook>.ipynb."""
        return paths.run_folder(self.parameters["preset"], self.name) / self.template.name


def find_template(path: object, folder: Path) -> Path | None:
    """The template at a path relative to `folder`; None for any other notebook.

    A template is a notebook directly in `notebooks/` that declares the parameters of every run, preset and seed.
    Raises Refusal for an executed notebook, because papermill would drop the parameters that it was executed with, and
    ParameterError for a template whose parameters cell cannot be read.
    """
    if not isinstance(path, str) or not path.endswith(".ipynb") or not (folder / path).is_file():
        return None
    file = (folder / path).resolve()
    templates = paths.root() / "notebooks"
    if file.is_relative_to(paths.artifacts().resolve()) and (templates / file.name).is_file():
        raise Refusal(_already_executed(file, templates / file.name))
    if file.parent != templates or not {"preset", "seed"} <= read_parameters(file).keys():
        return None
    if any(INJECTED in cell["metadata"].get("tags", []) for cell in json.loads(file.read_text())["cells"]):
        raise Refusal(f"notebooks/{file.name} is an executed notebook, not a template: parameters are injected in it")
    return file


def make_plan(template: Path, given: dict) -> Plan:
    """The run that a template makes with the given parameters. Raises ParameterError."""
    built_in = {name: value for name, value in given.items() if name in BUILT_IN}
    declared = read_parameters(template)
    resolved = resolve(declared, {name: value for name, value in given.items() if name not in BUILT_IN})
    load_preset(resolved["preset"])
    return Plan(template, run_name(template, resolved), resolved, changed(resolved, declared) | built_in)


def require_weights(plan: Plan) -> None:
    """Refuses a run whose notebook loads the weights of a run that are not here, before a kernel starts. Indented lines
    do not count: such weights are loaded only if a parameter asks for them, or the notebook does without."""
    for name in re.findall(r'"(?=\w)[^"]*\brun\.model_path\((\w+)\)', plan.template.read_text()):
        if (policy := plan.parameters.get(name, "base")) != "base":
            try:
                find_upstream(plan.name, plan.parameters["preset"], policy, needs="model")
            except UpstreamError as missing:
                raise Refusal(str(missing)) from None


def changed(values: dict, declared: dict[str, Parameter]) -> dict:
    """The values that differ from the defaults."""
    return {k: value for k, value in values.items() if k not in declared or value != declared[k].default}


def _already_executed(file: Path, template: Path) -> str:
    recorded = json.loads(file.read_text())["metadata"].get("papermill", {}).get("parameters", {})
    options = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in changed(recorded, read_parameters(template)).items()
    }
    return (
        f"{file.name} of the run {file.parent.name} is executed already. To execute that run again:\n"
        f"  papermill notebooks/{template.name}"
        + "".join(f" -p {name} {shlex.quote(value)}" for name, value in options.items())
    )
