"""Manifests: the committed ones come out the same again, and freezing a train set holds out, removes and counts."""

import hashlib
import json
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from statements import statement

from lib.problems import Problem, Test, load_problems, manifest
from lib.problems import freeze as manifests
from lib.problems.sources import SOURCES
from lib.runs.paths import json_lines

ROWS = Path(__file__).resolve().parents[2].parent / "shared" / "data"
real_rows = pytest.mark.skipif(not ROWS.is_dir(), reason="no ../shared/data with real rows beside the project")
FILES = {
    "humaneval": ROWS / "humaneval" / "HumanEval.jsonl.gz",
    "codecontests": ROWS / "codecontests" / "test_165.jsonl.gz",
    "mbpp": ROWS / "mbpp" / "mbpp.jsonl",
    "mbpp_reg": ROWS / "mbpp" / "mbpp.jsonl",
    "mbpp_one": ROWS / "mbpp" / "mbpp.jsonl",
    "mbpp_sanitized": ROWS / "mbpp" / "sanitized-mbpp.json",
}


def committed(file: str) -> tuple[str, dict]:
    return (manifest.folder() / file).read_text(), manifest.read_index()[file]


@pytest.mark.parametrize(
    ("sets", "sources"),
    [
        ([], {}),
        pytest.param(["humaneval"], FILES, marks=real_rows),
        pytest.param(["codecontests/test"], FILES, marks=real_rows),
        pytest.param(["mbpp_reg"], FILES, marks=real_rows),
        pytest.param(["mbpp", "mbpp_sanitized"], FILES, marks=real_rows),
        pytest.param(["mbpp_one"], FILES, marks=real_rows),
    ],
    ids=["tiny", "humaneval", "codecontests test", "mbpp_reg", "mbpp", "mbpp_one"],
)
def test_every_committed_manifest_is_made_again_byte_for_byte(sets, sources):
    built = manifests.build(manifests.chosen_splits(sets), sources)
    assert built
    for file, (entries, about) in built.items():
        text = json_lines(entries)
        was, index = committed(file)
        assert text == was, f"{file}: python -m lib.problems.freeze write, and commit what it wrote"
        assert index == {"sha256": hashlib.sha256(text.encode()).hexdigest(), **about}


def test_every_manifest_here_is_in_the_index_and_the_other_way_round():
    files = {path.name for path in manifest.folder().glob("*.jsonl")}
    assert files == manifest.read_index().keys()
    known = {manifest.file_name(name, split) for name, one in SOURCES.items() for split in one.splits}
    assert {file for file in files if "unreliable" not in file} <= known
    for file, about in manifest.read_index().items():
        assert hashlib.sha256((manifest.folder() / file).read_bytes()).hexdigest() == about["sha256"]


@pytest.mark.parametrize(
    ("file", "count", "role"),
    [
        ("humaneval-test.jsonl", 164, "test"),
        ("mbpp_reg-test.jsonl", 200, "monitor"),
        ("codecontests-test.jsonl", 165, "test"),
        ("tiny_contests-valid_big.jsonl", 500, "select"),
        ("mbpp_one-valid.jsonl", 90, "select"),
        ("mbpp_one-valid_big.jsonl", 100, "select"),
        ("mbpp_one-test.jsonl", 200, "test"),
    ],
)
def test_the_frozen_sets_have_their_sizes_and_roles(file, count, role):
    entries = [json.loads(line) for line in committed(file)[0].splitlines()]
    assert (len(entries), {one["role"] for one in entries}) == (count, {role})


def test_mbpp_reg_is_frozen_as_tasks_11_to_210():
    entries = [json.loads(line) for line in committed("mbpp_reg-test.jsonl")[0].splitlines()]
    assert [one["id"] for one in entries] == [f"mbpp/{n}" for n in range(11, 211)]


def test_names_that_are_not_known_are_not_frozen():
    entries = [json.loads(line) for line in committed("codecontests-test.jsonl")[0].splitlines()]
    assert {(one["id"], one["generated"]) for one in entries} == {(None, None)}
    assert len({(one["statement"], one["tests"]) for one in entries}) == 165


def test_the_dev_subset_is_a_fixed_part_with_the_difficulties_of_the_whole():
    whole, dev = load_problems("tiny_contests", "valid"), load_problems("tiny_contests", "valid", dev=True)
    assert len(dev) == 32
    assert {problem.id for problem in dev} < {problem.id for problem in whole}
    of_whole, of_dev = (Counter(problem.difficulty for problem in problems) for problems in (whole, dev))
    assert all(abs(of_dev[name] - 32 * n / len(whole)) < 1 for name, n in of_whole.items())
    assert not load_problems("tiny_contests", "test", dev=True), "test sets are not for frequent checks"


