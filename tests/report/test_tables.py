"""The report's tables, read from run folders whose figures were made by the real metrics from chosen verdicts."""

import pandas as pd
import pytest

from lib.judge.verdict import ERROR_TYPES
from lib.metrics import by_difficulty, summarize, summarize_times
from lib.report import tables as report
from lib.report.runs import Stage
from lib.runs.record import to_json

SETS = ("contests_test", "humaneval", "mbpp")
RIGHT, WRONG, CRASH, SLOW, LOST = "success", "wrong_answer", "runtime_error", "timeout", "api_error"
BASE = [RIGHT, WRONG, CRASH, CRASH, SLOW, "syntax_error", WRONG, CRASH]
SFT = [RIGHT, RIGHT, WRONG, WRONG, SLOW, WRONG, RIGHT, WRONG]


def records(dataset: str, kinds: list[str]) -> pd.DataFrame:
    rows = pd.DataFrame({"problem_id": [f"{dataset}/{n}" for n in range(len(kinds))], "error_type": kinds})
    rows["difficulty"] = ["A" if n < 4 else "B" for n in rows.index]
    rows["pass_ratio"] = rows.error_type.map({RIGHT: 1.0, WRONG: 0.5}).fillna(0.0)
    return rows.assign(dataset=dataset, judge_time=0.02, gen_tokens=10, truncated=False, format_ok=True)


def metrics(kinds: list[str]) -> dict:
    """What lib.evaluation.evaluate returns, for a policy that does equally well on every set."""
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
    rows = pd.concat([records(name, kinds) for name in SETS])
    rows[["dataset", "problem_id", "error_type"]].to_csv(folder / "verdicts.csv", index=False)
    if curve is not None:
        curve.to_csv(folder / "curves.csv", index=False)
    return folder


@pytest.fixture
def stages(tmp_path):
    curve = pd.DataFrame({"step": [1, 2], "loss": [2.0, 1.0]})
    base, sft = write_run(tmp_path / "03_baseline-s0", BASE), write_run(tmp_path / "10_sft-s0", SFT, curve=curve)
    return {"Base": Stage("Base", base), "SFT": Stage("SFT", sft), "GRPO dense": None}


def test_a_rate_is_shown_in_percent_with_its_interval():
    assert report.shown(summarize(records("mbpp", BASE)), "accepted_at_1") == "12.5 [2.2, 47.1]"
    assert report.shown(summarize(records("mbpp", [WRONG] * 8)), "accepted_at_1") == "0.0 [0.0, 32.4]"


def test_quality_has_a_row_per_set_with_its_own_n():
    table = report.quality_table(metrics(SFT))
    assert list(table.index) == list(SETS)
    assert list(table.n) == ["8"] * 3
    assert table.accepted_at_1["mbpp"] == "37.5 [13.7, 69.4]"
    assert table.exec_success_rate["mbpp"] == report.shown(summarize(records("mbpp", SFT)), "exec_success_rate")
    assert table.pass_ratio_mean["mbpp"] == "0.625"
    assert table.zero_reward_rate["mbpp"] == "12.5"


@pytest.mark.parametrize("kinds", [BASE, SFT, [*BASE, LOST, LOST]], ids=["base", "sft", "with failures of the judge"])
def test_shares_of_the_error_types_add_up_to_all_programs(kinds):
    shares = report.error_shares(metrics(kinds)).loc["contests_test"]
    assert list(shares.index) == list(ERROR_TYPES)
    assert shares.to_list() == pytest.approx([kinds.count(kind) / len(kinds) for kind in ERROR_TYPES])


def test_a_stage_keeps_its_curve_and_one_without_training_has_none(stages):
    assert stages["Base"].curve is None
    assert list(stages["SFT"].curve.loss) == [2.0, 1.0]


READ = """
from lib.report.runs import read_stages
from lib.runs import start
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
    assert "sft: 90_report-s0 needs the run 10_sft-s0" in done.stdout
    assert "python -m lib.matrix tiny 10_sft-s0" in done.stdout
    assert done.stdout.splitlines()[-1] == "{'baseline': 8, 'sft': None}"
