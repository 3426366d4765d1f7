"""Evidence: one way to write JSON, and a record that people and programs read in the same output."""

from pathlib import Path

import numpy
import pytest

from lib.runs.record import MIME, Evidence, to_json


def test_json_is_written_in_one_way_whatever_the_order_and_the_types():
    metrics = {"b": float("nan"), "a": numpy.float32(0.5), "ö": [numpy.int64(3), (True,)], 3: -numpy.inf}
    expected = '{\n  "3": null,\n  "a": 0.5,\n  "b": null,\n  "ö": [\n    3,\n    [\n      true\n    ]\n  ]\n}\n'
    assert to_json(metrics) == expected
    assert to_json(dict(reversed(metrics.items()))) == expected


def test_arrays_become_lists_and_floats_keep_their_digits():
    assert to_json(numpy.array([[0.1], [numpy.nan]])) == "[\n  [\n    0.1\n  ],\n  [\n    null\n  ]\n]\n"
    assert to_json(0.1 + 0.2) == "0.30000000000000004\n"


@pytest.mark.parametrize("value", [Path("/home"), {1, 2}, object()])
def test_what_json_has_no_words_for_is_refused(value):
    with pytest.raises(TypeError, match="can't be saved as JSON"):
        to_json({"value": value})


def test_people_see_a_table_and_programs_find_all_digits():
    record = {"run": "10_sft-s0", "seed": 0, "summary": {"test": {"accepted_at_1": 0.123456, "n": 165}, "a <b>": None}}
    shown = Evidence(record)._repr_mimebundle_()
    assert shown[MIME] == record
    lines = ["10_sft-s0", "  test.accepted_at_1  0.1235", "  test.n              165", "  a <b>               –"]
    assert shown["text/plain"] == "\n".join(lines)
    assert "<tr><th>test.n</th><td>165</td></tr>" in shown["text/html"]
    assert "<th>a &lt;b&gt;</th>" in shown["text/html"]


def test_an_empty_summary_is_shown_as_such():
    assert Evidence({"run": "x-s0", "summary": {}})._repr_mimebundle_()["text/plain"] == "x-s0"
