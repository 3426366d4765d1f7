"""Reference solutions of the real sets are accepted, all of them; skipped where the rows are not at hand."""

import gzip
import json
import time
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


def test_humaneval(judge):
    problems = load_problems("humaneval", source=ROWS / "humaneval" / "HumanEval.jsonl.gz")
    assert accepted(judge, [(problem.solutions[0], problem) for problem in problems]) == 164


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


def test_mbpp(judge):
    file = ROWS / "mbpp" / "mbpp.jsonl"
    splits = ("prompt", "test", "validation", "train")
    problems = [problem for split in splits for problem in load_problems("mbpp", split, file, frozen=False)]
    start = time.monotonic()
    assert accepted(judge, [(problem.solutions[0], problem) for problem in problems]) == 974
    print(f"{time.monotonic() - start:.1f} s")


def test_codecontests(judge):
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
    assert accepted(judge, pairs) == 300
