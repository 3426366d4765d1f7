"""The ledger: what a purpose may open, what a run writes down, and violations planted in evidence, each one caught."""

import csv
import json
import re
import shutil
from functools import cache

import pytest

from lib.problems import Problem, Problems, RoleError, Test, load_problems, manifest, read_problems, read_sets
from lib.problems.ledger import Ledger, main, offences, read_ledger
from lib.runs.params_files import load_params_file
from lib.runs.paths import root

PRESET = load_params_file(root() / "params" / "tiny" / "preset.yaml")
TRAIN, VALID = ("tiny_contests", "train"), ("tiny_contests", "valid")
CONTESTS, HUMANEVAL = ("tiny_contests", "test"), ("tiny_humaneval", "test")


class Run:
    """As much of a run as reading needs."""

    def __init__(self, folder):
        self.folder, self.preset = folder, PRESET
        folder.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger(folder)


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(tmp_path / "run")


@pytest.mark.parametrize(
    ("purpose", "name"),
    [
        ("train", "contests_valid"),
        ("train", "contests_test"),
        ("train", "humaneval"),
        ("train", "mbpp"),
        ("select", "contests_test"),
        ("select", "humaneval"),
        ("select", "mbpp"),
        ("monitor", "contests_test"),
    ],
)
def test_a_set_whose_role_the_purpose_does_not_allow_is_not_opened(run, purpose, name):
    with pytest.raises(RoleError, match=rf"{name} has the role .*, which the purpose '{purpose}' may not read: \w+"):
        read_problems(run, name, purpose=purpose)
    assert read_ledger(run.folder) == []


@pytest.mark.parametrize(
    ("purpose", "name", "place"),
    [
        ("train", "mbpp_train", ("tiny_mbpp", "train")),
        ("select", "contests_valid", VALID),
        ("monitor", "mbpp", ("tiny_mbpp", "test")),
        ("report", "humaneval", HUMANEVAL),
    ],
)
def test_what_is_read_stands_in_the_ledger_with_its_purpose_and_its_manifest(run, purpose, name, place):
    problems = read_problems(run, name, purpose=purpose)
    assert problems
    (line,) = read_ledger(run.folder)
    assert (line["purpose"], line["set"], line["role"]) == (purpose, name, PRESET["sets"][name]["role"])
    assert (line["source"], line["split"]) == place
    assert line["ids"] == [problem.id for problem in problems]
    assert manifest.checksum(*place).startswith(line["manifest"])


def test_only_what_is_handed_out_counts_as_read(run):
    assert len(read_problems(run, "contests_valid", purpose="select", limit=8)) == 8
    assert len(read_problems(run, "contests_valid", purpose="select", dev=True)) == 32
    assert [len(line["ids"]) for line in read_ledger(run.folder)] == [8, 32]


def test_the_sets_of_a_purpose_are_those_with_its_roles_in_the_order_of_the_preset(run):
    assert {name: len(problems) for name, problems in read_sets(run, "select", limit=3).items()} == {
        "contests_valid": 3,
        "contests_valid_big": 3,
        "mbpp": 3,
    }
    assert [line["purpose"] for line in read_ledger(run.folder)] == ["select", "select", "monitor"]
    assert list(read_sets(run, "train")) == ["contests_train", "mbpp_train"]
    sizes = {"contests_valid": 117, "contests_test": 165, "humaneval": 164, "mbpp": 200}
    report = read_sets(run, "report", without=["contests_valid_big"])
    assert {name: len(problems) for name, problems in report.items()} == sizes
    assert list(report) == list(sizes)
    with pytest.raises(ValueError, match="unknown purpose 'tune'; read_sets accepts train, select or report"):
        read_sets(run, "tune")


def test_an_unknown_purpose_or_set_is_told_the_known_ones(run):
    with pytest.raises(ValueError, match="unknown purpose 'tune'; choose one of train, select, monitor, report"):
        read_problems(run, "contests_valid", purpose="tune")
    with pytest.raises(ValueError, match="the preset has no set 'valid'; it has: contests_train, mbpp_train, contests"):
        read_problems(run, "valid", purpose="select")


@pytest.mark.parametrize("purpose", ["train", "select"])
def test_after_a_test_set_nothing_is_trained_or_selected(run, purpose):
    run.ledger.require_phase(purpose)
    read_problems(run, "contests_test", purpose="report", limit=1)
    with pytest.raises(RoleError, match=rf"already read the test set contests_test, so it may no longer {purpose}"):
        read_problems(run, "contests_train", purpose=purpose)
    with pytest.raises(RoleError, match="Read test sets only after all training and selection"):
        run.ledger.require_phase(purpose)
    run.ledger.require_phase("evaluate")
    read_problems(run, "contests_valid", purpose="report", limit=1)


