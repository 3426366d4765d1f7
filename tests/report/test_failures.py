"""Failures: each rule on a real program, judged by the real judge; what is drawn; and what is written again.

The programs under `POLICIES` are what policies of this laboratory wrote (artifacts/tiny/*/qa_logs). Three kinds of
failures that none of them shows were written by hand.
"""

import csv
import json
from dataclasses import replace

import pytest
from tiny_policy import make_model, make_tokenizer

from lib.judge import Judge
from lib.judge.answers import extract
from lib.judge.verdict import Verdict
from lib.policy.prompts import answer
from lib.problems import load_problems
from lib.report import failures
from lib.report.failures import CLASSES, Failure, as_text, classify, draw, failure_record, inputs_of, regenerate

STDIO = {one.id.partition(".")[0]: one for one in load_problems("tiny_contests", "valid")}
FUNCTIONS = {one.id: one for one in load_problems("tiny_mbpp", "test")}
READ = "n = int(input())\na = list(map(int, input().split()))\n"

POLICIES = {
    "syntax": ("valid_0107", READ.replace("input", "raw_input") + "a.sort()\nprint sorted(a)[(len(a) - 1) // 2]"),
    "too slow": (
        "valid_0102",
        READ + "a = [abs(x) for x in a]\na = [sum(a[:i + 1]) for i in range(len(a))]\nprint(sorted(a)[-1] if a else 0)",
    ),
    "edge case": (
        "valid_0087",
        READ + "a = a[:4]\nfor i in range(1, len(a)):\n    a[i] = max(a[i], a[i - 1])\n"
        "a = [x * 3 for x in a]\nprint(max(sorted(set(a)), key=a.count))",
    ),
    "crash": (
        "valid_0041",
        READ + 'a.reverse()\na = [sum(map(int, str(x))) for x in a]\nprint(*a if a else ["EMPTY"])',
    ),
    "logic": (
        "valid_0086",
        READ + "for i in range(1, len(a)):\n    a[i] += a[i - 1]\na = [x * 7 for x in a]\n"
        'print(sum(a) // len(a) if a else "EMPTY")',
    ),
}
BY_HAND = {
    "endless loop": ("valid_0107", READ + "b = []\nwhile a:\n    b.append(min(a))\nprint(b)"),
    "no program": ("valid_0107", "I would sort the numbers first and then weigh each of them"),
    "I/O format": ("valid_0041", READ + "a = [sum(map(int, str(abs(x)))) for x in a[::-1]]\nprint(a or 'EMPTY')"),
}


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as judge:
        yield judge


def failure(judge, problem, program: str) -> Failure:
    problem = replace(problem, time_limit=0.1)  # a third of what the program that is too slow takes
    text = answer(program) if "\n" in program else program
    return Failure("contests_valid", problem, text, False, judge.judge(extract(text).program, problem))


@pytest.mark.parametrize("name", [*POLICIES, *BY_HAND])
def test_a_program_falls_into_its_class(judge, name):
    problem, program = (POLICIES | BY_HAND)[name]
    assert classify(failure(judge, STDIO[problem], program)).name == name


def test_the_program_of_a_failure_is_the_block_that_was_judged():
    text = answer("print(1)") + "\nor\n" + answer("print(2)")
    failed = Failure(
        "contests_valid",
        next(iter(STDIO.values())),
        text,
        False,
        Verdict(False, 0.0, "wrong_answer", 0, 1, 0.0),
        "first",
    )
    assert failed.extraction.program == "print(1)"


def test_every_class_has_an_example_words_and_a_repair():
    assert {one.name for one in CLASSES} == {*POLICIES, *BY_HAND}
    assert all(one.rule and one.repair for one in CLASSES)


