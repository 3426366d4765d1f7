"""The pool of GRPO: problems with equal rewards are left out, and are measured once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.judge.verdict import Verdict
from lib.problems import Problem, Test
from lib.rewards import Sample, make_reward
from lib.training.pool import _row, measured, varied

DENSE, SPARSE = make_reward("dense"), make_reward("sparse")


def problem(name: str) -> Problem:
    return Problem(id=name, dataset="d", split="train", kind="stdio", prompt=name, tests=(Test("", "1\n"),) * 4)


def sample(name: str, passed: int | None) -> Sample:
    """Four tests, of which `passed` pass; None: the judge failed."""
    kind = {4: "success", None: "api_error"}.get(passed, "wrong_answer")
    verdict = Verdict(passed == 4, (passed or 0) / 4, kind, passed or 0, 4, 0.0)
    return Sample("", tokens=10, truncated=False, program="", verdict=verdict, problem=problem(name))


def groups(**passed: list[int | None]) -> list[list[Sample]]:
    return [[sample(name, count) for count in counts] for name, counts in passed.items()]


def test_only_problems_whose_rewards_differ_are_in_the_pool(tmp_path):
    drawn = groups(all=[4, 4, 4], none=[0, 0, 0], some=[4, 0, 0], partly=[1, 0, 1], failed=[4, None, 4])
    table = measured(tmp_path / "run" / "pool.csv", lambda: drawn, DENSE).set_index("problem_id")
    assert list(table.index[table.varies]) == ["some", "partly"]
    assert table.solve_rate.round(2).to_dict() == {"all": 1, "none": 0, "some": 0.33, "partly": 0, "failed": 1}
    assert table.tokens.sum() == 150
    table = measured(tmp_path / "sparse.csv", lambda: drawn, SPARSE)
    assert [one.id for one in varied([problem(name) for name in table.problem_id], table, 1)] == ["some"]


def test_an_interrupted_run_does_not_measure_again(tmp_path):
    first = measured(tmp_path / "pool.csv", lambda: groups(a=[4, 0]), SPARSE)
    assert measured(tmp_path / "pool.csv", lambda: pytest.fail("drawn twice"), SPARSE).equals(first)


def test_too_small_a_pool_is_an_error_that_says_what_to_do(tmp_path):
    table = measured(tmp_path / "pool.csv", lambda: groups(a=[4, 0], b=[0, 0]), SPARSE)
    with pytest.raises(
        ValueError, match=r"of 1 of 2 train problems earn different .* needs 2 problems: raise pool_samp"
    ):
        varied([problem("a"), problem("b")], table, 2)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_with_the_sparse_reward_a_problem_is_in_the_pool_if_some_but_not_all_samples_are_accepted(passed):
    row = _row(groups(p=passed)[0], SPARSE)
    assert row["varies"] == (0 < row["solve_rate"] < 1)
