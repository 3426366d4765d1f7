"""The audit opens every set for a report, and its tables say what is there and what was left out."""

import json
from collections import Counter

import pytest

from lib.problems import Problem, Problems, Test, audit
from lib.problems.audit import open_sets, problem_table, size_table
from lib.problems.ledger import Ledger, read_ledger

HIDDEN = "def check(f):\n    assert f(1) == 1\n    assert f(20) == 20\ncheck(f)\n"
FUNCTION = Problem("h", "humaneval", "test", "function", "Give it back.", (Test(HIDDEN),), solutions=("def f(x): ...",))
CONTEST = Problem("c", "codecontests", "train", "stdio", "Add a and b.", (Test("1 2\n", "3"),) * 7, difficulty="B")
SETS = {
    "humaneval test": Problems([FUNCTION]),
    "codecontests train": Problems([CONTEST, CONTEST], Counter({"no tests": 3, "no statement": 1})),
}


@pytest.fixture
def run(tmp_path):
    class Run:
        folder, ledger = tmp_path, Ledger(tmp_path)

    return Run


def test_sizes_roles_and_what_was_left_out():
    table = size_table(SETS)
    assert list(table.loc["humaneval test"]) == ["test", 1, 2, 1, "none"]
    assert list(table.loc["codecontests train"]) == ["train", 2, 14, 0, "3 no tests; 1 no statement"]


def test_one_row_per_problem():
    table = problem_table(SETS)
    assert list(table["set"]) == ["humaneval test", "codecontests train", "codecontests train"]
    assert list(table["tests"]) == [2, 7, 7], "HumanEval's one test holds two asserts"
    assert list(table["words"]) == [3, 4, 4]
    assert list(table["difficulty"]) == ["unknown", "B", "B"]


def test_the_tiny_world_is_opened_for_the_report(run):
    sets = open_sets(run, "tiny")
    assert {line["purpose"] for line in read_ledger(run.folder)} == {"report"}
    assert [line["ids"] for line in read_ledger(run.folder)] == [[one.id for one in found] for found in sets.values()]
    assert size_table(sets).problems.sum() == sum(map(len, sets.values())) > 3000


def test_real_rows_come_from_the_files_beside_the_project(run, monkeypatch, tmp_path):
    rows = tmp_path / "shared" / "data" / "codecontests"
    rows.mkdir(parents=True)
    none = {"input": [], "output": []}
    contest = {"name": "n", "description": "d", "private_tests": {"input": ["1"], "output": ["1"]}, "difficulty": 0}
    contest |= {"public_tests": none, "generated_tests": none, "cf_tags": [], "time_limit": None}
    contest |= {"memory_limit_bytes": 0, "input_file": "", "output_file": ""}
    (rows / "part.jsonl").write_text(json.dumps(contest))
    monkeypatch.setattr(audit.paths, "root", lambda: tmp_path / "project")
    monkeypatch.setattr(audit, "LOCAL", {("codecontests", "train"): ("codecontests/part.jsonl", False)})
    assert {label: len(found) for label, found in open_sets(run, "real").items()} == {"codecontests train": 1}
    assert [line["manifest"] for line in read_ledger(run.folder)] == [None]


def test_another_world_is_unknown(run):
    with pytest.raises(ValueError, match="no world 'large'; there are: tiny, real"):
        open_sets(run, "large")