@pytest.mark.parametrize(
    ("program", "name"),
    [
        (READ + "a = int(input())\nprint(a)", "I/O format"),  # reads a line too many
        ("n = int(input())\na = [int(input())]\nprint(a)", "I/O format"),  # takes a line of numbers for one
        (READ + "a = [sum(a[:i + 1]) for i in range(len(a))]\nprint(max(a) if a else 0)", "logic"),  # slow and wrong
    ],
)
def test_near_a_border_a_program_falls_on_the_side_that_the_rule_says(judge, program, name):
    assert classify(failure(judge, STDIO["valid_0102"], program)).name == name


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("def other(a):\n    return a\n", "I/O format"),  # not the function that was asked for
        ("def solve():\n    return 0\n", "I/O format"),
        ("def solve(a):\n    print(a)\n", "I/O format"),  # prints where it should return
        ("def solve(a):\n    return a[-10 ** 6]\n", "crash"),
        ("def solve(a):\n    return 'nothing like it'\n", "logic"),
    ],
)
def test_functions_have_a_form_of_their_own(judge, program, name):
    problem = FUNCTIONS["tiny_mbpp/179"]
    found = failure(judge, problem, program)
    assert classify(found).name == name
    assert len(inputs_of(problem)) == found.verdict.total, "a source for each case"


def test_what_is_no_failure_of_the_program_has_no_class():
    for error_type in ("success", "api_error"):
        verdict = Verdict(error_type == "success", 1.0, error_type, 1, 1, 0.0)
        with pytest.raises(ValueError, match=error_type):
            classify(Failure("mbpp", FUNCTIONS["tiny_mbpp/179"], "", False, verdict))


def test_a_failure_is_recorded_and_shown_with_its_first_failed_test(judge):
    line = failure_record(failure(judge, STDIO["valid_0041"], POLICIES["crash"][1]))
    assert json.loads(json.dumps(line)) == line
    assert (line["class"], line["test"], line["ended"]) == ("crash", 1, "runtime_error")
    text = as_text(line)
    assert "3 of 14 tests passed. Test 1 ended in: runtime_error (ValueError" in text
    assert "Input: 10\n-7 15 13 17" in text
    assert "Expected: 4 4 4 6 4 4 8 4 6 7" in text
    assert STDIO["valid_0041"].prompt in text


def test_a_function_s_failure_shows_the_assert_and_what_came_back(judge):
    problem = FUNCTIONS["tiny_mbpp/179"]
    text = as_text(failure_record(failure(judge, problem, "def solve(a):\n    return 10 ** 6\n")))
    assert "Test: assert solve(" in text
    assert "Got: 1000000" in text
    assert "Expected" not in text, "the assert says it"


def run_of(folder, rows: list[tuple[str, str, str]], protocol: str = "EVAL@1"):
    """A run's folder with this protocol and these (problem, error_type, pass_ratio)."""
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps({"protocol": protocol}))
    with (folder / "verdicts.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["dataset", "problem_id", "error_type", "pass_ratio"])
        writer.writerows(["contests_valid", *row] for row in rows)
    return folder


def test_failures_are_drawn_with_a_seed_and_never_a_success_or_a_failure_of_the_judge(tmp_path):
    kinds = ["success", "wrong_answer", "timeout", "api_error"]
    folder = run_of(tmp_path / "run", [(str(n), kinds[n % 4], "0.5") for n in range(40)])
    first = draw(folder, 8, seed=0)
    assert draw(folder, 8, seed=0) == first != draw(folder, 8, seed=1)
    assert len(first) == 8
    assert {row["error_type"] for row in draw(folder, 99, seed=0)} == {"wrong_answer", "timeout"}
    assert len(draw(folder, 99, seed=0)) == 20


def test_sampled_programs_can_not_be_written_again(tmp_path):
    with pytest.raises(ValueError, match="run was measured under EVAL@5"):
        draw(run_of(tmp_path / "run", [], protocol="EVAL@5"), 5, seed=0)


def test_a_regenerated_program_is_compared_with_what_was_recorded(judge, tmp_path, monkeypatch):
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)  # random weights: its text is no Python
    problems = list(STDIO.values())[:3]
    rows = [(one.id, "syntax_error", "0.0000") for one in problems[:2]] + [(problems[2].id, "timeout", "0.0000")]
    drawn = draw(run_of(tmp_path / "run", rows), 3, seed=0)
    found, changed = regenerate(drawn, {"contests_valid": problems}, model, tokenizer, judge, max_new_tokens=12)
    assert [one.problem.id for one in found] == [one.id for one in problems]
    assert changed == 1, "the last one had been recorded as a timeout"
    assert {classify(one).name for one in found} == {"no program"}
    monkeypatch.setattr(failures, "extract", lambda text, block: extract(answer(problems[0].solutions[0])))
    if problems[0].solutions:
        found, changed = regenerate(drawn, {"contests_valid": problems}, model, tokenizer, judge, max_new_tokens=2)
        assert changed == 3