def test_a_run_refuses_to_train_once_its_test_set_is_open(repository, monkeypatch):
    from lib.runs import start

    repository.notebook("10_sft")
    repository.params("10_sft-s0")
    run = start("10_sft", {"preset": "tiny", "seed": 0})
    run.ledger = Ledger(run.folder)
    monkeypatch.setattr(manifest, "checksum", lambda *_: "0" * 64)
    test = Problem("p", "tiny_contests", "test", "stdio", "Add.", (Test("1", "1"),))
    run.ledger.record("contests_test", *CONTESTS, "test", "report", Problems([test]))
    with pytest.raises(RoleError, match="it may no longer train"), run.phase("train"):
        raise AssertionError("the phase must not begin")


@cache
def some_ids(place: tuple[str, str]) -> list[str]:
    return [problem.id for problem in load_problems(*place)][:6]


class Evidence:
    """A folder of runs like the main line: two runs that train, and a report that compares them with the baseline."""

    def __init__(self, folder):
        self.folder = folder / "artifacts"
        self.ids = {place: some_ids(place) for place in (TRAIN, VALID, CONTESTS, HUMANEVAL)}
        for name in ("03_baseline-s0", "10_sft-s0", "30_grpo-dense-s0", "90_report-s0"):
            self.run(name)
        for name in ("10_sft-s0", "30_grpo-dense-s0"):
            self.read(name, "train", TRAIN)
        for name in ("03_baseline-s0", "10_sft-s0", "30_grpo-dense-s0"):
            for place in (VALID, CONTESTS, HUMANEVAL):
                self.read(name, "report", place)
        self.parameters("30_grpo-dense-s0", policy="10_sft-s0")
        self.parameters("90_report-s0", runs="03_baseline-s0 10_sft-s0 30_grpo-dense-s0")

    def path(self, name):
        return self.folder / "tiny" / name

    def run(self, name):
        self.path(name).mkdir(parents=True)
        (self.path(name) / "ledger.jsonl").write_text("")
        self.parameters(name)

    def parameters(self, name, **parameters):
        info = {"status": "finished", "parameters": parameters}
        (self.path(name) / "run_info.json").write_text(json.dumps(info))

    def read(self, name, purpose, place, ids=None, role=None):
        role = role or {"train": "train", "valid": "select"}.get(place[1], "test")
        line = {"purpose": purpose, "set": place[0], "split": place[1], "role": role, "manifest": "0"}
        with (self.path(name) / "ledger.jsonl").open("a") as file:
            file.write(json.dumps(line | {"ids": self.ids[place] if ids is None else ids}) + "\n")

    def measured(self, name, *ids):
        with (self.path(name) / "verdicts.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["problem_id"], *([one] for one in ids)])


@pytest.fixture
def evidence(tmp_path) -> Evidence:
    return Evidence(tmp_path)


def check(evidence, capsys) -> tuple[int, str]:
    code = main(["check", str(evidence.folder)])
    return code, capsys.readouterr().out


def test_honest_evidence_passes(evidence, capsys):
    evidence.measured("10_sft-s0", *evidence.ids[CONTESTS])
    assert check(evidence, capsys) == (
        0,
        "4 runs: no test problem was read to train or to select; compared runs agree\n",
    )


def plant_training_on_test(evidence):
    evidence.path("10_sft-s0").joinpath("ledger.jsonl").write_text("")
    evidence.read("10_sft-s0", "train", HUMANEVAL)


def plant_selection_on_test(evidence):
    evidence.path("10_sft-s0").joinpath("ledger.jsonl").write_text("")
    evidence.read("10_sft-s0", "select", CONTESTS)


def plant_training_on_select(evidence):
    evidence.run("20_dpo-s0")
    evidence.read("20_dpo-s0", "train", VALID)


def plant_training_after_test(evidence):
    evidence.read("30_grpo-dense-s0", "train", TRAIN)


def plant_a_test_problem_under_another_name(evidence):
    evidence.run("20_dpo-s0")
    evidence.read("20_dpo-s0", "train", TRAIN, ids=[*evidence.ids[TRAIN], evidence.ids[CONTESTS][2]])


def plant_a_false_role(evidence):
    evidence.run("20_dpo-s0")
    evidence.read("20_dpo-s0", "train", HUMANEVAL, role="train")


def plant_an_arm_with_fewer_problems(evidence):
    lines = read_ledger(evidence.path("03_baseline-s0"))
    lines[1]["ids"].pop()
    text = "".join(json.dumps(line) + "\n" for line in lines)
    evidence.path("03_baseline-s0").joinpath("ledger.jsonl").write_text(text)


def plant_a_measured_problem_that_was_never_read(evidence):
    evidence.measured("10_sft-s0", *evidence.ids[CONTESTS], "test_9999. unknown")


def plant_a_lost_ledger(evidence):
    evidence.path("10_sft-s0").joinpath("curves.csv").write_text("step\n1\n")  # it has trained
    evidence.path("10_sft-s0").joinpath("ledger.jsonl").unlink()


def plant_an_unknown_set(evidence):
    evidence.read("03_baseline-s0", "report", ("secret", "test"), ids=["1"])


def plant_an_unknown_purpose(evidence):
    evidence.read("03_baseline-s0", "curiosity", VALID)


@pytest.mark.parametrize(
    ("plant", "offence"),
    [
        (
            plant_training_on_test,
            "tiny/10_sft-s0: read tiny_humaneval, split test (role test) to train: weights are trained",
        ),
        (plant_selection_on_test, "tiny/10_sft-s0: read tiny_contests, split test (role test) to select: checkpoints"),
        (plant_training_on_select, "tiny/20_dpo-s0: read tiny_contests, split valid (role select) to train"),
        (
            plant_training_after_test,
            "tiny/30_grpo-dense-s0: read tiny_contests, split train to train after the test set",
        ),
        (plant_a_test_problem_under_another_name, "tiny/20_dpo-s0: read 1 test problems to train as tiny_contests"),
        (
            plant_a_false_role,
            "tiny/20_dpo-s0: recorded the role train for tiny_humaneval, split test, whose role is test",
        ),
        (plant_an_arm_with_fewer_problems, "tiny/90_report-s0: compares "),
        (plant_a_measured_problem_that_was_never_read, "tiny/10_sft-s0: measured 1 problems that its ledger does not"),
        (plant_a_lost_ledger, "tiny/10_sft-s0: no readable ledger.jsonl (FileNotFoundError): run it again"),
        (plant_an_unknown_set, "tiny/03_baseline-s0: read secret, split test, whose role is not known"),
        (plant_an_unknown_purpose, "tiny/03_baseline-s0: read tiny_contests, split valid for an unknown purpose"),
    ],
    ids=lambda value: value.__name__[6:] if callable(value) else "",
)
def test_a_planted_violation_is_caught_and_its_run_named(evidence, capsys, plant, offence):
    plant(evidence)
    code, printed = check(evidence, capsys)
    assert code == 1
    assert any(line.startswith(offence) for line in printed.splitlines()), printed


def test_arms_that_nobody_compares_may_differ(evidence):
    plant_an_arm_with_fewer_problems(evidence)
    shutil.rmtree(evidence.path("90_report-s0"))
    assert offences(evidence.folder) == []


def test_a_run_that_has_not_finished_is_no_evidence(evidence):
    plant_training_after_test(evidence)
    info = {"status": "running", "parameters": {}}
    (evidence.path("30_grpo-dense-s0") / "run_info.json").write_text(json.dumps(info))
    assert offences(evidence.folder) == []


def test_nothing_to_check_is_not_a_proof(tmp_path, capsys):
    assert main(["check", str(tmp_path)]) == 2
    assert "no runs below" in capsys.readouterr().err


def test_notebooks_read_problems_only_through_their_run():
    """`00_tiny_world` makes the sets, and no policy."""
    for notebook in sorted((root() / "notebooks").glob("*.ipynb")):
        cells = json.loads(notebook.read_text())["cells"]
        code = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        assert "load_problems" not in code or notebook.stem == "00_tiny_world", notebook.name


def test_in_lib_only_the_packages_that_make_or_export_sets_load_them_without_a_run():
    doors = ("lib/problems/", "lib/tiny/", "lib/training/verl.py")  # the last refuses test sets
    users = [
        path for path in (root() / "lib").rglob("*.py") if re.search(r"import .*\bload_problems", path.read_text())
    ]
    places = {path.relative_to(root()).as_posix() for path in users}
    assert "lib/problems/loading.py" in places
    assert not [place for place in places if not place.startswith(doors)]
