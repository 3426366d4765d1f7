"""Gives `papermill notebooks/30_grpo.ipynb` its output path, and checks its parameters before anything happens.

papermill has no hook for this: without an output path it ends with an error on a terminal, writes the notebook to
stdout in a pipe, and with a FIFO on stdin reads the notebook *from there* and overwrites the file that was named. All
three are decided in the body of its click command, so the output path is put among the command's arguments when click
has parsed them.
"""

import base64
import os
from pathlib import Path
from types import ModuleType

import click
import wrapt
import yaml

from .house import warn
from .plan import BadParameters, find_template, make_plan, parse


def prepare_when_imported() -> None:
    """Waits for papermill's command line, which can't be imported while papermill is only half-way to its engines."""
    _open_stdin()
    wrapt.register_post_import_hook(_prepare, "papermill.cli")


def _open_stdin() -> None:
    """Puts /dev/null where stdin is closed (`<&-`, some CI): papermill's command line asks what it is, and crashes."""
    try:
        os.fstat(0)
    except OSError:
        os.open(os.devnull, os.O_RDONLY)  # gets the lowest number that is free, which is 0


def _prepare(cli: ModuleType) -> None:
    try:
        wrapt.wrap_function_wrapper(cli, "papermill.parse_args", _parse_args)
    except Exception as error:
        warn(error)


def _parse_args(parse, command, arguments, options):
    context, _ = arguments
    rest = parse(*arguments, **options)
    if not context.resilient_parsing:  # as when a shell completes a half-typed command
        try:
            _complete(context.params)
        except click.ClickException:
            raise
        except Exception as error:
            warn(error)
    return rest


def _complete(options: dict) -> None:
    if options["help_notebook"] or options["engine"] not in (None, "rlvr"):
        return
    template = find_template(options["notebook_path"], Path.cwd())
    if template is None:
        return
    plan = make_plan(template, _given(options))
    if not options["output_path"]:
        if options["prepare_only"]:
            raise BadParameters("--prepare-only makes no run: say where the prepared notebook goes (OUTPUT_PATH)")
        # papermill fills {braces} in paths with parameters
        options["output_path"] = os.path.relpath(plan.home).replace("{", "{{").replace("}", "}}")
    # Every way to give a parameter has been read (which a FIFO allows only once) and becomes one, typed values in YAML.
    options.update(parameters=(), parameters_raw=(), parameters_file=(), parameters_base64=(), parameters_yaml=())
    if plan.overrides:
        options["parameters_yaml"] = (yaml.safe_dump(plan.overrides),)


def _given(options: dict) -> dict:
    """The parameters of all options, in papermill's order of precedence.

    Those of -p stay strings: papermill would guess a type, and turn a commit such as 12e4567 into infinity.
    """
    from papermill.iorw import papermill_io

    given = {}
    for text in options["parameters_base64"]:
        given.update(parse(base64.b64decode(text).decode(), "-b"))
    for path in options["parameters_file"]:
        try:
            text = papermill_io.read(path, [".json", ".yaml", ".yml"])
        except OSError as error:
            raise BadParameters(f"no parameters can be read from {path}: {error.strerror}") from None
        given.update(parse(text, path))
    for text in options["parameters_yaml"]:
        given.update(parse(text, "-y"))
    given.update(options["parameters"])
    given.update(options["parameters_raw"])
    return given
