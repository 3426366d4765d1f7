"""Generated blocks: the values that they can show, and errors for values that no record has."""

from types import SimpleNamespace

import pytest

from lib.evidence.blocks import BLOCKS, seeds_table
from lib.evidence.generated import fill, language_of, seeds_block
from lib.evidence.runs import RecordError, Runs, executed_runs, named
from lib.runs import paths


@pytest.fixture
def records(executed, monkeypatch) -> Runs:
    """The runs 10_sft-s0 and -s1, which solve 80 and 81 of 165, and a report."""
    monkeypatch.setattr(paths, "root", lambda: executed)
    return executed_runs(executed / "artifacts")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("10_sft-s0", ["10_sft-s0"]),
        ("tiny/10_sft-s1", ["10_sft-s1"]),
        ("10_sft-s*", ["10_sft-s0", "10_sft-s1"]),
    ],
)
def test_a_pattern_names_a_run_or_all_seeds(records, pattern, names):
    assert [run.name for run in named(records, pattern)] == names


@pytest.mark.parametrize("pattern", ["10_sft-s7", "qwen7b/10_sft-s0", "10_sft"])
def test_a_run_without_a_record_is_an_error(records, pattern):
    with pytest.raises(RecordError, match=f"there is no run {pattern}"):
        named(records, pattern)


@pytest.mark.parametrize(
    ("metric", "run", "cell"),
    [
        ("contests_test.accepted_at_1", "10_sft-s0", "48.5 [41.0, 56.1]"),
        ("contests_test.accepted_at_1", "tiny/10_sft-s0", "48.5 [41.0, 56.1]"),
        ("contests_test.accepted_at_1", "-", "not run"),
        ("contests_test.accepted_at_1", "", ""),
        ("contests_test.accepted_at_1", "10_sft-s7", "–"),
        ("contests_tst.accepted_at_1", "10_sft-s0", "–"),
        ("contests_test.cost", "10_sft-s0", "–"),
        ("contests_test.n", "10_sft-s0", "–"),
    ],
)
def test_a_cell_shows_a_value_with_its_interval_or_what_is_missing(records, metric, run, cell):
    assert seeds_table(records, "en", metric, "0", f"SFT={run}").splitlines()[-1] == f"| SFT | {cell} |"


def solved(runs, language, run):
    return f"{named(runs, run)[0].metrics['datasets']['contests_test']['n']} {language}"


def test_fill_writes_the_blocks_and_leaves_the_rest_of_the_page(records, monkeypatch):
    monkeypatch.setitem(BLOCKS, "solved", solved)
    page = "a\n<!-- generated: solved 10_sft-s0 -->\nold\n<!-- end -->\nb <!-- a comment -->\n"
    filled, [block] = fill(page, records, "zh-CN")
    assert filled == page.replace("old", "165 zh-CN")
    expected = "the block `solved 10_sft-s0` shows 'old', but the records say '165 zh-CN'"
    assert (block.line, block.problem) == (2, expected)
    again, [block] = fill(filled, records, "zh-CN")
    assert (again, block.problem) == (filled, "")


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (
            "<!-- generated: slved 10_sft-s0 -->\nold\n<!-- end -->\n",
            "there is no function slved in lib/evidence/blocks.py",
        ),
        ("<!-- generated: solved -->\nold\n<!-- end -->\n", "wrong arguments (missing a required argument: 'run')"),
        ("<!-- generated: solved 10_sft-s7 -->\nold\n<!-- end -->\n", "there is no run 10_sft-s7"),
        ("<!-- generated: solved 10_sft-s0 -->\nold\n", "a block needs `<!-- generated: ... -->` and, below it"),
        ("b <!-- generated: solved 10_sft-s0 -->\nold\n<!-- end -->\n", "each alone on its line"),
    ],
)
def test_a_block_that_cannot_be_written_is_an_error_and_keeps_its_text(records, monkeypatch, page, message):
    monkeypatch.setitem(BLOCKS, "solved", solved)
    filled, [block] = fill(page, records)
    assert filled == page
    assert message in block.problem


def test_the_name_of_a_page_tells_its_language():
    assert [language_of(name) for name in ("README.md", "README.zh-CN.md")] == ["en", "zh-CN"]


def test_a_report_shows_every_run_in_a_block_and_names_what_is_missing(executed, records):
    first, report = (
        SimpleNamespace(folder=executed / "artifacts/tiny" / name) for name in ("10_sft-s0", "90_report-s0")
    )
    table = seeds_block({"SFT": {0: first, 1: None}, "other": {0: report}}, "contests_test.accepted_at_1")
    assert table.splitlines() == [
        "<!-- generated: seeds_table contests_test.accepted_at_1 0,1 SFT=tiny/10_sft-s0,- other=tiny/90_report-s0, -->",
        "| | seed 0 | seed 1 |",
        "|---|---|---|",
        "| SFT | 48.5 [41.0, 56.1] | not run |",
        "| other | – |  |",
        "<!-- end -->",
    ]
    _, [block] = fill(table, records)
    assert block.problem == ""
