"""For all tests: interruptions reach the programs that a test starts; and a small repository for tests of runs.

A shell's background job inherits an ignored SIGINT and hands it on to every process below; with Python's own handler
set here, children start with the default again.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from copies import copy_repository, environment
from hypothesis import settings

from lib.runs import paths

signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: on a busy machine the time of one example says nothing.
settings.register_profile("house", deadline=None, max_examples=50)
settings.load_profile("house")

# The files that take longest, started first: else one process works on the last of them while the other has ended.
LONGEST = ("test_notebooks", "test_launch", "test_resume", "test_contributing", "test_papermill_plugin", "test_cost")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


PARAMETERS = 'preset: str = "tiny"  # which preset\nseed: int = 0  # of all random numbers\n'


class Repository:
    """A folder with `lib`, `notebooks`, `params` and `artifacts`, in which the real commands can be run."""

    def __init__(self, root: Path):
        self.root = root
        copy_repository(root, "lib")
        for folder in ("notebooks", "params/tiny", "data/tiny", "artifacts"):
            (root / folder).mkdir(parents=True)
        self.write("params/tiny/preset.yaml", "max_new_tokens: 8\n")

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def notebook(self, name: str, *cells: str, parameters: str = "") -> Path:
        """A template: the parameters cell (preset, seed and `parameters`), then code cells."""
        metadata = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
        sources = [PARAMETERS + parameters, *cells]
        tags = [{"tags": ["parameters"]}] + [{}] * len(cells)
        code = [
            {"cell_type": "code", "id": f"cell-{n}", "metadata": tag, "source": source, "outputs": []}
            | {"execution_count": None}
            for n, (source, tag) in enumerate(zip(sources, tags, strict=True))
        ]
        content = {"cells": code, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
        return self.write(f"notebooks/{name}.ipynb", json.dumps(content))

    def params(self, run: str, text: str = "seed: 0\n") -> Path:
        return self.write(f"params/tiny/{run}.yaml", text)

    def environment(self) -> dict[str, str]:
        return environment(self.root)

    def python(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.root,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )

    def folder(self, run: str) -> Path:
        return self.root / "artifacts" / "tiny" / run

    def json(self, run: str, name: str):
        return json.loads((self.folder(run) / name).read_text())


@pytest.fixture(scope="session")
def new_repository() -> type[Repository]:
    """For fixtures that make a small repository once, for all tests of a module."""
    return Repository


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Repository:
    """The small repository; for code called in the test's own process, too, it is the root."""
    small = Repository(tmp_path / "repository")
    for variable in ("RLVR_ARTIFACTS", "RLVR_RUN_FOLDER", "RLVR_RUN_NAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(paths, "root", lambda: small.root)
    return small
