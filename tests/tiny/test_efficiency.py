"""The tiny world with heavy inputs: tasks rebuilt from problems, correct ways of writing them, the frozen pool."""

import json
import lzma
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lib.judge import Judge
from lib.judge.cost import Cost
from lib.problems import load_problems
from lib.tiny import efficiency
from lib.tiny.efficiency import HEAVY, Pool, light, load_pool, measure_pool, measured, task_of, ways
from lib.tiny.efficiency_eval import hidden_check, measure_policy, speed_ups, summarize_costs

TEST, TRAIN = load_problems("tiny_contests", "test")[:24], load_problems("tiny_contests", "train")[:24]


class Meter:
    """What costs as many superblocks as it has characters, 1,000 times more if the program is in `slow`."""

    tier, measured, remembered = "superblocks", 0, 0

    def __init__(self, slow=()):
        self.slow, self.pairs = slow, []

    def measure_many(self, pairs):
        self.pairs += pairs
        return [Cost(self.tier, len(program) * (1000 if program in self.slow else 1)) for program, _ in pairs]


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=2) as shared:
        yield shared


def test_the_light_view_keeps_the_small_tests_and_relaxes_the_limit():
    for problem in TRAIN:
        view = light(problem)
        assert view.time_limit == 1.0
        assert len(view.tests) >= len(problem.tests) - 1
        assert max(len(test.input) for test in view.tests) < 200
        assert (view.id, view.dataset, view.split) == (problem.id, problem.dataset, problem.split)
    assert any(len(light(problem).tests) < len(problem.tests) for problem in TRAIN)


def test_a_task_rebuilt_from_a_problem_has_its_answers():
    for problem in [*TEST, *TRAIN]:
        task = task_of(problem)
        assert " ".join(task.composition) == problem.id.split(". ")[1]
        for test in problem.tests:
            answer = task.solve([*map(int, test.input.split()[1:])])
            assert (" ".join(map(str, answer)) if isinstance(answer, list) else str(answer)) == test.output.strip()
    with pytest.raises(ValueError, match="no constants give its tests"):
        task_of(replace(TEST[0], tests=(replace(TEST[0].tests[0], output="wrong\n"),)))


def test_every_way_is_right_on_light_and_heavy_inputs(judge):
    pairs = [
        (way, view)
        for problem in TEST[:12]
        for way in ways(task_of(problem))
        for view in (light(problem), measured(problem, 1), measured(problem, 1, "light"))
    ]
    assert [verdict.error_type for verdict in judge.judge_many(pairs)] == ["success"] * len(pairs)


def test_inputs_come_from_the_seed_and_are_as_many_for_a_problem():
    sizes = set()
    for problem in TEST:
        first, again, other = (measured(problem, seed).tests for seed in (1, 1, 2))
        assert first == again != other
        assert len(first) == 1
        n = int(first[0].input.split()[0])
        assert HEAVY[0] <= n <= HEAVY[1]
        assert n == int(other[0].input.split()[0])
        assert int(measured(problem, 1, "light").tests[0].input.split()[0]) < 20
        sizes.add(n)
    assert len(sizes) > 10


def test_a_measured_pool_has_the_costs_of_all_ways_in_order():
    meter, slow = Meter(), ways(task_of(TRAIN[0]))[0]
    rows = measure_pool([TRAIN[0], TEST[0]], Meter(slow={slow}))
    assert [row["id"] for row in rows] == [TRAIN[0].id, TEST[0].id]
    assert rows[0]["heavy"] == sorted(len(way) * (1000 if way == slow else 1) for way in ways(task_of(TRAIN[0])))
    assert ("light" in rows[0], "light" in rows[1]) == (True, False)
    meter.measure_many = lambda pairs: [Cost(meter.tier, None, "timeout") for _ in pairs]
    with pytest.raises(RuntimeError, match="timeout"):
        measure_pool(TRAIN[:1], meter)


