from types import SimpleNamespace

import pytest

from lib.evaluation.eval_schedule import TIERS, tier_at, tier_sets
from lib.problems.ledger import Ledger, RoleError

SETS = {"contests": "tiny_contests", "humaneval": "tiny_humaneval", "mbpp": "tiny_mbpp"}
DESIGN = {"tier_1": 500, "tier_2": 2000}


@pytest.fixture
def run(tmp_path):
    """What a tier needs of a run: its preset and its ledger."""
    return SimpleNamespace(preset={"sets": SETS}, ledger=Ledger(tmp_path))


def test_a_tier_holds_what_the_one_below_it_holds():
    assert TIERS[1] == ("codecontests_valid", "mbpp_reg")
    assert TIERS[2] == (*TIERS[1], "codecontests_valid_big")
    assert set(TIERS[3]) - set(TIERS[2]) == {"codecontests_test", "humaneval"}


def test_a_step_is_due_for_the_largest_tier_of_its_cadence_and_the_last_one_for_tier_2():
    due = {step: tier_at(step, DESIGN, last=4100) for step in (500, 700, 2000, 2500, 4100)}
    assert due == {500: 1, 700: 0, 2000: 2, 2500: 1, 4100: 2}


def test_the_sets_of_the_tiny_preset_have_the_sizes_of_the_real_ones(run):
    assert {name: len(own) for name, own in tier_sets(run, 1, "select", 3).items()} == dict.fromkeys(TIERS[1], 3)
    found = tier_sets(run, 3, "report")
    sizes = {"codecontests_valid": 117, "mbpp_reg": 200, "codecontests_valid_big": 500, "codecontests_test": 165}
    assert {name: len(problems) for name, problems in found.items()} == sizes | {"humaneval": 164}


def test_a_run_that_selects_may_not_open_tier_3(run):
    with pytest.raises(RoleError, match="tiny_contests, split test"):
        tier_sets(run, 3, "select")
