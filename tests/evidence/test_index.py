"""The index and the page: what a reader opens first, made from the records and nothing else."""

import base64
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lib.evidence.__main__ import main
from lib.evidence.check import check
from lib.runs import paths

INDEX = "artifacts/INDEX.md"


def test_the_index_is_a_grid_of_runs_and_seeds(evidence):
    (evidence.root / "params/tiny/10_sft-s2.yaml").write_text("seed: 2\n")
    assert evidence.command("index")[0] == 0
    rows = [line for line in (evidence.root / INDEX).read_text().splitlines() if line.startswith("|")]
    assert rows[0] == "| run | seed 0 | seed 1 | seed 2 |"
    name, *cells = rows[2].strip("| ").split(" | ")
    assert (name, cells[2]) == ("10_sft", "missing")
    commit = r"[0-9a-f]{8}"
    assert re.fullmatch(
        rf"\*\*48\.5\*\*<br>\[done\]\(tiny/10_sft-s0/10_sft\.ipynb\)<br>{commit}<br>\d+\.\d min", cells[0]
    )
    assert rows[3].startswith("| 90_report | **SFT**<br>[done](tiny/90_report-s0/90_report.ipynb)<br>")
    links = re.findall(r"\]\(([^)]+)\)", "".join(rows))
    assert len(links) == 3
    assert all((evidence.root / "artifacts" / link).is_file() for link in links)


def test_the_same_evidence_gives_the_same_bytes(evidence):
    before = (evidence.root / INDEX).read_bytes()
    evidence.command("index")
    assert (evidence.root / INDEX).read_bytes() == before


def test_an_index_that_says_what_no_record_does_is_wrong_and_one_out_of_date_is_stale(evidence):
    (evidence.root / "params/tiny/10_sft-s2.yaml").write_text("seed: 2\n")
    code, lines = evidence.command("check")
    assert (code, lines[0].split(":")[0]) == (0, f"stale  {INDEX}")
    evidence.command("index")
    evidence.replace(INDEX, "**48.5**", "**58.5**")
    [found] = evidence.wrong()
    assert found.startswith(f"WRONG  {INDEX}: says what no record says: **58.5**")
    (evidence.root / INDEX).unlink()
    assert [line.split(" → ")[0] for line in evidence.wrong()] == [f"WRONG  {INDEX}: is missing"]


class Page(HTMLParser):
    """What a browser would find: tags by name with their attributes, and the text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def report(tmp_path, monkeypatch) -> Path:
    """A report of this repository, in a folder of artifacts in which it can be rendered."""
    found = sorted((paths.root() / "artifacts" / "tiny").glob("90_report*"))
    if not found:
        pytest.skip("no report has been executed yet: python -m lib.matrix tiny 90_report")
    folder = min(found, key=lambda folder: len(list(folder.rglob("*"))))  # the smallest: it is rendered three times
    shutil.copytree(folder, tmp_path / "artifacts" / "tiny" / folder.name)
    monkeypatch.setenv("RLVR_ARTIFACTS", str(tmp_path / "artifacts"))
    return tmp_path / "artifacts" / "tiny" / "report.html"


def test_the_report_is_one_file_with_its_tables_and_figures_that_needs_nothing_else(report, capsys):
    assert main(["html", "tiny"]) == 0
    name = re.search(r"report\.html shows (\S+):", capsys.readouterr().out)[1]
    page = Page(report.read_text())
    figures = [found["src"] for tag, found in page.tags if tag == "img"]
    stored = list((report.parent / name / "figures").glob("*.png"))
    assert len(figures) >= len(stored) > 0
    for figure in figures:
        assert base64.b64decode(figure.removeprefix("data:image/png;base64,"), validate=True).startswith(b"\x89PNG")
    assert sum(tag == "table" for tag, _ in page.tags) >= 2
    for line in (report.parent / name / "main_table.txt").read_text().splitlines()[1:]:
        assert line.split()[-3] in page.text
    loaded = [found.get("src") or found.get("href", "") for tag, found in page.tags if tag in ("script", "link", "img")]
    assert [place[:60] for place in loaded if not place.startswith("data:")] == []
    assert not re.search(r"@import|url\(\s*['\"]?http", report.read_text())

    def about_the_page() -> list[str]:
        return [
            str(one) for one in check(paths.root(), paths.artifacts())[0] if one.file == "artifacts/tiny/report.html"
        ]

    assert about_the_page() == []
    report.write_text(report.read_text().replace("<td>", "<td>1", 1))
    [found] = about_the_page()
    assert f"shows something else than {name}" in found


def test_without_a_report_the_command_says_what_makes_one(evidence):
    shutil.rmtree(evidence.root / "artifacts/tiny/90_report-s0")
    assert evidence.command("html") == (
        1,
        ["no report of tiny has been executed: `python -m lib.matrix tiny 90_report` executes one"],
    )
