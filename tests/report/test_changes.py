"""The comparison of two phases, on run folders whose verdicts are chosen."""

import re

import pandas as pd
import pytest

from lib.report.changes import as_markdown, changes, error_transitions, same_problems, warning_text, warnings
from lib.report.runs import Stage
from lib.runs import paths
from lib.runs.record import to_json

RATIO = {"success": 1.0, "wrong_answer": 0.5}


def stage(folder, kinds: dict[str, list[str]], manifest: dict | None = None) -> Stage:
    """A finished run that was measured on the sets of `kinds` (set -> error type of each problem)."""
    folder.mkdir()
    (folder / "run_info.json").write_text(to_json({"run": folder.name, "status": "finished"}))
    (folder / "metrics.json").write_text(to_json({"datasets": dict(kinds), "manifest": manifest or {}}))
    rows = [
        {"dataset": name, "problem_id": f"p{n}", "error_type": kind, "pass_ratio": RATIO.get(kind, 0.0)}
        for name, own in kinds.items()
        for n, kind in enumerate(own)
    ]
    pd.DataFrame(rows).to_csv(folder / "verdicts.csv", index=False)
    return Stage(folder.name, folder)


def phases(tmp_path, before: dict, after: dict) -> tuple[Stage, Stage]:
    return stage(tmp_path / "03_baseline-s0", before), stage(tmp_path / "10_sft-s0", after)


def names(before: Stage, after: Stage, supervised: bool = True) -> list[str]:
    sets = before.metrics["datasets"]
    return [*warnings({name: changes(before, after, name) for name in sets}, supervised)]


CRASHED = ["runtime_error"] * 30 + ["success"] * 10
RUNS = ["wrong_answer"] * 15 + ["success"] * 25


def test_changes_are_in_points_with_the_direction_that_was_expected(tmp_path):
    table = changes(*phases(tmp_path, {"contests_test": CRASHED}, {"contests_test": RUNS}), "contests_test")
    accepted = table.loc["accepted_at_1"]
    assert (accepted.before, accepted.after, accepted.points) == (25, 62.5, 37.5)
    assert accepted.low < 37.5 < accepted.high
    assert table.loc["pass_ratio_mean"].after == pytest.approx(100 * (25 + 7.5) / 40)
    assert list(table.as_expected[["exec_success_rate", "runtime_error_rate"]]) == ["yes", "yes"]
    assert table.as_expected["timeout_rate"] == "unclear", "nothing changed"
    assert table.as_expected["wrong_answer_rate"] == "", "either way may be right"


def test_a_change_the_wrong_way_is_called_so(tmp_path):
    table = changes(*phases(tmp_path, {"contests_test": RUNS}, {"contests_test": CRASHED}), "contests_test")
    assert table.as_expected["exec_success_rate"] == table.as_expected["runtime_error_rate"] == "no"


def test_error_types_move_from_rows_to_columns(tmp_path):
    both = phases(tmp_path, {"mbpp": ["timeout", "timeout", "success"]}, {"mbpp": ["success", "timeout", "success"]})
    found = error_transitions(*both, "mbpp")
    assert (found.loc["timeout", "success"], found.loc["timeout", "timeout"], found.to_numpy().sum()) == (1, 1, 3)


def test_what_the_judge_failed_on_in_either_phase_is_left_out_of_both(tmp_path):
    both = phases(
        tmp_path, {"mbpp": ["api_error", "success", "success"]}, {"mbpp": ["success", "api_error", "timeout"]}
    )
    assert [list(rows.index) for rows in same_problems(*both, "mbpp")] == [["p2"], ["p2"]]


def test_other_problems_or_another_version_of_them_are_not_compared(tmp_path):
    before, after = phases(tmp_path, {"mbpp": ["success"] * 2}, {"mbpp": ["success"] * 3})
    with pytest.raises(ValueError, match="not measured on the same problems of mbpp"):
        changes(before, after, "mbpp")
    versions = ({"mbpp": {"n": 1, "sha256": digest}} for digest in "ab")
    old, new = (stage(tmp_path / f"v{n}", {"mbpp": ["success"]}, one) for n, one in enumerate(versions))
    with pytest.raises(ValueError, match="not measured on the same problems"):
        changes(old, new, "mbpp")


def test_a_phase_that_did_its_work_gives_no_warning(tmp_path):
    sets = {"contests_test": CRASHED, "humaneval": CRASHED}
    assert names(*phases(tmp_path, sets, dict.fromkeys(sets, RUNS))) == []


def test_a_small_gain_in_programs_that_run_is_a_warning_for_supervised_phases_only(tmp_path):
    after = ["success"] * 3 + ["runtime_error"] * 27 + ["success"] * 10
    both = phases(tmp_path, {"contests_test": CRASHED}, {"contests_test": after})
    assert "exec gain" in names(*both)
    assert "exec gain" not in names(*both, supervised=False)


def test_a_loss_on_humaneval_and_more_syntax_errors_are_warnings(tmp_path):
    broken = ["syntax_error"] * 3 + RUNS[3:]
    before = {"contests_test": CRASHED, "humaneval": RUNS}
    found = names(*phases(tmp_path, before, {"contests_test": broken, "humaneval": CRASHED}))
    assert found == ["syntax errors", "humaneval"]


def test_nothing_moved_is_a_warning(tmp_path):
    both = phases(tmp_path, {"contests_valid": RUNS, "mbpp": RUNS}, {"contests_valid": RUNS, "mbpp": RUNS})
    assert names(*both, supervised=False) == ["nothing moved"]


def test_every_warning_says_its_causes_and_what_to_look_at(tmp_path):
    both = phases(
        tmp_path, {"contests_test": RUNS, "humaneval": RUNS}, {"contests_test": CRASHED, "humaneval": CRASHED}
    )
    tables = {name: changes(*both, name) for name in ("contests_test", "humaneval")}
    found = warnings(tables, supervised=True)
    assert [*found] == ["exec gain", "humaneval"]
    for name, seen in found.items():
        assert "points" in seen
        assert re.search(rf"\*\*{name}\*\*: .+ \(.+\)\. Likely causes: .+\. Look at: .+", warning_text(name, seen))


def test_the_report_of_the_committed_baseline_and_sft_runs_reads_as_markdown():
    folder = paths.root() / "artifacts" / "tiny"
    runs = [Stage(name, folder / name) for name in ("03_baseline-s0", "10_sft-s0") if (folder / name).is_dir()]
    if len(runs) < 2:
        pytest.skip("the committed runs 03_baseline-s0 and 10_sft-s0 are not here")
    text = as_markdown(*runs)
    assert text.startswith("# From 03_baseline-s0 to 10_sft-s0\n")
    assert "## contests_test (n = 165)" in text
    assert "| exec_success_rate | " in text
    assert text.partition("## Warnings")[2].strip()
