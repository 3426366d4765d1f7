"""The tiny world: sizes, schemas, what keeps its evaluation sets apart from train, and what its programs earn.

That rebuilding it gives the committed files is tested in `tests/test_notebooks.py`, where 00_tiny_world rebuilds it.
"""

import json
import lzma
from collections import Counter
from functools import cache

import pytest

from lib.judge import Judge
from lib.problems import Problem, load_problems
from lib.tiny import world
from lib.tiny.operations import ENDINGS, OPERATIONS

SPLITS = {"train": 2200, "valid": 117, "valid_big": 500, "test": 165}


@cache
def problems(name: str, split: str) -> list[Problem]:
    return load_problems(name, split)


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=2) as judge:
        yield judge


def test_the_sets_have_the_sizes_of_the_real_ones():
    assert {split: len(problems("tiny_contests", split)) for split in SPLITS} == SPLITS
    assert len(problems("tiny_humaneval", "test")) == 164
    assert len(problems("tiny_mbpp", "test")) == 200


def test_the_world_has_words_enough():
    assert len(OPERATIONS) >= 25
    assert len(ENDINGS) >= 10
    assert all(len(entry.says) >= 2 for entry in (*OPERATIONS, *ENDINGS))
    assert sum(bool(entry.slow) for entry in (*OPERATIONS, *ENDINGS)) >= 5


def test_no_composition_of_an_evaluation_problem_occurs_twice_or_in_train():
    compositions = {s: [tuple(p.id.split()[1:]) for p in problems("tiny_contests", s)] for s in SPLITS}
    assert len({one for split in compositions.values() for one in split}) == sum(SPLITS.values())
    held_out = {split: [world.is_held_out(one) for one in found] for split, found in compositions.items()}
    assert not any(held_out["train"])
    assert all(all(held_out[split]) for split in ("valid", "valid_big", "test"))


def test_solutions_exist_for_a_part_of_train_mostly_the_easy_one():
    solved = Counter(p.difficulty for p in problems("tiny_contests", "train") if p.solutions)
    total = Counter(p.difficulty for p in problems("tiny_contests", "train"))
    shares = [solved[level] / total[level] for level in sorted(total)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.4 > 0.1 > shares[-1]
    assert sum(solved.values()) < sum(total.values()) / 3


@pytest.mark.parametrize("split", ["train", "test"])
def test_trivial_programs_earn_at_most_a_tenth_of_the_hidden_tests(split):
    """The best of the constants and echoes *for each problem*, on average: also no mixture of them earns more."""
    trivial = [*(lambda _, c=c: c for c in ("0", "1", "-1", "2", "EMPTY", "")), str, lambda text: text.split("\n")[1]]
    earned = []
    for problem in problems("tiny_contests", split):
        hidden = [test for test in problem.tests if test.visibility != "public"]
        assert len(hidden) == 12
        earned.append(max(sum(f(t.input).split() == t.output.split() for t in hidden) for f in trivial) / len(hidden))
    assert sum(earned) / len(earned) <= 0.1


def test_the_best_constant_is_really_judged_that_low(judge):
    sample = problems("tiny_contests", "test")[:40]
    verdicts = judge.judge_many([("print(0)", problem) for problem in sample], progress=False)
    assert not any(verdict.accepted for verdict in verdicts)
    assert sum(verdict.pass_ratio for verdict in verdicts) / len(verdicts) <= 0.1


def test_some_labelled_solutions_are_wrong_and_most_are_right(judge):
    pairs = [(s, p) for p in problems("tiny_contests", "train")[:400] for s in p.solutions]
    verdicts = judge.judge_many(pairs, progress=False)
    rejected = sum(not verdict.accepted for verdict in verdicts)
    assert 0 < rejected < 0.08 * len(verdicts)


def test_incorrect_programs_fail_in_every_way(judge):
    pairs = [(s, p) for p in problems("tiny_contests", "test") for s in p.incorrect_solutions]
    errors = Counter(verdict.error_type for verdict in judge.judge_many(pairs, progress=False))
    assert errors["success"] < 0.05 * len(pairs)
    assert all(errors[name] for name in ("wrong_answer", "runtime_error", "timeout"))


def test_a_quadratic_program_is_right_on_small_inputs_and_times_out_on_the_large_one(judge):
    problem = next(p for p in problems("tiny_contests", "train") if p.solutions and _has_large_input(p))
    wasteful = problem.solutions[0] + "\nfor x in range(n):\n    for y in range(n):\n        pass\n"
    quick, slow = judge.judge(problem.solutions[0], problem), judge.judge(wasteful, problem)
    assert quick.accepted
    assert slow.error_type == "timeout"
    assert slow.passed == 2  # the public tests; the large input comes next and ends the submission


def test_canonical_solutions_of_the_function_twins_are_accepted(judge):
    programs = [row["prompt"] + row["canonical_solution"] for row in _rows("humaneval")]
    programs += [row["code"] for row in _rows("mbpp")]
    twins = problems("tiny_humaneval", "test") + problems("tiny_mbpp", "test")
    verdicts = judge.judge_many(list(zip(programs, twins, strict=True)), progress=False)
    assert all(verdict.accepted for verdict in verdicts)


def _rows(name: str) -> list[dict]:
    with lzma.open(world.FOLDER / name / "test.jsonl.xz", "rt") as lines:
        return [json.loads(line) for line in lines]


def _has_large_input(problem: Problem) -> bool:
    return any(len(test.input) > 9999 for test in problem.tests)
