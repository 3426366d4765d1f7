"""Executes the cells of one notebook: its kernel, its progress, signals, and saving the notebook meanwhile."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import zmq
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellExecutionError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NotebookExecutionManager
from papermill.log import logger

GRACE = 3.0  # seconds for a cell to end after Ctrl-C
QUIET = 15.0  # seconds between two lines of progress if there is no terminal


class RunManager(NotebookExecutionManager):
    """Papermill's account of an execution. Saves through `save_copy`; `index` is the cell under execution."""

    def __init__(self, notebook, save_copy: Callable[[], None], progress_bar: bool | dict, **options):
        # papermill would draw its bar into log files too, a line for each cell
        draw = progress_bar if isinstance(progress_bar, dict) else progress_bar and sys.stderr.isatty()
        super().__init__(notebook, progress_bar=draw, **options)
        self._lines = bool(progress_bar) and not draw
        self._began = self._printed = time.monotonic()
        self._save_copy = save_copy
        self.index: int | None = None

    def save(self, **kwargs) -> None:
        """Saves a copy, where papermill would write to its output path."""
        self._save_copy()
        self.last_save_time = self.now()

    def cell_start(self, cell, cell_index=None, **kwargs) -> None:
        """As in papermill, and prints a line now and then."""
        self.index = cell_index
        super().cell_start(cell, cell_index, **kwargs)
        now = time.monotonic()
        if self._lines and cell_index is not None and now - self._printed >= QUIET:
            self._printed = now
            logger.info(f"Cell {cell_index + 1} of {len(self.nb.cells)} after {now - self._began:.0f} s")


class Signals:
    """Within it, the first SIGINT, SIGTERM or SIGHUP interrupts the cell under execution; the next ones do nothing.

    The kernel gets an interrupt, as from JupyterLab's stop button, so `finally` blocks run and the notebook shows where
    it happened; a cell that has not ended after GRACE seconds is killed with its kernel. Nothing is raised in the
    middle of the event loop, where a message of the kernel could be lost. Without this class SIGTERM would end
    papermill at once, and a second Ctrl-C the tidying of the first.
    """

    def __init__(self):
        self.group: int | None = None  # the kernel's process group, once it has started
        self._number: int | None = None  # the first signal
        self._before: dict = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():  # no signal arrives in other threads
            handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
            self._before = {n: handler for n, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}
            for number in self._before:
                signal.signal(number, self._stop)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def ignore(self) -> None:
        """Makes all signals do nothing from now on."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def error(self) -> BaseException | None:
        """KeyboardInterrupt or SystemExit after a signal, None without one."""
        if self._number is None:
            return None
        return KeyboardInterrupt() if self._number == signal.SIGINT else SystemExit(128 + self._number)

    def _stop(self, number: int, frame: object) -> None:
        self.ignore()
        self._number = number
        if self.group is None:
            error = self.error()
            raise error if error else SystemExit(1)
        self.kill(signal.SIGINT)
        timer = threading.Timer(GRACE, self.kill, [signal.SIGKILL])
        timer.daemon = True
        timer.start()

    def kill(self, number: int) -> None:
        """Sends a signal to the kernel and to the processes that it has started."""
        if self.group:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.group, number)


class RunClient(PapermillNotebookClient):
    """Papermill's client, but an execution that stops early is an error, whatever stopped it."""

    def execute_run(self, env: dict[str, str], signals: Signals) -> None:
        """Executes all cells in a kernel with the environment `env`, and leaves no process of it behind."""
        self._signals = signals
        self.on_cell_executed = _refuse_exit
        try:
            super().execute(env=env)
        finally:
            if self.km is not None and self.km.has_kernel:  # interrupted while it was starting
                signals.group = _group_of(self.km)
                self._cleanup_kernel()
            signals.kill(signal.SIGKILL)
            signals.group = None

    def create_kernel_manager(self):
        """The kernel `python3` is the interpreter that runs papermill, whatever else is registered by that name."""
        if self.kernel_name != NATIVE_KERNEL_NAME:
            return super().create_kernel_manager()
        can_encrypt = zmq.has("curve") and "transport_encryption" in AsyncKernelManager.class_trait_names()
        self.km = AsyncKernelManager(
            kernel_name=NATIVE_KERNEL_NAME,
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),  # without folders it asks ipykernel
            config=self.config,
            **({"transport_encryption": "auto"} if can_encrypt else {}),  # else each kernel prints a warning
        )
        return self.km

    def papermill_execute_cells(self) -> None:
        """Papermill's loop, but a time-out does not complete a cell, nor `sys.exit(0)` a notebook."""
        self._signals.group = _group_of(self.km)
        for index, cell in enumerate(self.nb.cells):
            self.nb_man.cell_start(cell, index)
            self.execute_cell(cell, index)
            for output in cell.get("outputs", []):  # in a cell that may raise; papermill fails at the end
                if output.output_type == "error":
                    raise CellExecutionError("\n".join(output.traceback), output.ename, output.evalue)
            self.nb_man.cell_complete(cell, index)
            if error := self._signals.error():  # the cell has caught the interrupt
                raise error


def _group_of(manager) -> int | None:
    """The process group that the kernel has started; None if it runs elsewhere, or in papermill's group."""
    group = getattr(manager.provisioner, "pgid", None)
    return group if group != os.getpgrp() else None


def _refuse_exit(execute_reply: dict, **about_the_cell) -> None:
    """Makes an error of IPython's `exit()`, after which the kernel would end without an error."""
    if any(message.get("source") == "ask_exit" for message in execute_reply["content"].get("payload", [])):
        raise CellExecutionError("", "SystemExit", "exit() was called")
