"""MBPP with one shown assert; where rows are read from; what is missing is named before a run."""

import json
from collections import Counter
from pathlib import Path

import pytest

from lib.problems import load_problems, manifest, read_problems, set_labels
from lib.problems.freeze import main as freeze
from lib.problems.missing import missing_data
from lib.problems.rows import Hub, hub_cache
from lib.problems.sources import SOURCES, given_place
from lib.runs import paths

ROWS = Path(__file__).resolve().parents[2].parent / "shared" / "data"
real_rows = pytest.mark.skipif(not ROWS.is_dir(), reason="no ../shared/data with real rows beside the project")


def row(task: int) -> dict:
    asserts = ["assert f(1) == 2", "assert f(2) == 4", "assert f(3) == 6"]
    code = {"text": "Double it.", "code": "def f(x): return 2 * x", "test_setup_code": "", "challenge_test_list": []}
    return {"task_id": task, "test_list": asserts, **code}


@pytest.fixture
def rows(tmp_path) -> Path:
    file = tmp_path / "mbpp.jsonl"
    file.write_text("".join(json.dumps(row(task)) + "\n" for task in (11, 211, 410, 411, 510, 511, 600, 601, 974)))
    return file


@pytest.fixture
def only_named_places(monkeypatch, tmp_path):
    """An empty cache of the hub, and no variable of the machine's user."""
    monkeypatch.delenv("RLVR_ROWS", raising=False)
    monkeypatch.setattr("lib.problems.sources.hub_cache", lambda hub, split: tmp_path / "cache" / split)


def test_mbpp_one_shows_the_first_assert_and_keeps_the_others_private(rows):
    [first, last] = load_problems("mbpp_one", "test", rows, frozen=False)
    assert (first.id, last.id) == ("mbpp/211", "mbpp/410")
    assert first.prompt == "Double it.\nYour code should pass these tests:\nassert f(1) == 2"
    assert [test.visibility for test in first.tests] == ["public", "private", "private"]
    [plain] = load_problems("mbpp_reg", "test", rows, frozen=False)
    assert {test.visibility for test in plain.tests} == {"public"}, "so selecting by public tests is the oracle there"


def test_the_splits_of_mbpp_one_and_the_monitor_set_share_no_task(rows):
    places = [("mbpp_one", split) for split in SOURCES["mbpp_one"].splits] + [("mbpp_reg", "test")]
    ids = Counter(problem.id for place in places for problem in load_problems(*place, rows, frozen=False))
    assert len(ids) == 9
    assert set(ids.values()) == {1}


def test_no_frozen_train_problem_of_mbpp_one_is_a_copy_of_humaneval():
    reasons = Counter(line.get("reason", "") for line in manifest.read("mbpp_one", "train"))
    assert reasons["same tests as in humaneval"] == 4
    assert reasons[""] == 339
    assert "humaneval/test" in manifest.read_index()["mbpp_one-train.jsonl"]["compared_with"]


@real_rows
def test_the_frozen_mbpp_one_loads_from_the_file_that_the_variable_names(monkeypatch):
    monkeypatch.setenv("RLVR_ROWS", f"mbpp_one={ROWS / 'mbpp' / 'mbpp.jsonl'}")
    sizes = {split: len(load_problems("mbpp_one", split)) for split in SOURCES["mbpp_one"].splits}
    assert sizes == {"train": 339, "valid": 90, "valid_big": 100, "test": 200}


def test_the_variable_comes_before_the_preset_and_hub_means_the_usual_place(monkeypatch):
    monkeypatch.setenv("RLVR_ROWS", "mbpp_one='/with space/rows.jsonl' humaneval=hub mbpp=rows/mbpp.jsonl")
    assert given_place("mbpp_one", "preset.jsonl") == Path("/with space/rows.jsonl")
    assert given_place("humaneval", "preset.jsonl") is None
    assert given_place("mbpp") == paths.root() / "rows" / "mbpp.jsonl"
    assert given_place("mbpp_reg", "preset.jsonl") == paths.root() / "preset.jsonl"
    assert given_place("mbpp_reg") is None
    monkeypatch.setenv("RLVR_ROWS", "mbbp=rows.jsonl")
    with pytest.raises(ValueError, match="RLVR_ROWS names an unknown problem source 'mbbp'; choose one of tiny_"):
        given_place("mbpp")


def test_a_run_reads_the_rows_that_its_preset_names(rows, tmp_path, monkeypatch):
    monkeypatch.delenv("RLVR_ROWS", raising=False)
    run = type("Run", (), {"folder": tmp_path, "ledger": None})()
    entry = {"source": "mbpp_one", "split": "test", "role": "test", "rows": str(rows)}
    run.preset = {"sets": {"mbpp_one_test": entry}}
    problems = read_problems(run, "mbpp_one_test", purpose="report", frozen=False)
    assert [problem.id for problem in problems] == ["mbpp/211", "mbpp/410"]


def test_missing_rows_lists_and_marks_are_named_with_their_commands(only_named_places, monkeypatch, tmp_path):
    sets = {"train": {"source": "codecontests", "split": "train", "role": "train"}}
    sets["one"] = {"source": "mbpp_one", "split": "valid", "role": "select"}
    sets["tiny"] = {"source": "tiny_mbpp", "split": "train", "role": "train"}
    contests, one, frozen, marks = missing_data({"sets": sets})
    assert contests.startswith(
        "the rows of codecontests, train, from deepmind/code_contests on the hub: with a network"
    )
    assert one.endswith("freeze fetch mbpp_one; without: name a copy, RLVR_ROWS=mbpp_one=FILE_OR_FOLDER")
    assert frozen == "the frozen list of codecontests, train: python -m lib.problems.freeze write codecontests"
    assert marks == "the quality marks of codecontests: python -m lib.problems.quality write codecontests/train"
    monkeypatch.setenv("RLVR_ROWS", f"mbpp_one={tmp_path} codecontests={tmp_path / 'none'}")
    assert missing_data({"sets": sets})[0].startswith(f"the rows of codecontests, train, from {tmp_path / 'none'}: ")
    assert len(missing_data({"sets": sets})) == 3


def test_fetch_keeps_the_rows_of_the_hub_under_the_names_that_the_splits_have_there(monkeypatch, capsys, tmp_path):
    read = []

    def downloaded(hub: Hub, split: str):
        read.append(split)
        return iter([row(1)])

    monkeypatch.setattr("lib.problems.sources.hub_rows", downloaded)
    assert freeze(["fetch", "mbpp_one"]) == 0
    assert read == ["train", "validation", "test", "test"]
    assert capsys.readouterr().out.splitlines()[1] == "mbpp_one, split valid: 1 rows"
    assert hub_cache(SOURCES["mbpp"].hub, "test").name.startswith("google-research-datasets--mbpp-full-test-")


def test_a_set_without_a_label_is_shown_by_its_name():
    entry = {"source": "humaneval", "split": "test", "role": "test"}
    assert set_labels({"sets": {"a_b": entry, "c": {**entry, "label": "C!"}}}) == {"a_b": "a b", "c": "C!"}
