"""Evidence to plant faults in: a small repository in git, whose runs were executed by the real papermill."""

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lib.evidence.__main__ import main
from lib.runs import paths

MEASURE = """
solved = 80 + seed
test = {"n": 165, "accepted_at_1": solved / 165, "accepted_at_1_interval": [0.41, 0.561], "cost": None}
run.save_json("metrics.json", {"datasets": {"contests_test": test}, "by 1.5 s": {"0.8": [1, 2]}})
"""
FINISH = 'run.finish({"headline": f"{solved} solved", "contests_test": solved / 165})'
SHOW = """
import json
from IPython.display import Markdown
from types import SimpleNamespace
from lib.evidence.generated import seeds_block
rows = {"SFT": {0: SimpleNamespace(folder=run.upstream(sft)), 1: None}}
run.save_json("metrics.json", {})
Markdown(seeds_block(rows, "contests_test.accepted_at_1"))
"""
README = """# A page

<!-- generated: seeds_table contests_test.accepted_at_1 0,1 SFT=10_sft-s0,10_sft-s1 -->
<!-- end -->

See [the notebook](artifacts/tiny/10_sft-s0/10_sft.ipynb).
"""
RUNS = ("10_sft-s0", "10_sft-s1", "90_report-s0")


def git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.c")
    command = ["git", "-C", str(root), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="session")
def executed(new_repository, tmp_path_factory) -> Path:
    """The root of a repository: a training with two seeds, a report over it, and pages filled from their records."""
    small = new_repository(tmp_path_factory.mktemp("executed") / "repository")
    for name in set(small.root.glob("lib/*")) - {
        small.root / "lib" / kept for kept in ("__init__.py", "runs", "evidence")
    }:
        shutil.rmtree(name) if name.is_dir() else name.unlink()  # these two packages are enough
    small.write("lib/trained.py", "STEPS = 100\n")
    shutil.copy(paths.root() / ".gitignore", small.root)
    small.notebook(
        "10_sft",
        "from lib import trained\nfrom lib.runs import start\nrun = start('10_sft', globals())",
        MEASURE,
        FINISH,
    )
    start = "from lib.runs import start\nrun = start('90_report', globals())"
    small.notebook("90_report", start, SHOW, "run.finish({'headline': 'SFT'})", parameters='sft: str = "10_sft-s0"\n')
    for run in RUNS:
        small.params(run, f"seed: {run[-1]}\n")
    git(small.root, "init", "-q")
    git(small.root, "add", "-A")
    git(small.root, "commit", "-qm", "code")

    def execute(run: str) -> None:
        done = small.python("-m", "papermill", f"notebooks/{run.split('-')[0]}.ipynb", "-f", f"params/tiny/{run}.yaml")
        assert done.returncode == 0, done.stderr

    with ThreadPoolExecutor() as together:
        list(together.map(execute, RUNS[:2]))
    execute(RUNS[2])
    for page in ("README.md", "README.zh-CN.md"):
        small.write(page, README)
    for command in ("fill", "index"):
        done = small.python("-m", "lib.evidence", command)
        assert done.returncode == 0, done.stderr
    git(small.root, "add", "-A")
    git(small.root, "commit", "-qm", "evidence")
    return small.root


class Evidence:
    """A copy of that repository, to plant faults in."""

    def __init__(self, root: Path, capsys):
        self.root, self._capsys = root, capsys

    def command(self, *arguments: str) -> tuple[int, list[str]]:
        """The exit code and what `python -m lib.evidence` prints."""
        code = main(list(arguments))
        printed = self._capsys.readouterr()
        return code, (printed.out + printed.err).splitlines()

    def wrong(self) -> list[str]:
        """What the check finds wrong; its exit code must say the same."""
        code, lines = self.command("check")
        found = [line for line in lines if line.startswith("WRONG")]
        assert code == bool(found)
        return found

    def replace(self, file: str, old: str, new: str) -> None:
        text = (self.root / file).read_text()
        assert old in text
        (self.root / file).write_text(text.replace(old, new))

    def edit(self, file: str, change) -> None:
        """Changes a JSON file in place."""
        content = json.loads((self.root / file).read_text())
        change(content)
        (self.root / file).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


@pytest.fixture
def evidence(executed, tmp_path, monkeypatch, capsys) -> Evidence:
    root = tmp_path / "repository"
    shutil.copytree(executed, root, symlinks=True)
    monkeypatch.delenv("RLVR_ARTIFACTS", raising=False)
    monkeypatch.setattr(paths, "root", lambda: root)
    return Evidence(root, capsys)
