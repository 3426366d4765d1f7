"""The pages: both READMEs say the same, the files that pages name exist, and the diagrams can be read as text."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lib.evidence.blocks import conclusions, results, state
from lib.evidence.runs import executed_runs
from lib.runs import paths

ROOT = Path(__file__).resolve().parent.parent
ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
PAGES = (ENGLISH, CHINESE, "CONTRIBUTING.md", "CHANGELOG.md")
BLOCK = re.compile(r"<!-- generated: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)
SVG = "{http://www.w3.org/2000/svg}"


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(page: str) -> dict[str, str]:
    return dict(BLOCK.findall(text_of(page)))


@pytest.mark.parametrize("page", PAGES)
def test_every_local_link_leads_to_a_file(page):
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)) if "://" not in link]
    assert [link for link in links if link and not (ROOT / link).exists()] == []


@pytest.mark.parametrize("page", PAGES[:3])
def test_every_test_and_module_that_a_page_names_exists(page):
    created = set(re.findall(r"^Create `([^`]+)`", text_of(page), re.MULTILINE))
    named = set(re.findall(r"`((?:tests|lib|params)/[\w./-]+\.\w+)`", text_of(page))) - created
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


@pytest.mark.parametrize("page", [ENGLISH, CHINESE])
def test_a_readme_is_short(page):
    assert len(BLOCK.sub("", text_of(page)).splitlines()) <= 150


def test_both_languages_have_the_same_blocks_commands_links_and_tests():
    english, chinese = text_of(ENGLISH), text_of(CHINESE)
    assert blocks(ENGLISH).keys() == blocks(CHINESE).keys() == {"state", "results", "conclusions", "graders"}

    def commands(text: str) -> list[str]:
        fenced = re.findall(r"^```\n(.*?)^```", BLOCK.sub("", text), re.MULTILINE | re.DOTALL)
        return [line.split("#")[0].strip() for block in fenced for line in block.splitlines() if not line[:1].isspace()]

    for pattern in (r"\]\(([^)]+)\)", r"`(tests/[^`]+)`", r"`(make [^`]+)`", r"`(python -m [^`]+)`"):
        assert set(re.findall(pattern, english)) - {CHINESE} == set(re.findall(pattern, chinese)) - {ENGLISH}
    lines = [[line for line in commands(text) if re.match(r"make|\.venv|git", line)] for text in (english, chinese)]
    assert lines[0] == lines[1]


def test_both_languages_show_the_same_figures_of_the_report():
    records = executed_runs(paths.artifacts())
    decimals = [re.findall(r"[+-]?\d+\.\d", results(records, language)) for language in ("en", "zh-CN")]
    assert decimals[0] == decimals[1] != []
    compared = [set(re.findall(r"[+-]\d+\.\d", conclusions(records, language))) for language in ("en", "zh-CN")]
    assert compared[1] <= compared[0]


def test_every_row_of_the_table_names_the_command_that_makes_it():
    rows = [line for line in blocks(ENGLISH)["results"].splitlines() if line.startswith("| [")]
    assert rows
    for row in rows:
        pattern = re.search(r"`make matrix PATTERN='([^']+)'` \|$", row)[1]
        assert list((ROOT / "params" / "tiny").glob(f"{pattern}.yaml")), row


def test_the_page_says_whether_its_evidence_is_stale():
    records = executed_runs(paths.artifacts())
    english, chinese = (state(records, language) for language in ("en", "zh-CN"))
    assert ("stale" in english) == ("过期" in chinese)
    assert re.findall(r"\d+", english)


@pytest.mark.parametrize("name", ["pipeline", "grpo_step"])
def test_a_diagram_can_be_read_without_being_seen(name):
    root = ElementTree.parse(ROOT / "docs" / f"{name}.svg").getroot()
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title").text
    assert len(root.find(f"{SVG}desc").text) > 100
    assert root.get("viewBox").split()[2] == "800"
    for page in (ENGLISH, CHINESE):
        assert re.search(rf"!\[[^\]]{{9,}}\]\(docs/{name}\.svg\)", text_of(page)), "a picture has alternative text"