def test_the_frozen_pool_is_read_only_as_it_was_written_and_by_the_same_tier(tmp_path, monkeypatch):
    monkeypatch.setattr(efficiency, "TRAIN", 4)
    monkeypatch.setattr(efficiency, "load_problems", lambda _, split: TRAIN if split == "train" else TEST[:2])
    efficiency.write(Meter(), tmp_path)
    pool = load_pool(Meter(), tmp_path)
    assert len(pool.costs["light"]) == 4
    assert set(pool.costs["heavy"]) > set(pool.costs["light"])
    other = SimpleNamespace(tier="cachegrind")
    with pytest.raises(ValueError, match=r"by superblocks .* cachegrind .* measures it again"):
        load_pool(other, tmp_path)
    rows = lzma.decompress((tmp_path / "pool.jsonl.xz").read_bytes()).replace(b"9", b"8", 1)
    (tmp_path / "pool.jsonl.xz").write_bytes(lzma.compress(rows))
    with pytest.raises(ValueError, match="not what was frozen"):
        load_pool(Meter(), tmp_path)


def test_the_committed_pool_has_wide_problems_in_train_and_test():
    python = json.loads((efficiency.FOLDER / "pool.json").read_text())["python"]
    efficiency_python, efficiency._python = efficiency._python, lambda: python
    try:
        pool = load_pool(Meter())
    finally:
        efficiency._python = efficiency_python
    for problems in (load_problems("tiny_contests", "test"), TRAIN):
        assert all(problem.id in pool.costs["heavy"] for problem in problems)
        assert 0.2 < sum(map(pool.wide, problems)) / len(problems) < 0.8
        assert all(pool.contrast(problem) >= 1 for problem in problems)
    assert all(list(costs) == sorted(costs) for kind in pool.costs.values() for costs in kind.values())
    assert max(costs[-1] / costs[0] for costs in pool.costs["light"].values()) < math.e, "light inputs hide slow ways"


TABLE = pd.DataFrame(
    {
        "problem_id": ["a", "b", "c", "d"],
        "error_type": ["success", "success", "success", "wrong_answer"],
        "cost": [100.0, 800.0, np.nan, np.nan],
        "hidden_cost": [101.0, 790.0, np.nan, np.nan],
        "best": [100, 200, 100, 100],
        "wide": [False, True, True, True],
    }
)
POOL = Pool("t", {"heavy": {"a": (100, 110), "b": (200, 400, 1600), "c": (100, 900), "d": (100, 900)}})


def test_costs_are_summarized_for_all_and_for_wide_problems():
    summary = summarize_costs(TABLE, POOL)
    assert list(summary.n) == [4, 3]
    assert list(summary.accepted) == [0.75, pytest.approx(2 / 3)]
    assert list(summary.right_on_heavy) == [pytest.approx(2 / 3), 0.5]
    assert list(summary.times_best) == [pytest.approx(2.0), pytest.approx(4.0)]
    assert list(summary.over_2x) == [0.5, 1.0]
    assert summary.log_beyond["wide"] == pytest.approx(math.log(2) / math.log(8) / 3)
    assert summary.dps_norm["all"] == pytest.approx((100 + 100 / 3) / 4)


def test_a_speed_up_pairs_the_problems_that_both_solve():
    faster = TABLE.assign(cost=[100.0, 400.0, 100.0, 100.0])
    table = speed_ups(TABLE, faster)
    assert list(table.n) == [2, 1]
    assert list(table.speed_up) == [pytest.approx(math.sqrt(2)), pytest.approx(2.0)]


def test_hidden_inputs_find_a_program_that_knows_only_the_others():
    assert hidden_check(TABLE[TABLE.problem_id != "c"])["wrong"] == 0
    assert hidden_check(TABLE)["wrong"] == 1


def test_a_policy_is_measured_on_what_it_solves(judge, monkeypatch):
    problems = [light(problem) for problem in TEST[:3]]
    written = [ways(task_of(problems[0]))[0], "print('no')", ways(task_of(problems[2]))[-1]]
    answers = [[SimpleNamespace(text=f"```python\n{program}```")] for program in written]
    monkeypatch.setattr("lib.tiny.efficiency_eval.generate", lambda *_, **__: answers)
    pool = Pool("superblocks", {"heavy": {problem.id: (50, 100) for problem in problems}})
    meter = Meter()
    table = measure_policy(None, None, problems, judge, meter, pool, max_new_tokens=9, seed=0)
    assert list(table.error_type) == ["success", "wrong_answer", "success"]
    assert list(table.cost.notna()) == [True, False, True]
    assert len({problem.tests for _, problem in meter.pairs}) == 4, "two inputs for each of two problems"
