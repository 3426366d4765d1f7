import csv
import json

import pytest
from tiny_policy import make_model, make_tokenizer, teach

from lib.evaluate import QA_PER_ERROR_TYPE, evaluate
from lib.judge import Judge
from lib.judge.verdict import Verdict
from lib.metrics import JudgeFailure
from lib.problems import Problem, Test

# What the policy has learned by heart to answer, and what the judge must say of it.
ANSWERS = {
    "add": ("a, b = map(int, input().split())\nprint(a + b)", "success"),
    "subtract": ("a, b = map(int, input().split())\nprint(a + b)", "wrong_answer"),
    "multiply": ("print(", "syntax_error"),
    "divide": ("print(1 // 0)", "runtime_error"),
    "wait": ("while True: pass", "timeout"),
}
RESULTS = {"add": (12, 5), "subtract": (2, 5), "multiply": (35, 0), "divide": (1, 7), "wait": (0, 0)}


def problem(prompt: str, name: str) -> Problem:
    tests = tuple(Test(given, f"{out}\n") for given, out in zip(("7 5\n", "5 0\n"), RESULTS[prompt], strict=True))
    difficulty = "easy" if prompt == "add" else "hard"
    return Problem(name, "tiny", "test", "stdio", prompt, tests, time_limit=0.2, difficulty=difficulty)


SETS = {
    "contests_test": [problem(prompt, f"c{n}") for n, prompt in enumerate(ANSWERS)],
    "mbpp_test": [problem("add" if n == 7 else "multiply", f"m{n}") for n in range(8)],
}


@pytest.fixture(scope="module")
def policy():
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    loss = teach(model, tokenizer, {prompt: program for prompt, (program, _) in ANSWERS.items()}, steps=250)
    assert loss < 0.05, "the policy must know its answers by heart"
    return model, tokenizer


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as judge:
        yield judge


def test_an_evaluation_says_what_the_judge_said_of_each_answer(policy, judge, tmp_path):
    seen = []
    found = evaluate(
        *policy, SETS, judge, tmp_path, max_new_tokens=60, batch_size=4, progress=lambda *done: seen.append(done)
    )
    assert (found["protocol"], found["decoding"]["max_new_tokens"]) == ("EVAL@1", 60)
    contests, mbpp = found["datasets"]["contests_test"], found["datasets"]["mbpp_test"]
    for kind in ("wrong_answer", "syntax_error", "runtime_error", "timeout"):
        assert contests[f"{kind}_rate"] == 1 / 5
    assert (contests["n"], contests["accepted_at_1"], contests["pass_ratio_mean"]) == (5, 1 / 5, 1.5 / 5)
    assert (contests["format_rate"], contests["truncation_rate"]) == (1.0, 0.0)
    assert contests["by_difficulty"]["easy"]["accepted_at_1"] == 1
    assert (mbpp["n"], mbpp["accepted_at_1"], mbpp["syntax_error_rate"]) == (8, 1 / 8, 7 / 8)
    assert seen == [(4, 13), (8, 13), (12, 13), (13, 13)]

    with open(tmp_path / "verdicts.csv", newline="") as file:
        verdicts = list(csv.DictReader(file))
    assert [row["problem_id"] for row in verdicts] == [problem.id for problems in SETS.values() for problem in problems]
    assert [row["error_type"] for row in verdicts[:5]] == [error_type for _, error_type in ANSWERS.values()]
    assert verdicts[1]["pass_ratio"] == "0.5000"


def test_the_qa_log_keeps_some_of_each_error_type_with_prompt_and_response(policy, judge, tmp_path):
    evaluate(*policy, SETS, judge, tmp_path, max_new_tokens=60)
    contests, mbpp = (
        [json.loads(line) for line in (tmp_path / "qa_logs" / f"{name}.jsonl").read_text().splitlines()]
        for name in SETS
    )
    assert {row["error_type"] for row in contests} == {error_type for _, error_type in ANSWERS.values()}
    assert [row["error_type"] for row in mbpp] == ["success"] + ["syntax_error"] * QA_PER_ERROR_TYPE
    assert mbpp[0]["prompt"] == "add"
    assert mbpp[0]["response"] == f"```python\n{ANSWERS['add'][0]}\n```"
    assert (mbpp[0]["passed"], mbpp[0]["total"], mbpp[0]["accepted"]) == (2, 2, True)


def test_the_same_evaluation_again_gives_the_same_files_and_figures_but_for_the_times(policy, judge, tmp_path):
    first, again = (evaluate(*policy, SETS, judge, tmp_path / name, max_new_tokens=60) for name in ("1", "2"))
    assert first.pop("times").keys() == again.pop("times").keys()
    assert first == again
    files = [path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*") if path.is_file()]
    assert len(files) == 3
    assert all((tmp_path / "1" / path).read_bytes() == (tmp_path / "2" / path).read_bytes() for path in files)


def test_nothing_is_written_when_the_judge_fails_too_often(policy, tmp_path):
    class BrokenJudge:
        def judge_many(self, submissions):
            return [Verdict(False, 0.0, "api_error", 0, 2, 0.0, feedback="no worker left") for _ in submissions]

    with pytest.raises(JudgeFailure, match=r"13 of 13 programs.*no worker left"):
        evaluate(*policy, SETS, BrokenJudge(), tmp_path, max_new_tokens=60)
    assert not list(tmp_path.iterdir())


def test_an_empty_evaluation_is_refused(policy, judge, tmp_path):
    with pytest.raises(ValueError, match="every set is empty"):
        evaluate(*policy, {"contests_test": []}, judge, tmp_path, max_new_tokens=60)
