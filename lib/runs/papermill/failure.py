"""Marks the notebook of an execution that did not reach its end: at its top, at the cell, and in its metadata.

papermill does this for exceptions only. After a dead kernel, a time-out, Ctrl-C or `sys.exit(0)` its notebook looks
like a finished one.
"""

import signal

import nbformat
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

BANNER_ID, ANCHOR_ID = "papermill-error", "papermill-error-cell"


def reason(error: BaseException) -> str:
    """The first words of the banner."""
    if isinstance(error, CellExecutionError):
        ended = error.ename == "SystemExit"
        return "A cell ended the execution (SystemExit)" if ended else "An Exception was encountered"
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return f"The execution was ended by {signal.Signals(error.code - 128).name}"
    known = {
        DeadKernelError: "The kernel died",
        CellTimeoutError: "A cell ran out of time",
        KeyboardInterrupt: "The execution was interrupted",
    }
    return known.get(type(error), f"The execution failed ({type(error).__name__})")


def mark_failed(notebook: nbformat.NotebookNode, error: BaseException, index: int | None) -> None:
    """Adds a banner at the top and an anchor above the cell at `index` (None: no cell); sets `exception` in both."""
    notebook.metadata.papermill["exception"] = True
    if index is None:
        _insert(notebook, 0, BANNER_ID, f"{reason(error)} outside of the cells.")
        return
    cell = notebook.cells[index]
    cell.metadata.papermill.update(exception=True, status="failed")
    number = cell.get("execution_count") or " "
    _insert(notebook, index, ANCHOR_ID, "Execution using papermill stopped here:", f'id="{ANCHOR_ID}" ')
    _insert(notebook, 0, BANNER_ID, f"{reason(error)} at '<a href=\"#{ANCHOR_ID}\">In [{number}]</a>'.")


def mark_unfinished(notebook: nbformat.NotebookNode) -> None:
    """Marks a copy that is saved during the execution: it remains if papermill itself is killed."""
    _insert(notebook, 0, BANNER_ID, "This execution has not finished.")


def as_papermill(error: BaseException, notebook: nbformat.NotebookNode, index: int | None) -> BaseException:
    """The exception that papermill raises for an error in the cell at `index`; other errors as they are."""
    if index is None or not isinstance(error, CellExecutionError):
        return error
    cell = notebook.cells[index]
    traceback = next((output.traceback for output in cell.outputs if output.output_type == "error"), [])
    return PapermillExecutionError(index, cell.execution_count, cell.source, error.ename, error.evalue, traceback)


def _insert(notebook: nbformat.NotebookNode, index: int, cell_id: str, text: str, anchor: str = "") -> None:
    from papermill.execute import ERROR_MARKER_TAG, ERROR_STYLE  # here: papermill loads this plug-in before it is made

    cell = nbformat.v4.new_markdown_cell(f"<span {anchor}{ERROR_STYLE}>{text}</span>", id=cell_id)
    cell.metadata["tags"] = [ERROR_MARKER_TAG]  # papermill removes such cells when the notebook is executed again
    notebook.cells.insert(index, cell)
