"""A part of the recorded verdicts comes out again; all of them in tests/bench/replays.py."""

from dataclasses import replace

import pytest
from recorded import REPLAYS, ROWS, disagreements

pytestmark = pytest.mark.skipif(
    not ROWS.is_dir(), reason="there is no ../shared/data with recorded verdicts beside the project"
)


@pytest.mark.parametrize("replay", REPLAYS, ids=lambda replay: replay.__name__)
def test_a_part_of_the_recorded_verdicts_comes_out_again(replay, judge):
    short = {}
    rows = list(replay())[::24]
    for row in rows:  # endless programs are as endless after a second
        short.setdefault(id(row.problem), replace(row.problem, time_limit=1.0))
    rows = [row._replace(problem=short[id(row.problem)]) for row in rows]
    different = disagreements(replay, rows, judge)
    assert not [(row.task, row.run, verdict.error_type) for row, verdict, cause in different if not cause]
    assert len({row.recorded for row in rows}) == 2
