"""Committed evidence: it passes its own check, and its figures are what was promised.

What is looked at is what git would commit, not the working tree: a `make demo`, whose runs may find other figures on
another machine, changes nothing here. So stage new evidence (`git add artifacts README*.md`) to have it tested.
"""

import csv
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from executed import absolute_paths

from lib.evidence.check import PAGES, check
from lib.judge.verdict import ERROR_TYPES
from lib.report.main_table import main_table
from lib.report.runs import read_runs
from lib.runs import UpstreamError
from lib.runs.fingerprint import RUN_NAME, data_versions
from lib.runs.parameters import read_parameters, resolve
from lib.runs.params_files import load_params_file
from lib.runs.paths import root

ROOT = root()
OPEN = "31_efficiency"  # its arms have not been executed yet; artifacts/INDEX.md lists them
EXPECTED = {path.stem for path in (ROOT / "params" / "tiny").glob("*-s*.yaml") if not path.stem.startswith(OPEN)}
MAIN_LINE = {"Base": "03_baseline-s0", "SFT": "10_sft-s0", "GRPO dense": "30_grpo-dense-s0"}
SIZES = {"contests_valid": 117, "contests_test": 165, "humaneval": 164, "mbpp": 200}
ALSO = {"contests_valid_big": 500}  # where a run measures on it: the baseline
# What may be null: a cost when nothing was solved, a difference that n problems never show, what a protocol has not,
# McNemar's p against resampling, which is a chance and no verdict, and p values of repair's controls, of which the runs
# record intervals alone.
UNDEFINED = (
    "repair_controls",
    "cost_per_solved",
    "detectable_difference",
    ".step",
    ".token_budget",
    ".stopped_at",
    "tokens generated",
    "programs_per_second",  # of a grader that did not pay all programs of the measurement
)
LARGEST_NOTEBOOK, LARGEST_REPOSITORY = 300_000, 60_000_000  # bytes


def git(*arguments: str, **options) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout


def tracked(*places: str) -> list[str]:
    """The files that git would commit; without git, as in an unpacked archive, those that are there."""
    try:
        return [name for name in git("ls-files", "-z", "--", *places).split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        found = (path for place in places for path in [ROOT / place, *(ROOT / place).rglob("*")])
        return [path.relative_to(ROOT).as_posix() for path in found if path.is_file()]


RUNS = sorted({tuple(name.split("/")[1:3]) for name in tracked("artifacts") if name.count("/") > 2})


@pytest.fixture(scope="module")
def committed(tmp_path_factory) -> Path:
    """A folder with the pages and artifacts/ as git would commit them. Skips when there is no evidence at all yet."""
    if not RUNS:
        pytest.skip("no evidence is committed yet: artifacts/tiny is absent from git")
    folder = tmp_path_factory.mktemp("committed")
    try:
        names = "\0".join(tracked("artifacts", *PAGES))
        git("checkout-index", "-z", "--stdin", f"--prefix={folder}/", input=names)
    except (OSError, subprocess.CalledProcessError):
        return ROOT
    return folder


@pytest.fixture(params=RUNS or [("tiny", "none")], ids="/".join)
def run(request, committed) -> Path:
    """The folder of a committed run."""
    preset, name = request.param
    return committed / "artifacts" / preset / name


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text())


def notebook_of(run: Path) -> Path:
    return run / f"{RUN_NAME.fullmatch(run.name)['notebook']}.ipynb"


def not_finite(value: object, name: str = "") -> list[str]:
    """The names of figures that are null, NaN or infinite."""
    if isinstance(value, dict):
        return [bad for key, item in value.items() for bad in not_finite(item, f"{name}.{key}")]
    if isinstance(value, list):
        return [bad for item in value for bad in not_finite(item, name)]
    missing = value is None and not any(part in name for part in UNDEFINED)
    return [name] if missing or (isinstance(value, float) and not math.isfinite(value)) else []


def test_the_main_line_is_committed(committed):
    missing = EXPECTED - {path.name for path in (committed / "artifacts" / "tiny").iterdir()}
    assert not missing, "python -m lib.matrix tiny makes them"


def test_the_evidence_is_whole_and_the_pages_say_what_it_says(committed):
    found, _ = check(committed, committed / "artifacts")
    assert [str(one) for one in found if not one.stale] == [], "python -m lib.evidence check"


def test_a_run_has_its_notebook_records_and_figures(run):
    names = {path.name for path in run.iterdir()}
    assert {notebook_of(run).name, "run_info.json", "metrics.json", "summary.json"} <= names
    draws = "run.save_figure" in notebook_of(run).read_text()
    assert bool(list((run / "figures").glob("*.png"))) == draws
    assert not names & {"model", "checkpoints", ".local.json"}, "weights and private state stay out of git"


def test_a_notebook_is_small_enough_to_be_shown(run):
    assert notebook_of(run).stat().st_size < LARGEST_NOTEBOOK


def test_a_run_says_how_it_could_be_repeated(run):
    info, executed = read(run, "run_info.json"), read(run, notebook_of(run).name)["metadata"]["papermill"]
    assert (info["preset"], info["run"], info["status"]) == (run.parent.name, run.name, "finished")
    assert info["parameters"] == executed["parameters"]
    assert info["run"] == executed["run"]
    assert info["seed"] == info["parameters"]["seed"] == int(run.name.rpartition("-s")[2])
    assert re.fullmatch(r"[0-9a-f]{40}", info["commit"])
    assert info["dirty"] is False, "changes that are in no commit could not be found again"
    assert {"torch", "transformers", "trl", "papermill"} <= info["packages"].keys()
    assert info["cores"] >= 1


