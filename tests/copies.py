"""Copies of the repository, in which commands run as they are typed: they import the copy's `lib` and its plug-in."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def copy_repository(folder: Path, *parts: str) -> Path:
    """Copies folders of the repository without caches; papermill finds the plug-in of the copied `lib`."""
    for part in parts:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "cache"))
    (folder / "installed").mkdir()
    (folder / "installed" / "rlvr_papermill").symlink_to("../lib/runs/papermill")
    return folder


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The environment of commands in the copy: nothing of the tests' own settings, and the copy's modules first."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("RLVR_", "PYTEST_"))}
    return inherited | {"PYTHONPATH": f"{folder}{os.pathsep}{folder / 'installed'}"} | more


def type_command(command: list[str], folder: Path, **more: str) -> str:
    """Runs a command in the copy and returns what it printed; fails with that text if the command fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(folder, **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
