"""Where an executed notebook and the other files of its run go. Three kinds of target, one set of methods.

A run without an output path is staged: all its files are made in `<run>.partial/`, which takes the place of `<run>/`
when the notebook has finished, and becomes `<run>.failed/` when it has not. An earlier good run stays until then.
"""

import errno
import fcntl
import os
import shutil
from pathlib import Path, PurePath

from .house import ROOT, own
from .plan import Plan, Refusal


def open_target(plan: Plan, output_path: str | None, folder: Path) -> "Staged | Explicit | Foreign":
    """The target of a run. `output_path`: as papermill has it, relative to `folder`; also `-`, a URL, or None."""
    from papermill.iorw import LocalHandler, papermill_io

    if output_path is None or not isinstance(papermill_io.get_handler(output_path), LocalHandler | WholeFile):
        return Foreign(plan, output_path)
    file = folder / output_path
    if file.resolve() == plan.template:
        raise Refusal(f"the output path is the template notebooks/{plan.template.name} itself: choose another")
    if output_path.endswith(".ipynb"):  # nothing else that papermill may be asked for begins so
        papermill_io.register(output_path, WholeFile(output_path, file, papermill_io.get_handler("local")))
    return Staged(plan.home, folder) if file.resolve() == plan.home.resolve() else Explicit(file, output_path)


class Staged:
    """The run's own folder. `folder`: where its files are made; `shown`: where they will be."""

    def __init__(self, home: Path, started_in: Path):
        self.home, self._started_in = home.parent, started_in
        self.folder = _sibling(self.home, "partial")
        self.notebook = home.name
        self.shown = f"artifacts/{self.home.relative_to(own('paths').artifacts()).as_posix()}"
        self.shown_notebook = f"{self.shown}/{self.notebook}"
        self._old = _sibling(self.home, "old.partial")
        self._lock = _lock(self.folder, self._typed(self.home))
        if self._old.exists():  # killed in the middle of `succeed`
            shutil.rmtree(self._old) if self.home.exists() else self._old.rename(self.home)
        for left in self.folder.iterdir():  # by a run that was killed
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()

    def save(self, text: str) -> None:
        """Keeps the notebook as it is so far."""
        own("paths").write_atomically(self.folder / self.notebook, text)

    def succeed(self, text: str) -> str:
        """Puts the finished run in its place, all files at once; gives the notebook's path."""
        self.save(text)
        # Two renames, since no portable call exchanges folders: for some microseconds there is no run. Should we be
        # killed just then, the next execution finds the old one.
        if self.home.exists():
            self.home.rename(self._old)
        self.folder.rename(self.home)
        shutil.rmtree(self._old, ignore_errors=True)
        shutil.rmtree(_sibling(self.home, "failed"), ignore_errors=True)
        os.close(self._lock)
        return f"{self._typed(self.home)}/{self.notebook}"

    def fail(self, text: str) -> str:
        """Keeps the unfinished run beside the good one; gives the notebook's path."""
        failed = _sibling(self.home, "failed")
        self.save(text)
        shutil.rmtree(failed, ignore_errors=True)
        self.folder.rename(failed)
        os.close(self._lock)
        return f"{self._typed(failed)}/{self.notebook}"

    def _typed(self, path: Path) -> str:
        """A path as one would type it where papermill was started."""
        return os.path.relpath(path, self._started_in) if path.is_relative_to(ROOT) else str(path)


class Explicit:
    """A notebook exactly where the user wants it, X.ipynb, and the run's other files in X/ beside it."""

    def __init__(self, file: Path, typed: str):
        self.file, self._typed = file, typed
        self.folder = file.with_suffix("") if file.suffix else file.with_name(f"{file.name}.files")
        here = file.resolve()
        self.shown_notebook = here.relative_to(ROOT).as_posix() if here.is_relative_to(ROOT) else file.name
        self.shown = str(PurePath(self.shown_notebook).with_name(self.folder.name))

    def save(self, text: str) -> None:
        """Replaces the file, with whatever became of the notebook so far."""
        own("paths").write_atomically(self.file, text)

    def succeed(self, text: str) -> str:
        """Gives the notebook's path."""
        self.save(text)
        return self._typed

    fail = succeed


class Foreign:
    """What papermill writes by means of its own: stdout, a store behind a URL, or nothing. Other files: scratch."""

    def __init__(self, plan: Plan, output_path: str | None):
        self.output_path = self.shown_notebook = output_path
        self.folder = own("paths").artifacts() / "scratch" / plan.name
        self.shown = f"artifacts/scratch/{plan.name}"

    def save(self, text: str) -> None:
        """Saves where that can be done again and again."""
        if self.output_path != "-":
            self.fail(text)

    def succeed(self, text: str) -> str:
        """Leaves the notebook to papermill, which writes the one that its engine returns."""
        return self.output_path or "nowhere"

    def fail(self, text: str) -> str:
        """Writes the notebook, because papermill will not do it after an error."""
        from papermill.iorw import papermill_io

        papermill_io.write(text, self.output_path)
        return "stdout" if self.output_path == "-" else self.output_path or "nowhere, without an output path"


class WholeFile:
    """Papermill's reader and writer for one output path, which never leaves half a file.

    Papermill writes an executed notebook once more when its engine is done, and truncates the file to do so. A handler
    is found by the beginning of a path, therefore whatever is not exactly this path is passed on.
    """

    def __init__(self, path: str, file: Path, other: object):
        self._path, self._file, self._other = path, file, other

    def write(self, text: str, path: str) -> None:
        """Does nothing when the file says the same already."""
        if path != self._path:
            self._other.write(text, path)
        elif not self._file.is_file() or self._file.read_text(encoding="utf-8") != text:
            own("paths").write_atomically(self._file, text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._other, name)  # read, listdir, pretty_path


def _sibling(folder: Path, ending: str) -> Path:
    return folder.with_name(f"{folder.name}.{ending}")


def _lock(folder: Path, name: str) -> int:
    """Makes a folder that belongs to this process until the descriptor returned is closed, or the process ends.

    The lock is on the folder itself, and so goes where it goes. Raises Refusal while another process holds it.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # renamed just now by the process that had it
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                os.close(descriptor)
                raise Refusal(f"{name} is being made by another process at this moment: wait for it") from None
            # else the file system, such as some NFS, locks no folders; go on without
        if folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat()):
            return descriptor
        os.close(descriptor)
