"""The data report reads every set of a preset, and its tables say what is there and what was left out."""

import json
import shutil
from collections import Counter
from dataclasses import replace

from lib.problems import Problem, Problems, Test, data_report
from lib.problems.data_report import open_sets, problem_table, size_table
from lib.problems.ledger import Ledger, read_ledger
from lib.runs.params_files import load_params_file
from lib.runs.paths import root

HIDDEN = "def check(f):\n    assert f(1) == 1\n    assert f(20) == 20\ncheck(f)\n"
FUNCTION = Problem("h", "humaneval", "test", "function", "Give it back.", (Test(HIDDEN),), solutions=("def f(x): ...",))
CONTEST = Problem("c", "codecontests", "train", "stdio", "Add a and b.", (Test("1 2\n", "3"),) * 7, difficulty="B")
ANY_CASE = replace(CONTEST, prompt="Print in any case.", tests=(Test("", "YES"),) * 7)
SETS = {
    "humaneval": Problems([FUNCTION]),
    "contests_train": Problems([CONTEST, ANY_CASE], Counter({"no tests": 3, "no statement": 1})),
}


def run_of(preset: str, folder):
    class Run:
        pass

    Run.folder, Run.ledger, Run.preset = (
        folder,
        Ledger(folder),
        load_params_file(root() / f"params/{preset}/preset.yaml"),
    )
    return Run


def test_sizes_roles_and_what_was_left_out(tmp_path):
    table = size_table(SETS, run_of("qwen7b", tmp_path).preset)
    assert list(table.loc["humaneval"]) == ["test", "humaneval test", 1, 2, 1, 0, 0, "none"]
    assert list(table.loc["contests_train"])[2:] == [2, 14, 0, 1, 0, "3 no tests; 1 no statement"]
    assert list(table.loc["contests_valid"])[2:] == [0, 0, 0, 0, 0, "all: the set is not frozen yet"]


def test_one_row_per_problem():
    table = problem_table(SETS)
    assert list(table["set"]) == ["humaneval", "contests_train", "contests_train"]
    assert list(table["tests"]) == [2, 7, 7], "HumanEval's one test holds two asserts"
    assert list(table["words"]) == [3, 4, 4]
    assert list(table["difficulty"]) == ["unknown", "B", "B"]


def test_the_sets_of_the_tiny_preset_are_read_for_the_report(tmp_path):
    run = run_of("tiny", tmp_path)
    sets = open_sets(run)
    assert list(sets) == list(run.preset["sets"])
    assert {line["purpose"] for line in read_ledger(run.folder)} == {"report"}
    assert [line["ids"] for line in read_ledger(run.folder)] == [[one.id for one in found] for found in sets.values()]
    assert size_table(sets, run.preset).problems.sum() == sum(map(len, sets.values())) > 3000


def test_real_rows_come_from_the_files_beside_the_project(monkeypatch, tmp_path):
    run = run_of("qwen7b", tmp_path / "run")
    rows = tmp_path / "shared" / "data" / "codecontests"
    rows.mkdir(parents=True)
    none = {"input": [], "output": []}
    contest = {"name": "n", "description": "d", "private_tests": {"input": ["1"], "output": ["1"]}, "difficulty": 0}
    contest |= {"public_tests": none, "generated_tests": none, "cf_tags": [], "time_limit": None}
    contest |= {"memory_limit_bytes": 0, "input_file": "", "output_file": ""}
    (rows / "part.jsonl").write_text(json.dumps(contest))
    shutil.copytree(root() / "params", tmp_path / "project" / "params")
    monkeypatch.setattr(data_report.paths, "root", lambda: tmp_path / "project")
    monkeypatch.setattr(data_report, "LOCAL", {("codecontests", "train"): ("codecontests/part.jsonl", False)})
    assert {name: len(problems) for name, problems in open_sets(run).items()} == {"contests_train": 1}
    assert [line["manifest"] for line in read_ledger(run.folder)] == [None]
