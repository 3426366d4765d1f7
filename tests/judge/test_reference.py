"""Reference solutions of the real sets are accepted; skipped where the rows are not at hand. HumanEval whole, of the
others a fixed sample: `python tests/bench/references.py` judges all of them."""

import gzip
import json
from pathlib import Path

import pytest

from lib.problems import Problem, Test, load_problems

ROWS = Path(__file__).resolve().parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(
    not ROWS.is_dir(), reason="there is no ../shared/data with real rows beside the project"
)


def accepted(judge, pairs: list[tuple[str, Problem]]) -> int:
    verdicts = judge.judge_many(pairs)
    for verdict, (_, problem) in zip(verdicts, pairs, strict=True):
        if not verdict.accepted:
            print(problem.id, verdict.error_type, f"{verdict.passed}/{verdict.total}", verdict.feedback)
    return sum(verdict.accepted for verdict in verdicts)


def humaneval() -> list[tuple[str, Problem]]:
    problems = load_problems("humaneval", source=ROWS / "humaneval" / "HumanEval.jsonl.gz")
    return [(problem.solutions[0], problem) for problem in problems]


def mbpp() -> list[tuple[str, Problem]]:
    file, splits = ROWS / "mbpp" / "mbpp.jsonl", ("prompt", "test", "validation", "train")
    problems = [problem for split in splits for problem in load_problems("mbpp", split, file, frozen=False)]
    return [(problem.solutions[0], problem) for problem in problems]


def codecontests() -> list[tuple[str, Problem]]:
    rows = json.loads(gzip.decompress((ROWS / "codecontests" / "train_correct_python3_300.json.gz").read_bytes()))
    problems, pairs = {}, []
    for row in rows:
        tests = tuple(Test(*pair) for pair in zip(row["inputs"], row["outputs"], strict=True))
        key = (row["name"], tests)
        if key not in problems:  # the rows name no limits
            problems[key] = Problem(
                row["name"], "codecontests", "train", "stdio", "", tests, time_limit=10.0, memory_limit=1024
            )
        pairs.append((row["solution"], problems[key]))
    return pairs


@pytest.mark.parametrize(("pairs", "step", "count"), [(humaneval, 1, 164), (mbpp, 6, 163), (codecontests, 10, 30)])
def test_reference_solutions_are_accepted(judge, pairs, step, count):
    assert accepted(judge, pairs()[::step]) == count


def test_humaneval_without_the_prompts_helpers_in_the_program(judge):
    """Programs that define the entry point alone: the tests of 32, 38 and 50 bring the prompt's helpers along."""
    problems = {p.id: p for p in load_problems("humaneval", source=ROWS / "humaneval" / "HumanEval.jsonl.gz")}
    for number in (32, 38, 50):
        problem = problems[f"HumanEval/{number}"]
        whole = problem.solutions[0]
        alone = "import math\n" + whole[whole.index(f"def {problem.entry_point}") :]
        assert judge.judge(alone, problem).accepted


def test_humaneval_programs_that_do_nothing(judge):
    problems = load_problems("humaneval", source=ROWS / "humaneval" / "HumanEval.jsonl.gz")
    assert accepted(judge, [(f"def {p.entry_point}(*_): pass", p) for p in problems]) == 0
