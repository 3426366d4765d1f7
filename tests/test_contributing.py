"""CONTRIBUTING.md followed literally: its files, edits and commands, in copies of the repository at smoke scale.

Three sentences before a code block are instructions: "Create `path`:", "In `path`, add above the line `line`:" and
"In `path`, add below the line `line`:". A block marked as bash is typed as it stands.
"""

import json
import re
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
from copies import ROOT, copy_repository, type_command

pytestmark = pytest.mark.timeout(1800)  # a minute on two idle cores

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
INSTRUCTION = re.compile(
    r"(?:^Create `(?P<create>[^`\n]+)`:\n\n"
    r"|^In `(?P<edit>[^`\n]+)`, add (?P<side>above|below) the line `(?P<line>[^\n]+)`:\n\n)?"
    r"^```(?P<language>\w*)\n(?P<content>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Copy:
    """A copy of the repository in which the commands of the page run, as on a newcomer's machine."""

    def __init__(self, folder: Path):
        self.folder, self.touched = folder, set()
        copy_repository(folder, "lib", "notebooks", "params", "data", "tests")
        for file in ("pyproject.toml", "CONTRIBUTING.md"):
            shutil.copy(ROOT / file, folder / file)
        (folder / ".venv").symlink_to(sys.prefix)

    def follow(self, title: str) -> None:
        """Carries out a page, instruction by instruction."""
        page = re.search(rf"^## {title}\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)[1]
        for step in INSTRUCTION.finditer(page):
            content = step["content"]
            self.touched |= {path for path in (step["create"], step["edit"]) if path and path.endswith(".py")}
            if step["create"]:
                path = self.folder / step["create"]
                assert not path.exists(), f"{step['create']} is there already"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
            elif step["edit"]:
                path = self.folder / step["edit"]
                before = path.read_text()
                assert before.count(f"\n{step['line']}\n") == 1, f"{step['edit']} has not the line {step['line']}"
                line = f"{step['line']}\n"
                path.write_text(before.replace(line, content + line if step["side"] == "above" else line + content, 1))
            else:
                assert step["language"] == "bash", f"what is to be done with this block?\n{content}"
                type_command(["bash", "-e", "-c", content], self.folder)

    def check_style(self, *more: str) -> None:
        """The Python files that the page adds or edits, and `more`, are in the style of the project."""
        files = sorted({path for path in (*self.touched, *more) if (self.folder / path).is_file()})
        for command in (["check", "--no-fix"], ["format", "--check"]):
            type_command([str(Path(sys.executable).parent / "ruff"), *command, *files], self.folder)

    def read(self, path: str) -> dict:
        return json.loads((self.folder / path).read_text())


@pytest.fixture
def copy(tmp_path) -> Copy:
    return Copy(tmp_path)


def test_the_page_has_the_four_pages_that_are_followed_here():
    assert re.findall(r"^## (Add .*)$", PAGE, re.MULTILINE) == [
        "Add a reward",
        "Add a data set",
        "Add a notebook",
        "Add a preset",
    ]


def test_add_a_reward(copy):
    control = Path("artifacts") / "tiny" / "03_baseline-s0"  # comes with every clone
    shutil.copytree(ROOT / control, copy.folder / control)
    copy.follow("Add a reward")
    run = copy.folder / "artifacts" / "tiny" / "30_grpo-short-s0"
    assert copy.read(run / "run_info.json")["status"] == "finished"
    curve = pd.read_csv(run / "curves.csv")
    assert len(curve) == 3
    assert [column for column in curve.columns if "short_program" in column], "the part is logged"
    assert [column for column in curve.columns if "program_lines" in column]
    samples = [json.loads(line) for line in (run / "completions.jsonl").read_text().splitlines()]
    assert all("program_lines" in sample["parts"] for sample in samples if sample["reward"] is not None)
    copy.check_style()


def test_add_a_data_set(copy):
    copy.follow("Add a data set")
    metrics = copy.read("artifacts/tiny/03_baseline-limit=2-s0/metrics.json")
    assert metrics["datasets"]["warmup"]["n"] == 2
    assert metrics["datasets"]["humaneval"]["n"] == 2
    copy.check_style()


def test_add_a_notebook(copy):
    copy.follow("Add a notebook")
    run = "artifacts/tiny/05_prompt_lengths-s0"
    assert copy.read(f"{run}/run_info.json")["status"] == "finished"
    assert copy.read(f"{run}/metrics.json")["mean_tokens"].keys() >= {"contests_test", "humaneval", "mbpp"}
    assert not (copy.folder / "new_notebook.py").exists()
    copy.check_style("notebooks/05_prompt_lengths.ipynb")


def test_add_a_preset(copy):
    copy.follow("Add a preset")
    metrics = copy.read("artifacts/short/03_baseline-limit=2-s0/metrics.json")
    assert metrics["decoding"]["max_new_tokens"] == 64
    assert not (copy.folder / "artifacts" / "tiny").exists()
