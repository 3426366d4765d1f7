"""Inputs on which public bug reports of this field failed, from outside the repository (others: `test_program`)."""

import json

import pytest
from judged import stdio
from recorded import ROWS

CASES = ROWS.parent / "cases" / "public_reports.jsonl"
STREAMS, INTEGERS, ENVIRONMENT, STACKS = 13, 10, 14, 15  # classes


@pytest.mark.skipif(not CASES.exists(), reason="the shared cases are not there")
def test_right_programs_that_others_failed_for_their_surroundings_are_accepted(judge):
    rows = [row for row in map(json.loads, CASES.read_text().splitlines()) if row["kind"] == "stdio"]
    rows = [row for row in rows if row["class"] in (STREAMS, INTEGERS, ENVIRONMENT, STACKS)]
    pairs = [(row["program"], stdio(*row["tests"], memory_limit=row["memory_limit"])) for row in rows]
    assert {row["name"]: v.error_type for row, v in zip(rows, judge.judge_many(pairs), strict=True)} == {
        row["name"]: "success" for row in rows
    }
