"""Which run is it? From the path that papermill was given, and the parameters, to the run's name and place."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import click

from .house import ROOT, own

INJECTED = "injected-parameters"  # papermill's tag for the cell that it adds below the parameters cell
BUILT_IN = frozenset({"PAPERMILL_INPUT_PATH", "PAPERMILL_OUTPUT_PATH"})  # papermill's own, of --inject-paths


class Refusal(click.ClickException):
    """What we will not do; on the command line a message without a traceback, and exit code 1."""


class BadParameters(Refusal, ValueError):
    """Parameters that the template does not have, or not in this type; names those that it has. Exit code 2."""

    exit_code = 2


@dataclass(frozen=True)
class Plan:
    """A run that is about to be made. `overrides`: those of the `parameters` that differ from the template's."""

    template: Path
    name: str
    parameters: dict
    overrides: dict

    @property
    def home(self) -> Path:
        """The run's notebook when no output path is given: artifacts/<preset>/<run>/<notebook>.ipynb."""
        return own("paths").artifacts() / self.parameters["preset"] / self.name / self.template.name


def find_template(path: object, folder: Path) -> Path | None:
    """The template that a path, relative to `folder`, leads to; None when it leads anywhere but to one of ours.

    A template is a notebook directly in `notebooks/` that declares the parameters of every run, preset and seed.
    Raises Refusal for a notebook that is a run already: papermill would drop the parameters it was made with.
    Raises BadParameters for a template whose parameters cell can't be read.
    """
    if not isinstance(path, str) or not path.endswith(".ipynb"):
        return None
    found = (folder / path).resolve()
    if not found.is_file():
        return None
    if found.is_relative_to(own("paths").artifacts().resolve()):
        template = ROOT / "notebooks" / found.name
        if template.is_file():
            raise Refusal(_executed_already(found, template))
    if found.parent != ROOT / "notebooks":
        return None
    if not {"preset", "seed"} <= _call("read_parameters", found).keys():
        return None
    if any(INJECTED in cell["metadata"].get("tags", []) for cell in json.loads(found.read_text())["cells"]):
        raise Refusal(f"notebooks/{found.name} is no template but an executed notebook: parameters are injected in it")
    return found


def make_plan(template: Path, given: dict) -> Plan:
    """The run that a template makes with the parameters given. Raises BadParameters."""
    declared = _call("read_parameters", template)
    built_in = {name: value for name, value in given.items() if name in BUILT_IN}
    resolved = _call("resolve", declared, {name: value for name, value in given.items() if name not in BUILT_IN})
    presets = sorted(folder.name for folder in (ROOT / "params").iterdir() if folder.is_dir())
    if resolved["preset"] not in presets:
        raise BadParameters(f"preset: {resolved['preset']!r} is none of {' | '.join(presets)}, the folders of params/")
    name = _call("run_name", template, resolved, ROOT / "params")
    overrides = {name: value for name, value in resolved.items() if value != declared[name].default}
    return Plan(template, name, resolved, overrides | built_in)


def parse(text: str, where: str) -> dict:
    """Parameters written in YAML. Raises BadParameters; `where` is the name that it gives to the text."""
    return _call("parse_params", text, where)


def _executed_already(found: Path, template: Path) -> str:
    recorded = json.loads(found.read_text())["metadata"].get("papermill", {}).get("parameters", {})
    declared = _call("read_parameters", template)
    options = "".join(
        f" -p {name} {shlex.quote(str(value))}"
        for name, value in recorded.items()
        if name not in declared or value != declared[name].default
    )
    return (
        f"{found.name} of the run {found.parent.name} is executed already. To make that run again:\n"
        f"  papermill notebooks/{template.name}{options}"
    )


def _call(function: str, *arguments: object) -> object:
    """A function of `lib.runs.parameters`, whose error has another face here: papermill's own command line shows it."""
    parameters = own("parameters")
    try:
        return getattr(parameters, function)(*arguments)
    except parameters.ParameterError as error:
        raise BadParameters(str(error)) from None
