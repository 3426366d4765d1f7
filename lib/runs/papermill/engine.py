"""The engine: executes this repository's templates as runs, and leaves every other notebook to the engine before it."""

import json
import os
import re
import sys
from pathlib import Path

import nbformat
from papermill.engines import papermill_engines
from papermill.iorw import papermill_io
from papermill.log import logger
from papermill.translators import PythonTranslator

from .. import paths
from ..record import output_hash
from .clean import clean, shortener
from .client import RunClient, RunManager, Signals
from .failure import as_papermill, mark_failed, mark_unfinished, reason
from .plan import INJECTED, Plan, find_template, make_plan, require_weights
from .targets import open_target

# Libraries read these when they are imported. Bars that they draw all the same (widgets) are removed by `clean`.
NO_BARS = ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS")
WIDTH = 100  # characters of a text in the cell of injected parameters; longer texts are wrapped


class RunEngine(papermill_engines.get_engine(None)):
    """The engine that was the default, except for templates."""

    @classmethod
    def execute_notebook(cls, nb, kernel_name, **options):
        """Executes a template as a run, and any other notebook as without this engine."""
        local = papermill_io.get_handler("local")
        folder = local.cwd(None)  # paths are relative to it, and not to --cwd, the present working directory
        local.cwd(folder)
        template = find_template(options.get("input_path"), Path(folder or "."))
        if template is None:
            return super().execute_notebook(nb, kernel_name, **options)
        record = nb.metadata.papermill
        injected = any(INJECTED in cell.metadata.get("tags", []) for cell in nb.cells)
        plan = make_plan(template, record.get("parameters", {}) if injected else {})
        require_weights(plan)
        target = open_target(plan, record.get("output_path"), Path(folder or "."))
        return _execute(plan, target, nb, kernel_name, **options)


def become_the_default() -> None:
    """Registers the engine for calls without --engine, and by its name among the entry points."""
    for name in (None, "rlvr"):
        papermill_engines.register(name, RunEngine)


def _execute(plan, target, nb, kernel_name, *, progress_bar=True, log_output=False, autosave_cell_every=30, **rest):
    """Executes a notebook and puts it where it belongs; returns it as it was written.

    Raises papermill's exceptions, with a note that says where the unfinished notebook is.
    """
    shorten = shortener(target.folder, target.shown)

    def save_copy() -> None:
        copied = clean(nb, shorten)
        mark_unfinished(copied)
        target.save(nbformat.writes(copied))

    shared = {"log_output": log_output, "autosave_cell_every": autosave_cell_every}
    manager = RunManager(nb, save_copy, progress_bar, **shared)
    with Signals() as signals:
        try:
            _prepare(nb, plan, target)
            manager.notebook_start()
            client = RunClient(manager, kernel_name=kernel_name, log=logger, log_output=log_output, **_traits(**rest))
            client.execute_run(_environment(plan, target), signals)
            manager.notebook_complete()
            signals.ignore()
            manager.index = None
            finished = clean(nb, shorten)
            finished.metadata.papermill.output_hash = output_hash(finished)
            logger.info(f"Finished {plan.name}: {target.succeed(nbformat.writes(finished))}")
            return finished
        except BaseException as raised:
            signals.ignore()
            error = signals.error() or raised
            manager.cleanup_pbar()
            failed = clean(nb, shorten)
            failure = as_papermill(error, failed, manager.index)
            mark_failed(failed, error, manager.index)
            note = f"{reason(error)}: see {target.fail(nbformat.writes(failed))}"
            if not isinstance(error, Exception):  # click prints only "Aborted!", and SystemExit nothing
                print(note, file=sys.stderr)
            failure.add_note(note)
            raise failure from None


def _traits(*, input_path=None, output_path=None, execution_timeout=None, start_timeout=60, **options) -> dict:
    """papermill's options by the names that its client gives them."""
    return {**options, "timeout": execution_timeout or options.get("timeout"), "startup_timeout": start_timeout}


def _environment(plan: Plan, target) -> dict[str, str]:
    """The kernel's environment: where to write, and what makes two executions alike."""
    return {
        "PYTHONHASHSEED": "0",  # the order of sets of strings
        **os.environ,
        **dict.fromkeys(NO_BARS, "1"),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(paths.root()), os.environ.get("PYTHONPATH")))),  # for `lib`
        "RLVR_RUN_FOLDER": str(target.folder.resolve()),
        "RLVR_RUN_NAME": plan.name,
    }


def _prepare(nb, plan: Plan, target) -> None:
    """Records the run in the notebook, and writes the cell of injected parameters in the same way every time."""
    ids = {cell.get("id") for cell in json.loads(plan.template.read_text(encoding="utf-8"))["cells"]}
    nb.cells = [cell for cell in nb.cells if plan.overrides or INJECTED not in cell.metadata.tags]
    for position, cell in enumerate(nb.cells):
        if INJECTED in cell.metadata.tags:
            lines = [f"{name} = {_literal(value)}" for name, value in plan.overrides.items()]
            cell.source = "\n".join(["# Parameters", *lines])
            cell.id = INJECTED
        elif cell.id not in ids:  # a template of the format before ids: papermill has made random ones
            cell.id = f"cell-{position}"
    nb.metadata.papermill.update(
        run=plan.name,
        parameters=plan.parameters,
        input_path=f"notebooks/{plan.template.name}",
        output_path=target.shown_notebook,
    )


def _literal(value: object) -> str:
    """A value in Python; a long text is wrapped at commas and spaces, so that no page clips it."""
    if not isinstance(value, str) or len(value) <= WIDTH:
        return PythonTranslator.translate(value)
    parts = re.findall(rf".{{1,{WIDTH}}}(?:(?<=[,\s])|$)|.{{1,{WIDTH}}}", value, re.DOTALL)
    return "\n".join(["(", *(f"    {PythonTranslator.translate(part)}" for part in parts), ")"])
