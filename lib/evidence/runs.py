"""Reads the executed runs that are evidence, and asks git about the commits that made them.

A run is evidence if git tracks its folder or a params file describes it; without git, every folder is. Other runs,
which somebody tried by hand, are ignored.
"""

import json
import re
from functools import cache, cached_property
from pathlib import Path

import nbformat

from lib.runs import paths
from lib.runs.fingerprint import RUN_NAME, notebook_of
from lib.runs.record import MIME


class RecordError(ValueError):
    """No record has what a page asks for; the message says what is missing."""


class ExecutedRun:
    """The files of a run. Reading a missing or broken file raises OSError, ValueError or KeyError."""

    def __init__(self, folder: Path):
        self.folder, self.preset, self.name = folder, folder.parent.name, folder.name
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


Runs = dict[tuple[str, str], ExecutedRun]  # (preset, name) -> run


def executed_runs(artifacts: Path) -> Runs:
    """All runs below `artifacts` that are evidence, in the order of their names."""
    there = {(path.parent.name, path.name) for path in artifacts.glob("*/*") if path.is_dir()}
    tracked = paths.git("ls-files", "-z", "--", str(artifacts))
    if tracked is not None:
        depth = len(artifacts.relative_to(paths.root()).parts)
        places = [Path(name).parts[depth:] for name in tracked.split("\0")]
        named = {(parts[0], parts[1]) for parts in places if len(parts) > 2}
        there = named | {key for key in there if paths.params_file(*key).is_file()}
    kept = sorted(key for key in there if key[0] != "scratch" and RUN_NAME.fullmatch(key[1]))
    return {key: ExecutedRun(artifacts.joinpath(*key)) for key in kept}


def named(runs: Runs, pattern: str) -> list[ExecutedRun]:
    """The runs of a name such as `10_sft-s0` or `10_sft-s*` (all seeds); `qwen7b/10_sft-s0` names the preset, which is
    `tiny` otherwise. Raises RecordError if there is none."""
    preset, _, name = pattern.rpartition("/")
    expression = re.escape(name).replace(r"\*", r"\d+")
    found = [run for key, run in runs.items() if key[0] == (preset or "tiny") and re.fullmatch(expression, key[1])]
    if not found:
        raise RecordError(f"there is no run {pattern}")
    return found


class History:
    """The commits that runs name, according to git. `missing`: why git cannot tell, or an empty string."""

    def __init__(self):
        shallow = paths.git("rev-parse", "--is-shallow-repository")
        self.missing = "no git" if shallow is None else "a shallow clone" if shallow.strip() == "true" else ""

    @cache  # noqa: B019 (an object per check)
    def knows(self, commit: str) -> bool:
        """Whether HEAD contains the commit."""
        return (
            bool(re.fullmatch("[0-9a-f]{40}", commit))
            and paths.git("merge-base", "--is-ancestor", commit, "HEAD") == ""
        )

    @cache  # noqa: B019
    def template(self, commit: str, notebook: str) -> list[nbformat.NotebookNode] | None:
        """The cells of a template in a commit; None if git does not have it."""
        text = paths.git("show", f"{commit}:notebooks/{notebook}.ipynb")
        return nbformat.reads(text, as_version=4).cells if text else None
