"""The report's tables, read from run folders whose figures were made by the real metrics from chosen verdicts."""

import re

import pandas as pd
import pytest

from lib import report
from lib.evidence import to_json
from lib.judge.verdict import ERROR_TYPES, Verdict
from lib.metrics import Record, by_difficulty, summarize, summarize_times
from lib.report import HOLE, Stage

SETS = ("contests_test", "humaneval", "mbpp")
RIGHT, WRONG, CRASH, SLOW, LOST = "success", "wrong_answer", "runtime_error", "timeout", "api_error"
BASE = [RIGHT, WRONG, CRASH, CRASH, SLOW, "syntax_error", WRONG, CRASH]
SFT = [RIGHT, RIGHT, WRONG, WRONG, SLOW, WRONG, RIGHT, WRONG]


def records(dataset: str, kinds: list[str]) -> list[Record]:
    return [
        Record(
            dataset,
            f"{dataset}/{n}",
            "A" if n < 4 else "B",
            Verdict(kind == RIGHT, (kind == RIGHT) + 0.5 * (kind == WRONG), kind, 0, 4, judge_time=0.02),
            gen_tokens=10,
            truncated=False,
            format_ok=True,
        )
        for n, kind in enumerate(kinds)
    ]


def metrics(kinds: list[str]) -> dict:
    """What lib.evaluate returns, for a policy that does equally well on every set."""
    found = {name: records(name, kinds) for name in SETS}
    return {
        "datasets": {name: summarize(own) | {"by_difficulty": by_difficulty(own)} for name, own in found.items()},
        "times": {"datasets": {name: summarize_times(own) for name, own in found.items()}},
    }


def write_run(folder, kinds: list[str], status: str = "finished", curve: pd.DataFrame | None = None):
    """A run's folder, as far as the report reads it."""
    folder.mkdir(parents=True)
    info = {"run": folder.name, "status": status, "seconds": 90.0, "phases": {"evaluate": 60.0}}
    (folder / "run_info.json").write_text(to_json(info))
    (folder / "metrics.json").write_text(to_json(metrics(kinds)))
    rows = [(one.dataset, one.problem_id, one.verdict.error_type) for name in SETS for one in records(name, kinds)]
    pd.DataFrame(rows, columns=["dataset", "problem_id", "error_type"]).to_csv(folder / "verdicts.csv", index=False)
    if curve is not None:
        curve.to_csv(folder / "curves.csv", index=False)
    return folder


@pytest.fixture
def stages(tmp_path):
    curve = pd.DataFrame({"step": [1, 2], "loss": [2.0, 1.0]})
    base, sft = write_run(tmp_path / "03_baseline-s0", BASE), write_run(tmp_path / "10_sft-s0", SFT, curve=curve)
    return {"Base": Stage("Base", base), "SFT": Stage("SFT", sft), "GRPO dense": None}


def test_a_rate_is_shown_in_percent_with_its_interval():
    assert report.with_interval(summarize(records("mbpp", BASE)), "accepted_at_1") == "12.5 [2.2, 47.1]"
    assert report.with_interval(summarize(records("mbpp", [WRONG] * 8)), "accepted_at_1") == "0.0 [0.0, 32.4]"


def test_quality_has_a_row_per_set_with_its_own_n():
    table = report.quality_table(metrics(SFT))
    assert list(table.index) == list(SETS)
    assert list(table.n) == [8, 8, 8]
    assert table.accepted_at_1["mbpp"] == "37.5 [13.7, 69.4]"
    assert table.exec_success_rate["mbpp"] == report.with_interval(summarize(records("mbpp", SFT)), "exec_success_rate")
    assert table.pass_ratio_mean["mbpp"] == 0.625


@pytest.mark.parametrize("kinds", [BASE, SFT, [*BASE, LOST, LOST]], ids=["base", "sft", "with failures of the judge"])
def test_shares_of_the_error_types_add_up_to_all_programs(kinds):
    shares = report.error_shares(metrics(kinds)).loc["contests_test"]
    assert list(shares.index) == list(ERROR_TYPES)
    assert shares.to_list() == pytest.approx([kinds.count(kind) / len(kinds) for kind in ERROR_TYPES])


