"""Reads the runs that are evidence, and asks git about the commits that made them.

A run is evidence if git tracks its folder or a params file describes it; without git, every folder is. Other runs,
which somebody tried by hand, are ignored.
"""

import json
import re
import subprocess
from functools import cache, cached_property
from pathlib import Path

import nbformat

from lib.runs import paths
from lib.runs.fingerprint import RUN_NAME, notebook_of
from lib.runs.record import MIME


class Committed:
    """The files of a run. Reading a missing or broken file raises OSError, ValueError or KeyError."""

    def __init__(self, folder: Path):
        self.folder, self.preset, self.name = folder, folder.parent.name, folder.name
        self.variant, self.seed = self.name.rpartition("-s")[0], int(self.name.rpartition("-s")[2])
        self.template = notebook_of(self.name)
        self.path = folder / f"{self.template}.ipynb"

    def json(self, name: str) -> dict:
        return json.loads((self.folder / name).read_text())

    @cached_property
    def info(self) -> dict:
        return self.json("run_info.json")

    @cached_property
    def metrics(self) -> dict:
        return self.json("metrics.json")

    @cached_property
    def notebook(self) -> nbformat.NotebookNode:
        return nbformat.read(self.path, as_version=4)

    @cached_property
    def code(self) -> list[nbformat.NotebookNode]:
        return [cell for cell in self.notebook.cells if cell.cell_type == "code"]

    @cached_property
    def record(self) -> dict:
        """The record that `run.finish` has left in the last cell. Raises KeyError if there is none."""
        for output in self.code[-1].outputs if self.code else []:
            if MIME in output.get("data", {}):
                return output.data[MIME]
        raise KeyError("the last cell shows no evidence record")


def committed_runs(artifacts: Path) -> dict[tuple[str, str], Committed]:
    """(preset, name) -> run, for all runs below `artifacts` that are evidence, in the order of their names."""
    there = {(path.parent.name, path.name) for path in artifacts.glob("*/*") if path.is_dir()}
    tracked = _git("ls-files", "-z", "--", str(artifacts))
    if tracked is not None:
        places = [Path(name).parts for name in tracked.split("\0") if name]
        depth = len(artifacts.relative_to(paths.root()).parts)
        named = {tuple(parts[depth : depth + 2]) for parts in places if len(parts) > depth + 2}
        there = named | {(preset, run) for preset, run in there if params_file(preset, run).is_file()}
    kept = sorted((preset, run) for preset, run in there if preset != "scratch" and RUN_NAME.fullmatch(run))
    return {(preset, run): Committed(artifacts / preset / run) for preset, run in kept}


def params_file(preset: str, run: str) -> Path:
    return paths.root() / "params" / preset / f"{run}.yaml"


class History:
    """The commits that runs name, according to git. `missing`: why git cannot tell, or an empty string."""

    def __init__(self):
        shallow = _git("rev-parse", "--is-shallow-repository")
        self.missing = "no git" if shallow is None else "a shallow clone" if shallow.strip() == "true" else ""

    @cache  # noqa: B019 (an object per check)
    def knows(self, commit: str) -> bool:
        """Whether HEAD contains the commit."""
        return bool(re.fullmatch("[0-9a-f]{40}", commit)) and _git("merge-base", "--is-ancestor", commit, "HEAD") == ""

    @cache  # noqa: B019
    def template(self, commit: str, notebook: str) -> list[nbformat.NotebookNode] | None:
        """The cells of a template in a commit; None if git does not have it."""
        text = _git("show", f"{commit}:notebooks/{notebook}.ipynb")
        return nbformat.reads(text, as_version=4).cells if text else None


def _git(*arguments: str) -> str | None:
    try:
        command = ["git", "--no-optional-locks", "-C", str(paths.root()), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
