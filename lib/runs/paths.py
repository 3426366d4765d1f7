"""Finds the repository's folders and writes files atomically.

Every place follows from the repository's root, the folder that holds `lib`, never from the working directory: a kernel
starts in `notebooks/`, papermill anywhere.
"""

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path


def root() -> Path:
    """The repository's root: the folder that holds the package `lib`."""
    return Path(__file__).resolve().parents[2]


def artifacts() -> Path:
    """Where runs are written: `artifacts/` under the root, or the folder in RLVR_ARTIFACTS (relative to the root)."""
    return root() / os.environ.get("RLVR_ARTIFACTS", "artifacts")


def run_folder(preset: str, run: str) -> Path:
    """The folder of a run: `artifacts/<preset>/<run>`."""
    return artifacts() / preset / run


def template(notebook: str) -> Path:
    """The notebook, without outputs, from which runs are made: `notebooks/<notebook>.ipynb`."""
    return root() / "notebooks" / f"{notebook}.ipynb"


def params_file(preset: str, run: str) -> Path:
    """The file that describes a run; `run` may also be "preset"."""
    return root() / "params" / preset / f"{run}.yaml"


def git(*arguments: str) -> str | None:
    """The output of a git command in the repository; None if it fails, or without git."""
    command = ["git", "--no-optional-locks", *arguments]  # never lock the index against the user
    try:
        return subprocess.run(command, cwd=root(), capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file so that a reader sees the old content or the new, never half of it. Makes missing folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)  # mkstemp sets 0o600, which would keep other accounts, and git's, from reading it
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def file_hash(path: Path) -> str:
    """The first 16 hexadecimal digits of a file's sha256; an empty string if there is no such file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""


def json_lines(rows: Iterable[dict]) -> str:
    """The text of a file with one JSON object per line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