@pytest.fixture(scope="module")
def stale(committed) -> set[str]:
    """<preset>/<run> of the committed runs that the check of the evidence marks as made by older code."""
    marks = [str(mark) for mark in check(committed, committed / "artifacts")[0] if mark.stale]
    return {name for mark in marks for name in re.findall(r"artifacts/(\w+/[^/]+)/", mark)}


def test_a_run_was_made_with_the_parameters_and_the_data_that_are_here_or_is_marked_as_stale(run, stale):
    if f"{run.parent.name}/{run.name}" in stale:
        pytest.skip("executed by older code, and marked as stale")
    info = read(run, "run_info.json")
    declared = read_parameters(ROOT / "notebooks" / notebook_of(run).name)
    file = ROOT / "params" / run.parent.name / f"{run.name}.yaml"
    assert info["parameters"] == resolve(declared, load_params_file(file))
    assert info["data"] == data_versions(run.parent.name)


def test_no_file_of_a_run_holds_a_path_of_a_machine(run):
    assert absolute_paths(run) == {}


def test_every_figure_is_a_number(run):
    assert not_finite(read(run, "metrics.json")) == not_finite(read(run, "summary.json")) == []
    if (run / "curves.csv").is_file():
        with (run / "curves.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows
        assert not [row for row in rows if not all(value and math.isfinite(float(value)) for value in row.values())]


def test_every_problem_of_every_set_was_judged_and_the_rows_give_the_rates(run):
    metrics = read(run, "metrics.json")
    datasets = metrics.get("datasets")
    if datasets is None:
        return  # this notebook evaluates no policy
    named = {"protocol", "decoding", "engine", "model", "checkpoint", "seed", "manifest"}
    assert named <= metrics.keys(), "a result says what was measured, and how"
    assert metrics["manifest"].keys() == datasets.keys()
    measured = {name: found["n"] for name, found in datasets.items()}
    assert measured in (SIZES, SIZES | ALSO)
    assert {found["api_errors"] for found in datasets.values()} == {0}
    with (run / "verdicts.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name, found in datasets.items():
        own = [row["error_type"] for row in rows if row["dataset"] == name]
        assert len(own) == found["n"]
        assert found["accepted_at_1"] == pytest.approx(own.count("success") / len(own))
        assert all(found[f"{kind}_rate"] == pytest.approx(own.count(kind) / len(own)) for kind in ERROR_TYPES[1:])
        logged = [json.loads(line) for line in (run / "qa_logs" / f"{name}.jsonl").read_text().splitlines()]
        assert {row["error_type"] for row in logged} == set(own)


def test_the_ledgers_prove_that_no_test_problem_was_learnt_from(committed):
    command = [sys.executable, "-m", "lib.ledger", "check", str(committed / "artifacts")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("report", ["90_report-s0", "90_report-matrix-s0"])
def test_the_report_was_made_from_the_runs_that_are_committed_or_is_marked_as_stale(committed, report, stale):
    if f"tiny/{report}" in stale:
        pytest.skip("executed by older code, and marked as stale")
    artifacts = committed / "artifacts" / "tiny"

    class Reader:
        """What read_runs asks of a run, for runs that are committed."""

        def upstream(self, name: str) -> Path:
            if not (artifacts / name / "run_info.json").is_file():
                raise UpstreamError(f"{name} is not committed")
            return artifacts / name

    def headline(rows: dict) -> dict:
        return {f"{row}, {name}": one["accepted_at_1"] for row, own in rows.items() for name, one in own.items()}

    arms = read_runs(Reader(), read(artifacts / report, "run_info.json")["parameters"]["runs"])
    made = main_table(arms, ["contests_test", "humaneval", "mbpp"])[1]
    assert headline(read(artifacts / report, "metrics.json")["rows"]) == pytest.approx(headline(made))


@pytest.fixture
def stage(committed):
    """By its label, what a stage of the main line measured: set -> figures."""
    artifacts = committed / "artifacts" / "tiny"
    return lambda label: read(artifacts / MAIN_LINE[label], "metrics.json")["datasets"]


def test_the_base_model_leaves_something_to_change(stage):
    found = stage("Base")["contests_test"]
    assert 0.08 <= found["accepted_at_1"] <= 0.15
    assert 0.45 <= found["exec_success_rate"] <= 0.60
    assert all(found[f"{kind}_rate"] > 0 for kind in ERROR_TYPES if kind not in ("success", "api_error"))


def test_supervision_makes_programs_run(stage):
    base, sft = (stage(label)["contests_test"]["exec_success_rate"] for label in ("Base", "SFT"))
    assert sft >= base + 0.20


def test_reinforcement_makes_programs_right_and_loses_nothing_elsewhere(stage):
    sft, grpo = stage("SFT"), stage("GRPO dense")
    assert grpo["contests_test"]["accepted_at_1"] >= sft["contests_test"]["accepted_at_1"] + 0.10
    for name in ("humaneval", "mbpp"):
        assert grpo[name]["accepted_at_1"] >= sft[name]["accepted_at_1"] - 0.05


def test_the_repository_stays_small():
    sizes = {name: (ROOT / name).stat().st_size for name in tracked(".") if (ROOT / name).is_file()}
    largest = sorted(sizes, key=sizes.get)[-5:]
    assert sum(sizes.values()) < LARGEST_REPOSITORY, f"the largest files: {', '.join(largest)}"
