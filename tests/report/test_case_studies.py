"""Case studies: dialogues read and chosen, what a round shows, and the two renderings in one output.

`repair.jsonl` holds what policies of this laboratory (base model, SFT, GRPO) wrote for the same problem, put one behind
the other as rounds and judged; the feedback is what a repair run gives.
"""

import json
import re
from html import unescape
from pathlib import Path

import pytest

from lib.report.case_studies import Stepper, changes, choose, read_dialogues, repaired, round_html, statement, verdict

FILE = Path(__file__).with_name("repair.jsonl")
VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def dialogues():
    return read_dialogues(FILE)


def text_of(html: str) -> str:
    """What is left of a page without styles and colours, as on GitHub."""
    return unescape(re.sub(r"<[^>]+>", "", html))


def test_dialogues_are_the_rounds_of_a_problem_in_order(dialogues):
    lines = [json.loads(line) for line in FILE.read_text().splitlines()]
    assert [line for one in dialogues for line in one] == lines
    assert all(len({line["problem_id"] for line in one}) == 1 for one in dialogues)
    assert statement(dialogues[0]) == dialogues[0][0]["prompt"][0]["content"]


def test_only_what_went_from_wrong_to_accepted_counts_as_repaired(dialogues):
    found = repaired(dialogues)
    assert 0 < len(found) < len(dialogues)
    assert {(one[0]["accepted"], one[-1]["accepted"]) for one in found} == {(False, True)}


def test_cases_are_of_as_many_kinds_as_there_are_and_the_longer_ones_first(dialogues):
    found = repaired(dialogues)
    kinds = {one[0]["error_type"] for one in found}
    assert {one[0]["error_type"] for one in choose(found, len(kinds))} == kinds
    assert len(choose(found, 1)[0]) == max(map(len, found))
    assert len(choose(found, 99)) == len(found), "those there are"
    assert choose([], 5) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda line: line.pop("tests"), "line 1: no tests"), (lambda line: line.update(round=2), "rounds of .* are")],
)
def test_a_file_that_is_no_account_of_rounds_is_refused(tmp_path, change, message):
    first, *others = FILE.read_text().splitlines()
    line = json.loads(first)
    change(line)
    file = tmp_path / "repair.jsonl"
    file.write_text("\n".join([json.dumps(line), *others]))
    with pytest.raises(ValueError, match=message):
        read_dialogues(file)


def test_a_program_is_shown_with_signs_for_what_is_new_and_what_is_gone():
    before, after = "a = 1\nprint(a)", "a = 2\nprint(a)"
    assert changes(before, after) == [("-", "a = 1"), ("+", "a = 2"), (" ", "print(a)")]
    assert {sign for sign, _ in changes(before, before)} == {" "}


def test_a_round_says_all_in_words_and_signs_without_its_colours(dialogues):
    one = next(one for one in repaired(dialogues) if len(one) == 3)
    for number, line in enumerate(one, 1):
        shown = text_of(round_html(one, number))
        assert f"Round {number} of 3: {verdict(line)}" in shown
        assert ("✓ accepted" if line["accepted"] else "✗ ") in shown
        kept = [row[2:] for row in shown.splitlines() if row[:2] in ("  ", "+ ")]
        assert all(code in kept or code in shown for code in line["program"].splitlines())
        assert (line["feedback"] or "No feedback: the last round.").strip() in shown
    assert re.search(r"^\+ ", text_of(round_html(one, 2)), re.MULTILINE)
    assert re.search(r"^- ", text_of(round_html(one, 2)), re.MULTILINE)


def test_neighbouring_tests_that_ended_alike_share_a_row():
    ended = ["success", "success", "timeout"]
    tests = [{"error_type": one, "visibility": "public", "detail": ""} for one in ended]
    line = {"program": "", "error_type": "timeout", "accepted": False, "pass_ratio": 0.5, "tests": tests}
    shown = round_html([line], 1)
    rows = [re.findall(r"<td[^>]*>([^<]*)", row) for row in shown.split("<tr>")[2:]]
    assert rows == [["1–2", "public", "✓ success", ""], ["3", "public", "✗ timeout", ""]]
    assert "2 of 3 tests that were run passed, 50% of all" in shown, "after a timeout the judge runs no further test"
    assert "2 of 3 tests passed" in round_html([line | {"pass_ratio": 0.6667}], 1)


def test_what_a_program_holds_is_no_markup():
    line = {"program": "if a<b: print('<script>')", "error_type": "success", "accepted": True, "pass_ratio": 1.0}
    shown = round_html([line | {"tests": [], "feedback": "<b>"}], 1)
    assert "<script>" not in shown
    assert "a&lt;b" in shown
    assert "&lt;b&gt;" in shown


def test_one_output_holds_the_stepper_and_every_round_for_pages_without_a_kernel(dialogues):
    chosen = choose(repaired(dialogues), 5)
    bundle = Stepper(chosen)._repr_mimebundle_()
    assert {VIEW, "text/html", "text/plain"} <= bundle.keys()
    static = bundle["text/html"]
    assert static.count("<h3>") == 5
    for one in chosen:
        assert all(f"Round {line['round']} of {len(one)}" in static for line in one)
        assert one[0]["problem_id"] in bundle["text/plain"]


def test_choosing_a_problem_begins_at_its_first_round(dialogues):
    chosen = sorted(repaired(dialogues), key=len)
    stepper = Stepper(chosen)
    for number, one in enumerate(chosen):
        stepper.problem.value = number
        assert stepper.round.options == tuple(str(line["round"]) for line in one)
        assert stepper.shown.value == round_html(one, 1)
        assert statement(one) in text_of(stepper.statement.value)
        stepper.round.value = str(len(one))
        assert stepper.shown.value == round_html(one, len(one))


def test_without_a_repaired_problem_the_stepper_says_so():
    bundle = Stepper([])._repr_mimebundle_()
    assert VIEW not in bundle
    assert "No problem went from wrong to accepted" in bundle["text/html"]
