"""What a notebook says when its execution did not come to the end: at its top, at the cell, and in its metadata.

papermill does this for exceptions only. After a dead kernel, a time-out, Ctrl-C or `sys.exit(0)` its notebook looks
like a finished one.
"""

import signal

import nbformat
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

BANNER_ID, ANCHOR_ID = "papermill-error", "papermill-error-cell"


def reason(error: BaseException) -> str:
    """The first words of the banner."""
    if isinstance(error, CellExecutionError):
        leaving = error.ename == "SystemExit"
        return "A cell ended the execution (SystemExit)" if leaving else "An Exception was encountered"
    if isinstance(error, DeadKernelError):
        return "The kernel died"
    if isinstance(error, CellTimeoutError):
        return "A cell ran out of time"
    if isinstance(error, KeyboardInterrupt):
        return "The execution was interrupted"
    if isinstance(error, SystemExit):
        return f"The execution was ended by {signal.Signals(error.code - 128).name}"
    return f"The execution failed ({type(error).__name__})"


def mark_failed(notebook: nbformat.NotebookNode, error: BaseException, index: int | None) -> None:
    """Puts a banner on top, an anchor above the cell at `index` (None: in none), and `exception` on both."""
    notebook.metadata.papermill["exception"] = True
    what = reason(error)
    if index is None:
        _insert(notebook, 0, BANNER_ID, f"{what} outside of the cells.")
        return
    cell = notebook.cells[index]
    cell.metadata.papermill.update(exception=True, status="failed")
    count = cell.get("execution_count") or " "
    _insert(notebook, index, ANCHOR_ID, "Execution using papermill stopped here:", anchor=True)
    _insert(notebook, 0, BANNER_ID, f"{what} at '<a href=\"#{ANCHOR_ID}\">In [{count}]</a>'.")


def mark_unfinished(notebook: nbformat.NotebookNode) -> None:
    """For a copy that is saved meanwhile: it is what remains when papermill itself is killed."""
    _insert(notebook, 0, BANNER_ID, "This execution has not finished.")


def as_papermill(error: CellExecutionError, notebook: nbformat.NotebookNode, index: int) -> Exception:
    """The exception that papermill raises for one in a cell."""
    from papermill.exceptions import PapermillExecutionError

    cell = notebook.cells[index]
    traceback = next((output.traceback for output in cell.outputs if output.output_type == "error"), [])
    return PapermillExecutionError(index, cell.execution_count, cell.source, error.ename, error.evalue, traceback)


def _insert(notebook: nbformat.NotebookNode, index: int, cell_id: str, text: str, anchor: bool = False) -> None:
    from papermill.execute import ERROR_MARKER_TAG, ERROR_STYLE

    name = f'id="{ANCHOR_ID}" ' if anchor else ""
    cell = nbformat.v4.new_markdown_cell(f"<span {name}{ERROR_STYLE}>{text}</span>", id=cell_id)
    cell.metadata["tags"] = [ERROR_MARKER_TAG]  # by which papermill removes it when the notebook is executed again
    notebook.cells.insert(index, cell)
