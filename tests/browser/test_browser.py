"""The pages as a reader meets them: notebooks in JupyterLab, the report as one HTML file, each in real Chromium."""

import json
import shutil
from pathlib import Path

import pytest

from lib.evidence.pages import fullest_report, render
from lib.evidence.runs import executed_runs
from lib.report.case_studies import choose, read_dialogues, repaired, statement, verdict
from lib.runs.paths import root
from lib.runs.record import MIME

ROUNDS = Path(__file__).parents[1] / "report" / "repair.jsonl"  # a repair run at smoke scale
SMOKE = {"policy": '"base"', "steps": "3", "limit": "4"}
VIEW = "application/vnd.jupyter.widget-view+json"


def repair_run(artifacts: Path) -> Path:
    """A finished run 40_repair-s0, of which 92_case_studies reads the dialogues."""
    folder = artifacts / "tiny" / "40_repair-s0"
    folder.mkdir(parents=True)
    shutil.copy(ROUNDS, folder / "repair.jsonl")
    (folder / "run_info.json").write_text(json.dumps({"status": "finished"}))
    return folder


def test_the_stepper_shows_the_round_of_the_problem_that_was_chosen(lab, page, picture):
    dialogues = read_dialogues(repair_run(lab.artifacts) / "repair.jsonl")
    chosen = choose(repaired(dialogues), 5)
    lab.open(page, "92_case_studies")
    lab.run_all(page)
    stepper = page.locator(".jp-OutputArea-output .widget-vbox").first
    stepper.scroll_into_view_if_needed()
    assert stepper.locator("select option").count() == len(chosen)
    for number in (0, len(chosen) - 1):
        stepper.locator("select").select_option(index=number)
        stepper.get_by_text(statement(chosen[number])).wait_for()
        for line in chosen[number]:
            stepper.get_by_role("button", name=str(line["round"]), exact=True).click()
            stepper.get_by_text(f"Round {line['round']} of {len(chosen[number])}").wait_for()
            shown = stepper.inner_text()
            assert ("✓ accepted" in shown) == line["accepted"]
            assert all(code.strip() in shown for code in line["program"].splitlines())
            assert (line["feedback"] or "No feedback: the last round.").splitlines()[0] in shown
            gone = [row for row in shown.splitlines() if row.startswith("- ")]
            assert bool(gone) == (line["round"] > 1), "a further round shows what is gone from the one before"
    picture(page, "case_studies")
    assert stepper.evaluate("one => one.scrollWidth <= one.clientWidth + 1"), "nothing of the stepper is cut"
    notebook = lab.saved(page, "92_case_studies")
    both = [out["data"] for cell in notebook["cells"] for out in cell.get("outputs", []) if VIEW in out.get("data", {})]
    assert len(both) == 1
    static = lab.folder / "case_studies.html"
    static.write_text(render(lab.folder / "notebooks" / "92_case_studies.ipynb"))
    page.goto(static.as_uri())
    shown = page.locator("main").inner_text()
    for one in chosen:
        assert statement(one) in shown, "the same output holds all of it for a page without a kernel"
        assert all(f"Round {line['round']} of {len(one)}: {verdict(line)}" in shown for line in one)
    picture(page, "case_studies_static", full_page=True)


def test_grpo_runs_to_its_record_in_jupyterlab(lab, page, picture):
    control = Path("tiny") / "03_baseline-s0"
    shutil.copytree(root() / "artifacts" / control, lab.artifacts / control)
    lab.open(page, "30_grpo")
    lab.give(page, "30_grpo", SMOKE)
    lab.run_all(page)
    [folder] = (lab.artifacts / "scratch").glob("30_grpo-*")
    summary = json.loads((folder / "summary.json").read_text())
    shown = page.locator(".jp-Notebook .jp-CodeCell").last
    shown.scroll_into_view_if_needed()
    assert summary["headline"] in shown.inner_text(), "the record is read by people"
    drawn = page.locator(".jp-RenderedImage img").first
    drawn.scroll_into_view_if_needed()
    assert drawn.evaluate("one => one.complete && one.naturalWidth > 300")
    picture(page, "grpo")
    last = lab.saved(page, "30_grpo")["cells"][-1]
    assert [out["data"][MIME]["summary"] for out in last["outputs"] if MIME in out.get("data", {})] == [summary]


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The report that `make report` renders, as one HTML file."""
    notebook = fullest_report(executed_runs(root() / "artifacts"), "tiny")
    if notebook is None:
        pytest.skip("no report has been executed: artifacts/tiny/90_report-s0 is absent")
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(render(notebook.path))
    return file


def test_the_report_stands_alone_with_its_table_and_figures_whole(report, page, picture):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.context.set_offline(True)
    page.goto(report.as_uri())
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == [], "all that it shows is in the file"
    assert page.locator("h1").first.inner_text().startswith("Report")
    assert {"Base", "SFT", "GRPO"} <= set(page.locator("table").first.inner_text().split())
    figures = page.locator("main img")
    assert figures.count() >= 2
    for figure in figures.all():
        figure.scroll_into_view_if_needed()
        assert figure.evaluate("one => one.complete && one.naturalWidth > 300")
        box = figure.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 1400, "no figure is cut at the window's edge"
    picture(page, "report", full_page=True)
