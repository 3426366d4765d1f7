"""The engine: executes this repository's templates as runs, and leaves every other notebook to the engine before it."""

import copy
import json
import os
import sys
from pathlib import Path

import nbformat
from nbclient.exceptions import CellExecutionError
from papermill.engines import papermill_engines
from papermill.log import logger

from .house import ROOT, warn
from .plan import INJECTED, Plan, Refusal, find_template, make_plan

# What libraries read when they are imported. Bars that are drawn all the same (widgets) are left out by `clean`.
NO_BARS = ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS")


class RunEngine(papermill_engines.get_engine(None)):
    """Papermill's view of the engine: the one that was the default, but for templates."""

    @classmethod
    def execute_notebook(cls, nb, kernel_name, **options):
        """Executes a template as a run, any other notebook as it would be without this engine."""
        try:
            started = _start(nb, options.get("input_path"))
        except Refusal:
            raise
        except Exception as error:
            warn(error)
            started = None
        if started is None:
            return super().execute_notebook(nb, kernel_name, **options)
        return _execute(*started, nb, kernel_name, **options)


def become_the_default() -> None:
    """Registers the engine for calls without --engine, and by the name that it has among the entry points."""
    for name in (None, "rlvr"):
        papermill_engines.register(name, RunEngine)


def _start(nb, input_path):
    """The plan and the target of a run; None for a notebook that makes none."""
    from papermill.iorw import papermill_io

    from .targets import open_target

    local = papermill_io.get_handler("local")
    folder = local.cwd(None)  # paths are relative to it, and not to --cwd, in which we already are
    local.cwd(folder)
    template = find_template(input_path, Path(folder or "."))
    if template is None:
        return None
    injected = any(INJECTED in cell.metadata.get("tags", []) for cell in nb.cells)
    plan = make_plan(template, nb.metadata.papermill.get("parameters", {}) if injected else {})
    target = open_target(plan, nb.metadata.papermill.get("output_path"), Path(folder or "."))
    return plan, target


def _execute(
    plan: Plan, target, nb, kernel_name, *, progress_bar=True, log_output=False, autosave_cell_every=30, **rest
):
    """Executes a notebook and puts it where it belongs; returns it as it was written.

    Raises what papermill would, with a note that says where the unfinished notebook is.
    """
    from .clean import clean, shortener
    from .client import RunManager, interruptible
    from .failure import as_papermill, mark_failed, mark_unfinished, reason
    from .seal import seal

    def tidy(mark=None):
        try:
            copied = clean(nb, shortener(target.folder, target.shown))
        except Exception as error:
            warn(error)
            copied = copy.deepcopy(nb)
        if mark:
            mark(copied)
        return copied

    manager = RunManager(
        nb,
        lambda: target.save(nbformat.writes(tidy(mark_unfinished))),
        progress_bar,
        log_output=log_output,
        autosave_cell_every=autosave_cell_every,
    )
    with interruptible() as ignore_signals:
        try:
            _prepare(nb, plan, target)
            manager.notebook_start()
            _client(manager, kernel_name, log_output=log_output, **rest).execute(_environment(plan, target))
            manager.notebook_complete()
            ignore_signals()
            manager.index = None
            finished = tidy()
            finished.metadata.papermill.seal = seal(finished)
            logger.info(f"Finished {plan.name}: {target.succeed(nbformat.writes(finished))}")
            return finished
        except BaseException as error:
            ignore_signals()
            manager.cleanup_pbar()
            failed = tidy()
            is_cell_error = isinstance(error, CellExecutionError)
            failure = as_papermill(error, failed, manager.index) if is_cell_error else error
            mark_failed(failed, error, manager.index)
            note = f"{reason(error)}: see {target.fail(nbformat.writes(failed))}"
            if not isinstance(error, Exception):  # click says no more than "Aborted!", SystemExit nothing at all
                print(note, file=sys.stderr)
            failure.add_note(note)
            if failure is error:
                raise
            raise failure from None


def _client(manager, kernel_name, *, log_output, input_path=None, output_path=None, **options):
    """Papermill's client for papermill's options, which have other names there."""
    from .client import RunClient

    options["timeout"] = options.pop("execution_timeout", None) or options.get("timeout")
    options["startup_timeout"] = options.pop("start_timeout", 60)
    return RunClient(manager, kernel_name=kernel_name, log=logger, log_output=log_output, **options)


def _environment(plan: Plan, target) -> dict[str, str]:
    """The kernel's: where to write, and what makes two executions alike."""
    return {
        "PYTHONHASHSEED": "0",  # the order of sets of strings
        **os.environ,
        **dict.fromkeys(NO_BARS, "1"),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),  # `lib` is ours there
        "RLVR_RUN_FOLDER": str(target.folder.resolve()),
        "RLVR_RUN_NAME": plan.name,
    }


def _prepare(nb, plan: Plan, target) -> None:
    """Records the run in the notebook, and makes the cell that papermill has injected say the same every time."""
    from papermill.translators import PythonTranslator

    ids = {cell.get("id") for cell in json.loads(plan.template.read_text(encoding="utf-8"))["cells"]}
    nb.cells = [cell for cell in nb.cells if plan.overrides or INJECTED not in cell.metadata.tags]
    for position, cell in enumerate(nb.cells):
        if INJECTED in cell.metadata.tags:
            lines = [f"{name} = {PythonTranslator.translate(value)}" for name, value in plan.overrides.items()]
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
