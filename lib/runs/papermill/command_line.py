"""Adds the output path to `papermill notebooks/30_grpo.ipynb`, and checks its parameters before anything happens.

papermill has no hook for this. Without an output path it ends with an error at a terminal, writes the notebook to
stdout in a pipe, and with a FIFO on stdin reads the notebook from there and overwrites the named file. The body of its
click command decides this, so the output path is added to the command's arguments as soon as click has parsed them.
"""

import base64
import logging
import os
from pathlib import Path
from types import ModuleType

import click
import wrapt
import yaml
from papermill.iorw import papermill_io

from ..params_files import ParameterError, parse_params
from .plan import find_template, make_plan

STYLES = ("parameters", "parameters_raw", "parameters_file", "parameters_base64", "parameters_yaml")


def prepare_when_imported() -> None:
    """Prepares papermill's command line after its import, which must wait until papermill has loaded its engines."""
    try:
        os.fstat(0)
    except OSError:  # stdin is closed (`<&-`, some CI), and papermill's command line would crash
        os.open(os.devnull, os.O_RDONLY)  # takes the lowest free number, which is 0
    wrapt.register_post_import_hook(_prepare, "papermill.cli")


def _prepare(cli: ModuleType) -> None:
    wrapt.wrap_function_wrapper(cli, "papermill.parse_args", _parse_args)


def _parse_args(parse, command, arguments, options):
    context, _ = arguments
    rest = parse(*arguments, **options)
    if not context.resilient_parsing:  # that is how a shell completes a half-typed command
        try:
            _complete(context.params)
        except ParameterError as error:
            raise click.UsageError(str(error)) from None  # a message without a traceback, exit code 2
    return rest


def _complete(options: dict) -> None:
    if options["help_notebook"] or options["engine"] not in (None, "rlvr"):
        return
    template = find_template(options["notebook_path"], Path.cwd())
    if template is None:
        return
    plan = make_plan(template, _given(options))
    logging.getLogger("papermill").addFilter(_is_not_about_parameters)
    if not options["output_path"]:
        if options["prepare_only"]:
            raise ParameterError("--prepare-only makes no run: give an output path for the prepared notebook")
        # papermill fills {braces} in paths with parameters
        options["output_path"] = os.path.relpath(plan.home).replace("{", "{{").replace("}", "}}")
    # The parameters have been read, which a FIFO allows only once; all become one option, typed values in YAML.
    options.update(dict.fromkeys(STYLES, ()))
    if plan.overrides:
        options["parameters_yaml"] = (yaml.safe_dump(plan.overrides),)


def _is_not_about_parameters(record: logging.LogRecord) -> bool:
    """False for papermill's warnings about parameters: it cannot read `str | dict`, and make_plan has checked them."""
    return not record.getMessage().startswith(("Passed unknown parameter", "Unable to parse line"))


def _given(options: dict) -> dict:
    """The parameters of all options, in papermill's order of precedence.

    The values of -p stay strings: papermill would guess a type, and turn a commit such as 12e4567 into infinity.
    """
    texts = [(base64.b64decode(text).decode(), "-b") for text in options["parameters_base64"]]
    for path in options["parameters_file"]:
        try:
            texts.append((papermill_io.read(path, [".json", ".yaml", ".yml"]), path))
        except OSError as error:
            raise ParameterError(f"cannot read parameters from {path}: {error.strerror}") from None
    texts += [(text, "-y") for text in options["parameters_yaml"]]
    given = {}
    for text, where in texts:
        given.update(parse_params(text, where))
    return given | dict(options["parameters"]) | dict(options["parameters_raw"])
