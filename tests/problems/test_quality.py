"""Quality: what makes a problem unreliable, what the tests let through, and that training leaves such problems out."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from lib.judge import Judge
from lib.problems import ManifestError, Problem, Test, load_problems, manifest, read_problems
from lib.problems.ledger import Ledger, read_ledger
from lib.problems.quality import assess, stated_reasons, summary
from lib.runs import paths

ADD, FIRST, CRASH = "print(sum(map(int, input().split())))", "print(input().split()[0])", "print(1 // 0)"
TESTS = tuple(Test(f"{a} {a % 3}\n", f"{a + a % 3}\n") for a in (3, 4, 5, 6, 7))


def problem(name: str, correct: tuple[str, ...] = (), incorrect: tuple[str, ...] = (), prompt: str = "Add.") -> Problem:
    solutions = {"solutions": correct, "incorrect_solutions": incorrect}
    return Problem(name, "tiny_contests", "train", "stdio", prompt, TESTS, time_limit=0.5, **solutions)


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as judge:
        yield judge


@pytest.mark.parametrize(
    ("statement", "reasons"),
    [
        ("Print the sum of all numbers, or -1 if there is none.", []),
        ("If there are multiple answers, print any of them.", ["several valid outputs"]),
        ("You may output any permutation.", ["several valid outputs"]),
        ("If there are several answers, Petya will be satisfied by any of them.", ["several valid outputs"]),
        ("You can print the edges in any order.", ["several valid outputs"]),
        ("Print one integer - any positive value of x.", ["several valid outputs"]),
        ("Reconstruct any correct sequence or print -1.", ["several valid outputs"]),
        ("Any sequence of at most 20000 moves will be accepted.", ["several valid outputs"]),
        ("There can be several answers.", ["several valid outputs"]),
        ("If there are multiple possible answers, print the lexicographically smallest one.", []),
        ("If there are multiple optimal colors, print the color with the minimum number.", []),
        ("You can print each letter in any case; yes, Yes and YES will be accepted.", []),
        ("In how many ways can he choose two suspects?", []),
        ("In one operation he can choose any index and add 1. She did not want any of them.", []),
        ("The ages are given in any order. Print their sum.", []),
        ("This is an interactive problem. Flush after each query.", ["interactive"]),
        ("Numbers a<image>b are given.", ["needs an image"]),
        ("Any of the numbers may be negative.", []),
    ],
)
def test_a_statement_says_why_its_tests_cannot_be_trusted(statement, reasons):
    assert stated_reasons(problem("p", prompt=statement)) == reasons


def test_too_few_tests_are_a_reason():
    assert stated_reasons(replace(problem("p"), tests=TESTS[:4])) == ["too few tests"]
    asserts = tuple(Test(f"assert f({n}) == {n}") for n in range(3))
    function = replace(problem("p"), kind="function", tests=asserts)
    assert stated_reasons(function) == []
    assert stated_reasons(replace(function, tests=asserts[:2])) == ["too few tests"]
    check = Test("def check(f):\n" + "".join(f"    assert f({n}) == {n}\n" for n in range(3)) + "check(f)\n")
    assert stated_reasons(replace(function, tests=(check,))) == [], "HumanEval's one test holds many asserts"


def test_two_expected_outputs_for_one_input_are_a_reason():
    tests = (*TESTS, replace(TESTS[0], output="-1\n"))
    assert stated_reasons(replace(problem("p"), tests=tests)) == ["two expected outputs for one input"]
    assert stated_reasons(replace(problem("p"), tests=(*TESTS, replace(TESTS[0], output="3")))) == []


def test_the_judge_tells_which_problems_own_programs_disagree(judge):
    problems = [
        problem("good", (ADD, ADD + "\n", CRASH), (FIRST, CRASH, "import sys\n" + ADD)),
        problem("disagree", (ADD, FIRST, FIRST + "\n")),
        problem("none", (FIRST, CRASH)),
        problem("unknown"),
    ]
    found = assess(problems, judge)
    assert {one.id: one.reasons for one in found} == {
        "good": (),  # a program that crashes gives no other answer
        "disagree": ("correct programs disagree",),
        "none": ("no correct program passes",),
        "unknown": (),
    }
    assert (found[0].correct, found[0].correct_accepted) == (3, 2)
    assert (found[0].incorrect, found[0].incorrect_accepted) == (3, 1), "one of them passes all tests"
    whole = summary(found)
    assert (whole["problems"], whole["unreliable"], whole["unreliable_share"]) == (4, 2, 0.5)
    assert whole["false_positive_rate"] == 1 / 3
    assert whole["correct_accepted_rate"] == 3 / 8
    assert summary([])["unreliable_share"] is None


def test_what_the_judge_failed_on_says_nothing():
    class BrokenJudge:
        def judge_many(self, pairs):
            with Judge(workers=1) as judge:
                return [replace(verdict, error_type="api_error", accepted=False) for verdict in judge.judge_many(pairs)]

    (found,) = assess([problem("p", (ADD,), (FIRST,))], BrokenJudge())
    assert (found.reasons, found.correct, found.incorrect) == ((), 0, 0)


@pytest.mark.parametrize("place", [("tiny_contests", "train"), ("tiny_mbpp", "train")])
def test_training_leaves_the_marked_problems_out_and_counts_them(tmp_path, capsys, place):
    class Run:
        ledger = Ledger(tmp_path)
        preset = {"sets": {"train": {"source": place[0], "split": place[1], "role": "train"}}}  # noqa: RUF012

    marks = (manifest.folder() / f"{'-'.join(place)}.unreliable.jsonl").read_text().splitlines()
    marked = {json.loads(line)["id"] for line in marks}
    kept, whole = read_problems(Run, "train", purpose="train"), load_problems(*place)
    assert {one.id for one in whole} - {one.id for one in kept} == marked
    assert sum(kept.dropped.values()) - sum(whole.dropped.values()) == len(marked)
    [line] = read_ledger(tmp_path)
    assert line["left_out"] == kept.dropped
    message = capsys.readouterr().out
    assert message.startswith(f"train: {len(kept)} problems to train on")
    assert all(f"left out: {count} {reason}" in message for reason, count in kept.dropped.items())
    assert len(read_problems(Run, "train", purpose="report")) == len(whole), "a report shows them"


def test_the_committed_marks_are_what_the_judge_says(judge):
    marks = (manifest.folder() / "tiny_contests-train.unreliable.jsonl").read_text().splitlines()
    by_id = {one.id: one for one in load_problems("tiny_contests", "train")}
    lines = [json.loads(line) for line in marks]
    unmarked = [one for one in by_id.values() if one.solutions and one.id not in {line["id"] for line in lines}][:20]
    found = assess([by_id[line["id"]] for line in lines] + unmarked, judge, incorrect=False)
    assert [list(one.reasons) for one in found] == [line["reasons"] for line in lines] + [[]] * len(unmarked)


def test_a_set_that_was_frozen_anew_must_be_judged_again(monkeypatch):
    problems = load_problems("tiny_mbpp", "train")
    monkeypatch.setattr(manifest, "checksum", lambda *_: "another")
    with pytest.raises(
        ManifestError, match=r"not been judged since it was frozen: python -m lib.problems.quality write tiny_mbpp/"
    ):
        manifest.reliable(problems, "tiny_mbpp", "train")


def test_the_command_starts_without_a_warning():
    command = [sys.executable, "-W", "error", "-m", "lib.problems.quality", "--help"]
    done = subprocess.run(command, cwd=paths.root(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
