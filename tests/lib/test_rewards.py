import pytest

from lib.judge.verdict import Verdict
from lib.rewards import REWARDS, dense, sparse

ACCEPTED = Verdict(True, 1.0, "success", 4, 4, 0.1)
PARTLY_RIGHT = Verdict(False, 0.75, "wrong_answer", 3, 4, 0.1)
JUDGE_FAILED = Verdict(False, 0.0, "api_error", 0, 4, 0.0)


def test_dense_pays_the_share_of_passed_tests_and_sparse_all_or_nothing():
    assert (dense(ACCEPTED), sparse(ACCEPTED)) == (1.0, 1.0)
    assert (dense(PARTLY_RIGHT), sparse(PARTLY_RIGHT)) == (0.75, 0.0)


@pytest.mark.parametrize("name", REWARDS)
def test_a_failure_of_the_judge_is_no_reward_at_all(name):
    assert REWARDS[name](JUDGE_FAILED) is None


@pytest.mark.parametrize("name", REWARDS)
def test_a_reward_is_a_float_because_trainers_build_tensors_of_it(name):
    assert type(REWARDS[name](ACCEPTED)) is float
