"""Where the executed notebook and the other files of a run go.

A run without an output path is staged: all its files are made in `<run>.partial/`, which replaces `<run>/` when the
notebook has finished and becomes `<run>.failed/` when it has not. An earlier good run stays until then.
"""

import os
import shutil
from pathlib import Path, PurePath

from filelock import FileLock, Timeout
from papermill.iorw import LocalHandler, papermill_io

from .. import paths
from .plan import Plan, Refusal


def open_target(plan: Plan, output_path: str | None, folder: Path) -> "Staged | Explicit":
    """The target of a run. `output_path`: papermill's, relative to `folder`; None: the run's own folder."""
    if output_path is None:
        return Staged(plan.home, folder)
    if not isinstance(papermill_io.get_handler(output_path), LocalHandler):
        raise Refusal(f"a run writes a folder of files: give a local output path, or none, instead of {output_path}")
    file = folder / output_path
    if file.resolve() == plan.template:
        raise Refusal(f"the output path is the template notebooks/{plan.template.name} itself: choose another one")
    papermill_io.register(output_path, AtomicFile(output_path, file))
    return Staged(plan.home, folder) if file.resolve() == plan.home.resolve() else Explicit(file, output_path)


class Staged:
    """The run's own folder. `folder`: where its files are made; `shown`: its final place, in outputs and messages."""

    def __init__(self, home: Path, started_in: Path):
        self.home, self._started_in = home.parent, started_in
        self.folder = self._sibling("partial")
        self.notebook = home.name
        self.shown = f"artifacts/{self.home.relative_to(paths.artifacts()).as_posix()}"
        self.shown_notebook = f"{self.shown}/{self.notebook}"
        self._old = self._sibling("old.partial")
        # released when this process ends, however it ends
        self._lock = FileLock(
            paths.artifacts() / "scratch" / "locks" / f"{home.parent.parent.name}-{self.home.name}.lock"
        )
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise Refusal(f"{self._typed(self.home)} is being made by another process: wait for it") from None
        if self._old.exists():  # an earlier process was killed in the middle of `succeed`
            shutil.rmtree(self._old) if self.home.exists() else self._old.rename(self.home)
        shutil.rmtree(self.folder, ignore_errors=True)  # left by a run that was killed
        self.folder.mkdir(parents=True)

    def save(self, text: str) -> None:
        """Saves the notebook in its present state."""
        paths.write_atomically(self.folder / self.notebook, text)

    def succeed(self, text: str) -> str:
        """Puts the finished run in its place, all files at once; returns the notebook's path."""
        self.save(text)
        # Two renames, since no portable call exchanges folders: for some microseconds there is no run. If this process
        # is killed just then, the next execution restores the old run.
        if self.home.exists():
            self.home.rename(self._old)
        self.folder.rename(self.home)
        shutil.rmtree(self._old, ignore_errors=True)
        shutil.rmtree(self._sibling("failed"), ignore_errors=True)
        self._lock.release()
        return f"{self._typed(self.home)}/{self.notebook}"

    def fail(self, text: str) -> str:
        """Keeps the unfinished run beside the good run, in place of an earlier failed attempt; returns its path."""
        failed = self._sibling("failed")
        replaced = " (replaces the failed attempt before it)" if failed.exists() else ""
        self.save(text)
        shutil.rmtree(failed, ignore_errors=True)
        self.folder.rename(failed)
        self._lock.release()
        return f"{self._typed(failed)}/{self.notebook}{replaced}"

    def _sibling(self, ending: str) -> Path:
        return self.home.with_name(f"{self.home.name}.{ending}")

    def _typed(self, path: Path) -> str:
        """A path as a user would type it where papermill was started."""
        return os.path.relpath(path, self._started_in) if path.is_relative_to(paths.root()) else str(path)


class Explicit:
    """A notebook exactly at the user's output path X.ipynb, and the run's other files in X/ beside it."""

    def __init__(self, file: Path, typed: str):
        self.file, self._typed = file, typed
        self.folder = file.with_suffix("") if file.suffix else file.with_name(f"{file.name}.files")
        place, root = file.resolve(), paths.root()
        self.shown_notebook = place.relative_to(root).as_posix() if place.is_relative_to(root) else file.name
        self.shown = str(PurePath(self.shown_notebook).with_name(self.folder.name))

    def save(self, text: str) -> None:
        """Replaces the file by the notebook in its present state."""
        paths.write_atomically(self.file, text)

    def succeed(self, text: str) -> str:
        """Saves the notebook; returns its path."""
        self.save(text)
        return self._typed

    fail = succeed


class AtomicFile(LocalHandler):
    """Papermill's handler for one output path: writes the file atomically.

    Papermill writes an executed notebook once more after its engine, and truncates the file first. It finds a handler
    by the beginning of a path, so other paths may arrive here too.
    """

    def __init__(self, path: str, file: Path):
        super().__init__()
        self._path, self._file = path, file

    def write(self, buf: str, path: str) -> None:
        """Writes the notebook's text to the path."""
        if path == self._path:
            paths.write_atomically(self._file, buf)
        else:
            super().write(buf, path)