def test_a_stage_keeps_its_curve_and_one_without_training_has_none(stages):
    assert stages["Base"].curve is None
    assert list(stages["SFT"].curve.loss) == [2.0, 1.0]


def test_the_main_table_shows_every_stage_and_holes_where_a_run_is_missing(stages):
    table = report.main_table(stages, list(SETS))
    assert list(table.index) == ["Base", "SFT", "GRPO dense"]
    assert table.loc["Base", "contests_test accepted"] == "12.5 [2.2, 47.1]"
    assert table.loc["SFT", "contests_test ran to the end"].startswith("87.5 [")
    assert table.loc["SFT", "run"] == "10_sft-s0"
    assert set(table.loc["GRPO dense"]) == {HOLE}


def test_costs_are_minutes_by_phase_and_what_a_solved_problem_took(stages):
    table = report.cost_table(stages)
    assert table.loc["SFT", "minutes"] == 1.5
    assert table.loc["SFT", "evaluate min"] == 1.0
    assert table.loc["Base", "tokens per solved"] == 80
    assert table.loc["Base", "judge s per solved"] == pytest.approx(8 * 0.02)
    assert list(table.loc["GRPO dense"]) == [HOLE, "", "", ""]


def test_a_stage_that_solved_nothing_has_no_cost_per_solved_problem(tmp_path):
    stage = Stage("Base", write_run(tmp_path / "03_baseline-s0", [WRONG, CRASH]))
    assert report.cost_table({"Base": stage}).loc["Base", "tokens per solved"] == "nothing solved"


def test_a_comparison_counts_what_was_won_and_lost_on_the_same_problems(stages):
    found = report.comparison(stages["Base"], stages["SFT"], "contests_test")
    assert (found["n"], found["from"], found["to"]) == (8, "Base", "SFT")
    assert (found["points"], found["won"], found["lost"]) == (25.0, 2, 0)
    assert found["McNemar p"] == 0.5
    low, high = map(float, re.fullmatch(r"\[([+-][\d.]+), ([+-][\d.]+)\]", found["95 % interval"]).groups())
    assert low <= 25 <= high
    back = report.comparison(stages["SFT"], stages["Base"], "contests_test")
    assert (back["points"], back["won"], back["lost"]) == (-25.0, 0, 2)


def test_stages_measured_on_other_problems_are_not_compared(stages, tmp_path):
    short = Stage("short", write_run(tmp_path / "10_sft-problems=4-s0", SFT[:4]))
    with pytest.raises(ValueError, match="Base and short were not measured on the same problems of mbpp"):
        report.comparison(stages["Base"], short, "mbpp")


READ = """
from lib.report import read_stages
from lib.run import start
names = {"baseline": "03_baseline-s0", "sft": "10_sft-s0"}
stages = read_stages(start("90_report", {"preset": "tiny", "seed": 0, **names}), names)
print({name: stage and stage.metrics["datasets"]["mbpp"]["n"] for name, stage in stages.items()})
"""


def test_a_run_that_has_not_been_made_is_a_hole_and_the_reason_names_the_command(repository):
    repository.notebook("90_report", parameters='baseline: str = "03_baseline-s0"\nsft: str = "10_sft-s0"\n')
    for name in ("03_baseline", "10_sft"):
        repository.notebook(name)
        repository.params(f"{name}-s0")
    write_run(repository.folder("03_baseline-s0"), BASE)
    write_run(repository.folder("10_sft-s0"), SFT, status="running")
    done = repository.python("-c", READ)
    assert done.returncode == 0, done.stderr
    assert "sft: 90_report-s0 needs the run 10_sft-s0, which has not been made" in done.stdout
    assert "python -m lib.matrix tiny 10_sft-s0" in done.stdout
    assert done.stdout.splitlines()[-1] == "{'baseline': 8, 'sft': None}"
