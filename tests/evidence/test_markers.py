"""Markers: what they can ask for, and how they say that no record has it."""

from types import SimpleNamespace

import pytest

from lib.evidence.committed import committed_runs
from lib.evidence.markers import Records, differences, fill, seeds_table
from lib.runs import paths


@pytest.fixture
def records(executed, monkeypatch) -> Records:
    """Of the runs 10_sft-s0 and -s1, which solve 80 and 81 of 165."""
    monkeypatch.setattr(paths, "root", lambda: executed)
    return Records(committed_runs(executed / "artifacts"))


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("10_sft-s0 contests_test.accepted_at_1", "48.5"),
        ("10_sft-s0 contests_test.accepted_at_1 .2p", "48.48"),
        ("10_sft-s0 contests_test.accepted_at_1 .1%", "48.5%"),
        ("10_sft-s0 datasets.contests_test.accepted_at_1 .3f", "0.485"),
        ("tiny/10_sft-s0 contests_test.n {value}", "165"),
        ("10_sft-s0 contests_test.n ,d", "165"),
        ("10_sft-s0 contests_test.accepted_at_1 interval", "48.5 [41.0, 56.1]"),
        ("10_sft-s* contests_test.accepted_at_1 mean_sd", "48.8 ± 0.4"),
        ("10_sft-s0,10_sft-s1 contests_test.accepted_at_1 {min:.1p} to {max:.1p} ({runs})", "48.5 to 49.1 (2)"),
        ("10_sft-s0 summary.headline {value}", "80 solved"),
        ("10_sft-s0 info.seed {value}", "0"),
        ('10_sft-s0 "by 1.5 s.0.8.1" {value}', "2"),
    ],
)
def test_a_marker_shows_what_its_record_says(records, asked, shown):
    assert records.text(asked) == shown


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("10_sft-s0", "reads not `n RUNS"),
        ("10_sft--s0 contests_test.n", "has -- in it"),
        ("10_sft-s7 contests_test.n", "names the run 10_sft-s7, which is not there"),
        ("qwen7b/10_sft-s0 contests_test.n", "names the run qwen7b/10_sft-s0, which is not there"),
        ("10_sft-s0,10_sft-s* contests_test.n", "names two runs of one seed"),
        ("10_sft-s0 contests_tst.n", "names contests_tst.n, for which 10_sft-s0 has no figure"),
        ("10_sft-s0 contests_test.cost", "for which 10_sft-s0 has no figure"),
        ("10_sft-s* contests_test.n {value}", "has no value to show, only runs, mean, min, max, sd"),
        ("10_sft-s0 contests_test.n mean_sd", "has no sd to show"),
        ("10_sft-s0 contests_test.n interval", "has no low to show"),
        ("10_sft-s0 contests_test.n .1q", "can't be shown as .1q"),
        ("10_sft-s1 - 10_sft-s0 contests_test.n", "subtracts seeds [0] from seeds [1]"),
        ("10_sft-s0 - 10_sft-s0 summary.headline", "subtracts summary.headline, which is no number"),
    ],
)
def test_what_no_record_has_is_said_and_the_page_left_as_it_is(records, asked, message):
    page = f"a\nb <!--n {asked}-->1<!--/n-->\n"
    text, [one] = fill(page, records)
    assert (text, one.line, one.said) == (page, 2, "1")
    assert message in one.wrong
    assert differences([one]) == [(2, one.wrong)]


def test_a_difference_is_taken_seed_by_seed(records):
    asked = "10_sft-s* - 10_sft-s* contests_test.accepted_at_1 {mean:+.1p} ± {sd:.1p}"
    assert records.text(asked) == "+0.0 ± 0.0"


def test_everything_but_the_figures_of_a_page_stays_as_it_is(records):
    page = (
        "| x | <!--n 10_sft-s0 contests_test.n d-->?<!--/n--> |\n\n<!-- n --> <!--n 10_sft-s1 info.seed d--><!--/n-->\n"
    )
    filled, marked = fill(page, records)
    assert filled == page.replace(">?<", ">165<").replace("d--><", "d-->1<")
    assert differences(marked) == [
        (1, "`10_sft-s0 contests_test.n d` shows '?', the record says '165'"),
        (3, "`10_sft-s1 info.seed d` shows '', the record says '1'"),
    ]
    again, marked = fill(filled, records)
    assert (again, differences(marked)) == (filled, [])


def test_a_marker_that_never_ends_or_that_begins_a_line_is_named(records):
    page = "a <!--n 10_sft-s0 contests_test.n {value}-->165\n<!--n 10_sft-s0 contests_test.n {value}-->165<!--/n-->\n"
    assert differences(fill(page, records)[1]) == [
        (1, "a marker without its end <!--/n-->"),
        (2, "a line begins with a marker: begin it with a word"),
    ]


def test_a_report_shows_every_run_alone_in_a_marker_and_holes_as_holes(executed, records):
    first, report = (
        SimpleNamespace(folder=executed / "artifacts/tiny" / name) for name in ("10_sft-s0", "90_report-s0")
    )
    table = seeds_table({"SFT": {0: first, 1: None}, "other": {0: report}}, "contests_test.accepted_at_1")
    assert table.splitlines() == [
        "| | seed 0 | seed 1 |",
        "|---|---|---|",
        "| SFT | <!--n tiny/10_sft-s0 contests_test.accepted_at_1 interval-->48.5 [41.0, 56.1]<!--/n--> | not run |",
        "| other | – |  |",
    ]
    assert differences(fill(table, records)[1]) == []
