"""Executes the cells of one notebook: its kernel, its progress, and the saving of what there is so far."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

import zmq
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import ensure_async, ensure_event_loop
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NotebookExecutionManager
from papermill.log import logger

GRACE = 3.0  # seconds for a cell to end after Ctrl-C
QUIET = 15.0  # seconds between two lines of progress where there is no terminal


class RunManager(NotebookExecutionManager):
    """Papermill's account of an execution. Saves by `save_copy`, and knows which cell is being executed."""

    def __init__(self, notebook, save_copy: Callable[[], None], progress_bar: bool | dict, **options):
        # papermill draws its bar into log files too, a line for each cell
        draw = progress_bar if isinstance(progress_bar, dict) else progress_bar and sys.stderr.isatty()
        super().__init__(notebook, progress_bar=draw, **options)
        self._lines = bool(progress_bar) and not draw
        self._began = self._said = time.monotonic()
        self._save_copy = save_copy
        self.index: int | None = None

    def save(self, **kwargs) -> None:
        """Where papermill would write to its output path."""
        self._save_copy()
        self.last_save_time = self.now()

    def cell_start(self, cell, cell_index=None, **kwargs) -> None:
        """Papermill's, and a line now and then."""
        self.index = cell_index
        super().cell_start(cell, cell_index, **kwargs)
        now = time.monotonic()
        if self._lines and now - self._said >= QUIET:
            self._said = now
            logger.info(f"Cell {cell_index + 1} of {len(self.nb.cells)} after {now - self._began:.0f} s")


class RunClient(PapermillNotebookClient):
    """Papermill's client, in whose notebooks an execution that stops is an error, whatever stopped it."""

    def execute(self, env: dict[str, str]) -> None:
        """Executes all cells in a kernel with the environment `env`, and leaves no process of it behind."""
        self._group = None
        self.on_cell_executed = _refuse_exit
        try:
            super().execute(env=env)
        finally:
            self._end()

    def create_kernel_manager(self) -> AsyncKernelManager:
        """The kernel `python3` is the interpreter that papermill runs in, whatever else is registered by that name."""
        if self.kernel_name != NATIVE_KERNEL_NAME:
            return super().create_kernel_manager()
        can_encrypt = zmq.has("curve") and "transport_encryption" in AsyncKernelManager.class_trait_names()
        self.km = AsyncKernelManager(
            kernel_name=NATIVE_KERNEL_NAME,
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),  # with no folder left, it asks ipykernel
            config=self.config,
            **({"transport_encryption": "auto"} if can_encrypt else {}),  # else each kernel warns that it isn't
        )
        return self.km

    def papermill_execute_cells(self) -> None:
        """Papermill's loop without its leniency: there a time-out completes a cell, and `sys.exit(0)` a notebook."""
        self._group = _group_of(self.km)
        for index, cell in enumerate(self.nb.cells):
            self.nb_man.cell_start(cell, index)
            try:
                self.execute_cell(cell, index)
            except (KeyboardInterrupt, SystemExit, CellTimeoutError):
                self._interrupt_cell()
                raise
            for output in cell.get("outputs", []):  # in a cell that may raise; papermill fails in the end
                if output.output_type == "error":
                    raise CellExecutionError("\n".join(output.traceback), output.ename, output.evalue)
            self.nb_man.cell_complete(cell, index)

    def _interrupt_cell(self) -> None:
        """Interrupts the cell in the kernel as well: `finally` blocks run, and the notebook tells where it happened."""
        loop = ensure_event_loop()
        if loop.is_running():  # called in a kernel, whose cells are executed in another thread
            return
        waiting = asyncio.all_tasks(loop)  # what we were torn away from

        async def interrupt() -> None:
            await ensure_async(self.km.interrupt_kernel())
            # the first to end has seen the end of the cell; one only asks every second whether the kernel lives
            await asyncio.wait(waiting, timeout=GRACE, return_when=asyncio.FIRST_COMPLETED)
            # until the kernel waits again; ending it interrupts once more, and it would complain
            await asyncio.sleep(0.1)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

        if waiting:
            loop.run_until_complete(interrupt())

    def _end(self) -> None:
        """Ends a kernel that was still starting when we were interrupted, and the processes that a kernel left."""
        if self.km is not None and self.km.has_kernel:
            self._group = _group_of(self.km)
            self._cleanup_kernel()
        if self._group:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, signal.SIGKILL)


def _group_of(manager: AsyncKernelManager) -> int | None:
    """The process group that the kernel has started; None when it is elsewhere, or not a group of its own."""
    group = getattr(manager.provisioner, "pgid", None)
    return group if group != os.getpgrp() else None


def _refuse_exit(execute_reply: dict, **about_the_cell) -> None:
    """Makes an error of `exit()`, IPython's own, after which the kernel ends in peace and nothing is wrong."""
    if any(message.get("source") == "ask_exit" for message in execute_reply["content"].get("payload", [])):
        raise CellExecutionError("", "SystemExit", "exit() was called")


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Within: SIGINT raises KeyboardInterrupt, SIGTERM and SIGHUP raise SystemExit, and the next ones do nothing.

    Otherwise SIGTERM would end papermill without a word, and a second Ctrl-C what the first one began. The function
    given makes all of them do nothing from then on. In a thread, where no signal arrives, all stays as it is.
    While an event loop runs they are raised between two steps of its tasks: inside one, which may just be reading what
    the kernel has sent, they would end that task, and what it was about to note would be lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    before = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}

    def ignore() -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)

    def stop(number: int, frame: object) -> None:
        ignore()
        error = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise error from None
        loop.call_soon_threadsafe(_raise, error)

    try:
        for number in before:
            signal.signal(number, stop)
        yield ignore
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(error: BaseException) -> None:
    raise error
