"""A new problem set: rows of its own schema, a converter, an entry of SOURCES and a line of the preset are enough."""

import json
from types import SimpleNamespace

import pytest
import torch

from lib.evaluation.evaluate import Subject, evaluate
from lib.judge import Judge
from lib.policy.engines import TransformersEngine
from lib.policy.models import load_policy, load_tokenizer
from lib.policy.protocols import eval_at_1
from lib.problems import Problem, RoleError, Test, freeze, manifest, read_problems, read_sets
from lib.problems.ledger import offences, read_ledger
from lib.problems.sources import SOURCES, Source
from lib.runs import paths
from lib.runs.parameters import load_params_file

BASE_MODEL = paths.root() / "data" / "tiny" / "base_model"
ROWS = [
    {"title": "double", "task": "Read n. Print 2n.", "examples": [["3", "6"]], "secret": [["4", "8"], ["-1", "-2"]]},
    {"title": "square", "task": "Read n. Print n squared.", "examples": [["3", "9"]], "secret": [["5", "25"]]},
    {"title": "draft", "task": "", "examples": [], "secret": []},
]
PRESET = """base_model: data/tiny/base_model
sets:
  puzzles: {source: puzzles, split: test, role: test}
"""


def puzzle(row: dict, source: str, split: str) -> Problem | str:
    if not row["task"]:
        return "no statement"
    tests = [Test(given, wanted, "public") for given, wanted in row["examples"]]
    tests += [Test(given, wanted, "private") for given, wanted in row["secret"]]
    return Problem(row["title"], source, split, "stdio", row["task"], tuple(tests), time_limit=1.0)


@pytest.fixture
def puzzles(repository, monkeypatch):
    """A small repository with the rows, the registered source and the preset's line."""
    repository.write("data/puzzles/test.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS))
    monkeypatch.setitem(SOURCES, "puzzles", Source(puzzle, ("test",), folder="data/puzzles"))
    repository.write("params/tiny/preset.yaml", PRESET)
    return repository


def run_of(repository, name: str = "03_baseline-s0") -> SimpleNamespace:
    """As much of a run as reading needs."""
    preset = load_params_file(repository.root / "params/tiny/preset.yaml")
    repository.folder(name).mkdir(parents=True, exist_ok=True)
    info = {"status": "finished", "parameters": {}}
    (repository.folder(name) / "run_info.json").write_text(json.dumps(info))
    return SimpleNamespace(preset=preset, folder=repository.folder(name), ledger=None)


def test_a_new_set_is_frozen_measured_and_in_the_ledger_without_another_edit(puzzles, capsys):
    run = run_of(puzzles)
    with pytest.raises(manifest.ManifestError, match="puzzles, split test, is not frozen"):
        read_sets(run, "report")
    assert freeze.main(["write", "puzzles"]) == 0
    assert "puzzles-test.jsonl: 2 problems, role test" in capsys.readouterr().out
    sets = read_sets(run, "report")
    assert [problem.id for problem in sets["puzzles"]] == ["double", "square"]
    assert sets["puzzles"].dropped == {"no statement": 1}
    torch.manual_seed(0)
    policy, tokenizer = load_policy(BASE_MODEL), load_tokenizer(BASE_MODEL)
    with Judge(workers=1) as judge:
        engine = TransformersEngine(policy, tokenizer)
        metrics = evaluate(engine, sets, judge, run.folder, eval_at_1(8), Subject("base"))
    assert metrics["datasets"]["puzzles"]["n"] == 2
    assert (run.folder / "qa_logs" / "puzzles.jsonl").is_file()
    [line] = read_ledger(run.folder)
    assert (line["set"], line["source"], line["role"], line["ids"]) == (
        "puzzles",
        "puzzles",
        "test",
        ["double", "square"],
    )
    assert offences(puzzles.root / "artifacts") == []


def test_a_test_split_stays_one_whatever_a_preset_says(puzzles, capsys):
    """The role is frozen with the split: an edit of the preset, of this one or another, does not change it."""
    freeze.main(["write", "puzzles"])
    puzzles.write("params/tiny/preset.yaml", PRESET.replace("role: test", "role: train"))
    two_roles = r"puzzles, split test, has more than one role: train \(params/tiny/preset.yaml, puzzles\); test \(data/"
    with pytest.raises(RoleError, match=two_roles):
        read_problems(run_of(puzzles), "puzzles", purpose="train")
    assert freeze.main(["write", "puzzles"]) == 1, "nor does freezing again"
    assert "has more than one role" in capsys.readouterr().err
    puzzles.write("params/tiny/preset.yaml", PRESET)
    puzzles.write("params/other/preset.yaml", PRESET.replace("role: test", "role: select"))
    with pytest.raises(RoleError, match=r"select \(params/other/preset.yaml, puzzles\); test"):
        read_problems(run_of(puzzles), "puzzles", purpose="report")


def test_a_ledger_that_learnt_from_another_presets_test_set_is_caught(puzzles):
    run = run_of(puzzles, "10_sft-s0")
    line = {
        "purpose": "train",
        "set": "puzzles",
        "source": "puzzles",
        "split": "test",
        "role": "train",
        "ids": ["double"],
    }
    (run.folder / "ledger.jsonl").write_text(json.dumps(line) + "\n")
    puzzles.write("params/tiny/preset.yaml", PRESET.replace("role: test", "role: train"))
    assert offences(puzzles.root / "artifacts") == [], "as long as every preset calls it a train set"
    puzzles.write("params/other/preset.yaml", PRESET)
    text = "\n".join(offences(puzzles.root / "artifacts"))
    assert "tiny/10_sft-s0: read puzzles, split test, whose role is not known" in text
    assert "tiny/10_sft-s0: read puzzles, split test (role test) to train: weights are trained" in text


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (
            "{source: puzles, split: test, role: test}",
            "sets, puzzles: unknown problem source 'puzles'; choose one of tiny_contests,",
        ),
        ("{source: puzzles, split: dev, role: test}", "sets, puzzles: puzzles has no split 'dev'; it has: test"),
        (
            "{source: puzzles, split: test, role: eval}",
            "sets, puzzles: unknown role 'eval'; choose one of train, select, monitor",
        ),
        ("{source: puzzles, split: test}", "sets, puzzles: .*missing 1 required positional argument: 'role'"),
    ],
)
def test_a_wrong_line_of_a_preset_is_named_with_what_would_be_right(puzzles, line, error):
    puzzles.write("params/tiny/preset.yaml", f"sets:\n  puzzles: {line}\n")
    with pytest.raises(ValueError, match=error):
        read_sets(run_of(puzzles), "report")
