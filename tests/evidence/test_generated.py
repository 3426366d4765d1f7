"""Generated blocks: the values that they can show, and errors for values that no record has."""

from types import SimpleNamespace

import pytest

from lib.evidence import blocks
from lib.evidence.committed import committed_runs
from lib.evidence.generated import fill, language_of, seeds_block
from lib.evidence.values import RecordError, Records
from lib.runs import paths


@pytest.fixture
def records(executed, monkeypatch) -> Records:
    """Of the runs 10_sft-s0 and -s1, which solve 80 and 81 of 165."""
    monkeypatch.setattr(paths, "root", lambda: executed)
    return Records(committed_runs(executed / "artifacts"))


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (("10_sft-s0", "contests_test.accepted_at_1"), "48.5"),
        (("10_sft-s0", "contests_test.accepted_at_1", ".2p"), "48.48"),
        (("10_sft-s0", "contests_test.accepted_at_1", ".1%"), "48.5%"),
        (("10_sft-s0", "datasets.contests_test.accepted_at_1", ".3f"), "0.485"),
        (("tiny/10_sft-s0", "contests_test.n", "{value}"), "165"),
        (("10_sft-s0", "contests_test.n", ",d"), "165"),
        (("10_sft-s0", "contests_test.accepted_at_1", "interval"), "48.5 [41.0, 56.1]"),
        (("10_sft-s*", "contests_test.accepted_at_1", "mean_sd"), "48.8 ± 0.4"),
        (("10_sft-s0,10_sft-s1", "contests_test.n", "{min} to {max} ({runs})"), "165 to 165 (2)"),
        (("10_sft-s0", "summary.headline", "{value}"), "80 solved"),
        (("10_sft-s0", "info.seed", "{value}"), "0"),
        (("10_sft-s0", "by 1.5 s.0.8.1", "{value}"), "2"),
        (("10_sft-s*", "contests_test.accepted_at_1", "{mean:+.1p} ± {sd:.1p}", "10_sft-s*"), "+0.0 ± 0.0"),
    ],
)
def test_a_value_is_shown_in_many_ways(records, asked, shown):
    assert records.show(*asked) == shown


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("10_sft-s7", "contests_test.n"), "there is no run 10_sft-s7"),
        (("qwen7b/10_sft-s0", "contests_test.n"), "there is no run qwen7b/10_sft-s0"),
        (("10_sft-s0,10_sft-s*", "contests_test.n"), "two runs have the same seed"),
        (("10_sft-s0", "contests_tst.n"), "10_sft-s0 has no value contests_tst.n"),
        (("10_sft-s0", "contests_test.cost"), "10_sft-s0 has no value"),
        (("10_sft-s*", "contests_test.n", "{value}"), "has no value, only runs, mean, min, max, sd"),
        (("10_sft-s0", "contests_test.n", "mean_sd"), "has no sd"),
        (("10_sft-s0", "contests_test.n", "interval"), "has no low"),
        (("10_sft-s0", "contests_test.n", ".1q"), "cannot be shown as {value:.1q}"),
        (("10_sft-s1", "contests_test.n", ".1p", "10_sft-s0"), "10_sft-s1 has the seeds [1], but 10_sft-s0 has [0]"),
        (("10_sft-s0", "summary.headline", ".1p", "10_sft-s0"), "summary.headline is no number"),
    ],
)
def test_a_value_that_no_record_has_is_an_error(records, asked, message):
    with pytest.raises(RecordError) as error:
        records.show(*asked)
    assert message.replace("{value:.1q}", ".1q") in str(error.value)


def solved(records, language, run):
    return f"{records.show(run, 'contests_test.n', 'd')} {language}"


def test_fill_writes_the_blocks_and_leaves_the_rest_of_the_page(records, monkeypatch):
    monkeypatch.setattr(blocks, "solved", solved, raising=False)
    page = "a\n<!-- generated: solved 10_sft-s0 -->\nold\n<!-- end -->\nb <!-- a comment -->\n"
    filled, [block] = fill(page, records, "zh-CN")
    assert filled == page.replace("old", "165 zh-CN")
    expected = "the block `solved 10_sft-s0` shows 'old', but the records say '165 zh-CN'"
    assert (block.line, block.problem()) == (2, expected)
    again, [block] = fill(filled, records, "zh-CN")
    assert (again, block.problem()) == (filled, "")


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
    monkeypatch.setattr(blocks, "solved", solved, raising=False)
    filled, [block] = fill(page, records)
    assert filled == page
    assert message in block.problem()


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
    assert block.problem() == ""