def test_what_is_drawn_does_not_move_when_rows_do():
    problems = [
        Problem(f"p{n}", "codecontests", "train", "stdio", "?", (Test(""),), difficulty="AABBBC"[n % 6])
        for n in range(90)
    ]
    drawn = manifests.draw(problems, 20)
    assert len(drawn) == 20
    assert manifests.draw(problems[::-1], 20) == drawn
    assert drawn < manifests.draw(problems, 40)
    assert len(manifests.draw(problems, 200)) == 90


def contest(n: int) -> dict:
    """A contest of its own: its story and tests follow from `n`."""
    none = {"input": [], "output": []}
    tests = {"input": [f"{n} {i}\n" for i in range(6)], "output": [f"{n * i}\n" for i in range(6)]}
    return {
        "name": f"c{n}",
        "description": statement(random.Random(n), 100),
        "public_tests": none,
        "private_tests": tests,
        "generated_tests": none,
        "difficulty": 7 + n % 3,
        "cf_tags": [],
        "time_limit": None,
        "memory_limit_bytes": 0,
        "input_file": "",
        "output_file": "",
        "solutions": {"language": [], "solution": []},
        "incorrect_solutions": {"language": [], "solution": []},
    }


@pytest.fixture
def hub_copy(tmp_path, monkeypatch):
    """CodeContests in the hub's shape: 40 rows of train, 10 of valid and of test; nothing is frozen yet."""
    import pyarrow
    import pyarrow.parquet

    shutil.copytree(manifest.paths.root() / "params", tmp_path / "params")
    monkeypatch.setattr(manifest.paths, "root", lambda: tmp_path)
    monkeypatch.setattr(manifests, "VALID_BIG", 9)
    valid = [contest(n) for n in range(100, 110)]
    train = [contest(n) for n in range(40)]
    train[3] = {**train[3], "description": valid[4]["description"].upper()}
    train[7] = {**train[7], "private_tests": contest(205)["private_tests"]}
    reworded = train[20]["description"].split()
    reworded[::16] = ["otherwise"] * len(reworded[::16])
    train[21] = {**train[21], "description": " ".join(reworded)}
    train[30] = {**train[30], "input_file": "in.txt"}
    folder = tmp_path / "copy"
    (folder / "data").mkdir(parents=True)
    for split, rows in {"train": train, "valid": valid, "test": [contest(n) for n in range(200, 210)]}.items():
        table = pyarrow.Table.from_pylist(rows)
        pyarrow.parquet.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def test_freezing_codecontests_holds_out_valid_big_and_takes_copies_from_train(hub_copy, capsys):
    assert manifests.main(["write", "codecontests", "--source", f"codecontests={hub_copy}"]) == 0
    assert "codecontests-valid_big.jsonl: 9 problems, role select" in capsys.readouterr().out
    train = load_problems("codecontests", "train", hub_copy)
    big = load_problems("codecontests", "valid_big", hub_copy)
    assert len(big) == 9
    assert not {one.id for one in big} & {one.id for one in train}
    assert train.dropped == {
        "reads or writes named files": 1,
        "same normalised statement as in codecontests": 1,
        "same tests as in codecontests": 1,
        "near statement as in codecontests": 1,
        manifests.HELD_OUT: 9,
    }
    assert len(load_problems("codecontests", "valid", hub_copy)) == 10, "the copy on the training side goes"
    first = {path.name: path.read_bytes() for path in manifest.folder().iterdir()}
    manifests.main(["write", "codecontests", "--source", f"codecontests={hub_copy}"])
    assert {path.name: path.read_bytes() for path in manifest.folder().iterdir()} == first
    manifests.main(["write", "codecontests/train", "--source", f"codecontests={hub_copy}"])
    assert (manifest.folder() / "codecontests-train.jsonl").read_bytes() == first["codecontests-train.jsonl"]


def test_freezing_valid_big_alone_freezes_train_with_it(hub_copy):
    built = manifests.build([("codecontests", "valid_big")], {"codecontests": hub_copy})
    assert set(built) == {"codecontests-train.jsonl", "codecontests-valid_big.jsonl"}


def test_what_cannot_be_had_is_an_error_in_words(tmp_path, capsys):
    assert manifests.main(["write", "humaneval", "--source", f"humaneval={tmp_path / 'no.jsonl'}"]) == 1
    assert "error: no file no.jsonl" in capsys.readouterr().err
    assert manifests.main(["write", "humanevil"]) == 1
    assert "unknown problem source 'humanevil'; choose one of" in capsys.readouterr().err
