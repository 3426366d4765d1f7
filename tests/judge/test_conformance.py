"""The conformance suite, and the containment in which it runs anybody's grader."""

import json
import subprocess
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from lib.judge.conformance import runner
from lib.judge.conformance.__main__ import main
from lib.judge.conformance.graders import FOREIGN, _calls, _in_outs, grader_named, identity, version
from lib.judge.conformance.runner import ContainedGrader, GraderError, Outcome, read_record, run_recorded, run_suite
from lib.judge.conformance.suite import load_suite
from lib.problems import Problem, Test

SUITE = load_suite()
CANARIES = "tests.judge.canary_graders"
PAIR = ("def f(x): return x * x", Problem("p", "d", "s", "function", "", (Test("assert f(3) == 9"),), entry_point="f"))


def of_kind(*kinds: str) -> list:
    return [item for item in SUITE if item.kind in kinds]


def grade(name: str, **options) -> str:
    with ContainedGrader(f"{CANARIES}:{name}") as contained:
        return contained.grade([PAIR], **options)["result"]


def test_the_suite_has_every_kind_and_grows():
    least = {"cheats": 120, "hostile": 20, "honest": 160, "answers": 45, "outputs": 35, "faults": 9}
    counts = Counter(item.kind for item in SUITE)
    assert all(counts[kind] >= count for kind, count in least.items())
    assert {item.want for item in SUITE} == {"paid", "unpaid", "any", "error", "no loss"}


@pytest.mark.parametrize("item", of_kind("honest", "outputs"), ids=lambda item: f"{item.kind}: {item.name}")
def test_our_judge_is_right_about_honest_programs_and_odd_outputs(judge, item):
    verdict = judge.judge(item.text, item.problem)
    assert verdict.accepted == (item.want == "paid"), verdict.feedback
    assert verdict.error_type != "api_error"


def test_our_judge_is_right_about_faults_of_tests_and_machine():
    items = [item for item in of_kind("faults") if not item.name.endswith("2")]
    outcomes = run_suite(grader_named("ours"), items, jobs=1)
    assert [(o.item.name, o.result) for o in outcomes if not o.good] == []


def test_a_contained_grader_reaches_nothing():
    assert grade("harmless") == "paid"


def test_a_grader_that_kills_everything_costs_its_own_item_only():
    bystander = subprocess.Popen(["sleep", "60"])
    with ContainedGrader(f"{CANARIES}:kills") as contained:
        assert [contained.grade([PAIR], seconds=20)["result"] for _ in range(2)] == ["died", "died"]
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


@pytest.mark.parametrize(
    ("name", "result"), [("leaves", "died"), ("undecided", "error"), ("stdio_only", "unsupported")]
)
def test_a_grader_that_gives_no_score_has_a_result_of_its_own(name, result):
    assert grade(name) == result


def test_a_grader_that_hangs_is_ended_at_the_limit():
    start = time.monotonic()
    assert grade("hangs", seconds=0.5) == "hung"
    assert time.monotonic() - start < 30


def test_a_grader_that_cannot_be_imported_is_an_error_of_its_own():
    with pytest.raises(GraderError, match="no attribute 'nothing'"):
        ContainedGrader(f"{CANARIES}:nothing")


def test_results_are_good_or_not_by_what_the_item_wants():
    good = {want: {item.want: item for item in SUITE}[want] for want in ("paid", "unpaid", "any", "error", "no loss")}
    results = ("paid", "unpaid", "error", "died", "hung", "varies")
    assert {want: [r for r in results if item.good(r)] for want, item in good.items()} == {
        "paid": ["paid"],
        "unpaid": ["unpaid", "error", "died", "hung"],
        "any": ["paid", "unpaid", "error"],
        "error": ["error", "died", "hung"],
        "no loss": ["paid", "error", "died", "hung"],
    }


def test_what_went_wrong_once_counts_for_nothing(monkeypatch):
    answers = iter(["unpaid", "paid", "unpaid", "unpaid", "paid"])

    class Flaky:
        def __init__(self, *_):
            pass

        def grade(self, *_, **__):
            return {"result": next(answers)}

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(runner, "ContainedGrader", Flaky)
    outcomes = run_suite("any:grader", of_kind("honest")[:3], jobs=1)
    assert [outcome.result for outcome in outcomes] == ["varies", "unpaid", "paid"]
    assert runner.summarize(outcomes)["honest programs failed"] == (1, 3)


def test_the_command_prints_the_table_and_holds_the_bar(capsys):
    command = ["--grader", f"{CANARIES}:generous", "--kinds", "faults", "--no-speed"]
    assert main(command) == 1
    out = capsys.readouterr().out
    assert "errors scored as answers   3 of 9" in out
    assert "66.7% of 9 supported items went right" in out
    assert main([*command, "--bar", "0.6"]) == 0
    assert main(["--grader", "no.such.module:grader", "--no-speed"]) == 2


def test_only_items_without_a_recorded_result_are_run(tmp_path, monkeypatch):
    items, ran = of_kind("faults"), []

    def run(grader, chosen, *_):
        ran.append([item.name for item in chosen])
        return [Outcome(item, "unpaid") for item in chosen]

    monkeypatch.setattr(runner, "run_suite", run)
    changed = [replace(items[0], text="pass"), *items[1:]]
    for suite in (items[:3], items, changed):
        assert [o.item for o in run_recorded(tmp_path / "g.json", "any:grader", suite, "python")] == suite
    assert ran == [[i.name for i in items[:3]], [i.name for i in items[3:]], [items[0].name]]
    assert read_record(tmp_path / "none.json", items) == []
    assert len(read_record(tmp_path / "g.json", items, "any:grader")) == len(items) - 1  # it holds the changed item
    assert read_record(tmp_path / "g.json", items, "other:grader") == []  # another grader's, or of another version


def test_the_records_at_hand_are_of_these_adapters_and_versions():
    for path in sorted((Path(__file__).parents[2] / "data" / "graders").glob("*.json")):
        assert json.loads(path.read_text())["grader"] == identity(grader_named(path.stem)), (
            f"`make graders` writes {path}"
        )


def test_tests_are_handed_to_graders_in_the_form_that_they_take():
    square = next(item.problem for item in SUITE if item.problem.entry_point == "f" and not item.problem.prompt)
    assert _calls(square) == ([[3], [-2], [0]], [9, 4, 0])
    assert _in_outs(square) == {"fn_name": "f", "inputs": ["3", "-2", "0"], "outputs": ["9", "4", "0"]}
    for source in ("assert g(f(3)) == 9", "assert f(x) == 9", "x = 1", "assert f(3) = 9", "assert f(k=3) == 9"):
        with pytest.raises(NotImplementedError):
            _calls(Problem("p", "d", "s", "function", "", (Test(source),), entry_point="f"))


def test_every_foreign_grader_is_pinned():
    for name in FOREIGN:
        assert version(name).startswith(FOREIGN[name] + " ")
        assert version(name, isolation=True)
