"""Committed: the runs that are evidence, as their files say, and what git knows of the code that made them.

A run is evidence when git tracks its folder or a params file describes it; where there is no git, every folder is.
What was tried by hand beside them is nobody's claim, and is left alone.
"""

import json
import re
import subprocess
from functools import cache, cached_property
from pathlib import Path

import nbformat

from lib.runs import paths
from lib.runs.fingerprint import RUN_NAME
from lib.runs.record import MIME


class Committed:
    """One run's files. What is missing or unreadable raises OSError, ValueError or KeyError when it is asked for."""

    def __init__(self, folder: Path):
        self.folder, self.preset, self.name = folder, folder.parent.name, folder.name
        self.variant, self.seed = self.name.rpartition("-s")[0], int(self.name.rpartition("-s")[2])
        self.template = RUN_NAME.fullmatch(self.name)["notebook"]
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
        """What `run.finish` has left in the last cell. Raises KeyError when it is not there."""
        for output in self.code[-1].outputs if self.code else []:
            if MIME in output.get("data", {}):
                return output.data[MIME]
        raise KeyError("the last cell shows no evidence record")


def committed_runs(artifacts: Path) -> dict[tuple[str, str], Committed]:
    """(preset, run) -> the run, for all runs below `artifacts` that are evidence, in the order of their names."""
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
    """What git can tell of the commits that runs name. `missing`: why it can't, or an empty string."""

    def __init__(self):
        shallow = _git("rev-parse", "--is-shallow-repository")
        self.missing = "no git" if shallow is None else "a shallow clone" if shallow.strip() == "true" else ""

    @cache  # noqa: B019 (one object per check)
    def knows(self, commit: str) -> bool:
        """Whether the commit is one that HEAD stands on."""
        return bool(re.fullmatch("[0-9a-f]{40}", commit)) and _git("merge-base", "--is-ancestor", commit, "HEAD") == ""

    @cache  # noqa: B019
    def template(self, commit: str, notebook: str) -> list[nbformat.NotebookNode] | None:
        """The cells of a template as they were in a commit; None when git doesn't have it."""
        text = _git("show", f"{commit}:notebooks/{notebook}.ipynb")
        return nbformat.reads(text, as_version=4).cells if text else None


def _git(*arguments: str) -> str | None:
    try:
        command = ["git", "--no-optional-locks", "-C", str(paths.root()), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
