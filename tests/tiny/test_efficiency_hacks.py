"""Programs that try to look cheap: which measures they deceive, and which not."""

import shutil

import pytest

from lib.judge import Judge
from lib.judge.cost import Meter
from lib.tiny.efficiency_hacks import measure_hacks, problem, programs

pytestmark = pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")


@pytest.fixture(scope="module")
def table():
    with Judge(workers=2) as judge, Meter(workers=1, tiers=("superblocks",)) as meter:
        return measure_hacks(judge, [meter], problem(1), problem(2))


def test_every_program_is_right_on_the_known_input():
    known = problem(1)
    with Judge(workers=2) as judge:
        verdicts = judge.judge_many([(source, known) for source, _ in programs(known).values()])
    assert [verdict.error_type for verdict in verdicts] == ["success"] * len(programs(known))


def test_hidden_work_costs_superblocks(table):
    hidden = ("c_builtins", "thread", "exit", "import", "output_cache", "settrace_none", "patched_timers", "forged_log")
    assert (table.superblocks[list(hidden)] > 5).all()


def test_bytecodes_are_deceived(table):
    deceived = ("c_builtins", "settrace_none", "exit", "output_cache", "table")
    assert (table.bytecodes[list(deceived)] < 0.2).all()
    assert table.bytecodes["honest_slow"] > 20


def test_a_table_of_the_known_input_is_wrong_on_another(table):
    assert list(table.index[~table["right on hidden input"]]) == ["table"]


def test_a_program_that_notices_valgrind_is_cheap_only_there(table):
    assert table.superblocks["notices_valgrind"] < 2
