"""Overlap: planted copies of every kind are found, unrelated problems are not taken for copies."""

import random
from dataclasses import replace

import numpy
import pytest
from statements import VOCABULARY, problem, statement

from lib.problems import Problem, Test
from lib.problems.overlap import (
    canonical_solution,
    find_matches,
    normalise,
    overlap_matrix,
    removals,
    shingles,
    similarity,
)

STORY = statement(random.Random(1), 200)
SOLUTION = (
    'def solve(n, rows):\n    """Counts."""\n    best = 0\n    for row in rows:\n        best = max(best, row * n)\n'
    "    return best\n\nprint(solve(int(input()), map(int, input().split())))\n"
)
RENAMED = (
    "def f(k, xs):\n    # another hand\n    r = 0\n    for x in xs:\n        r = max(r, x * k)\n    return r\n\n"
    "print(f(int(input()), map(int, input().split())))\n"
)


def unlike(n: int, **changes) -> Problem:
    """A problem of its own."""
    return replace(problem(n, random.Random(n)), **changes)


def kinds(*problems: Problem) -> list[tuple[int, int, str]]:
    return [(match.first, match.second, match.kind) for match in find_matches(list(problems))]


def reworded(text: str, share: float) -> str:
    """`text` with a share of its words replaced."""
    rng = random.Random(7)
    return " ".join(rng.choice(VOCABULARY) if rng.random() < share else word for word in text.split())


@pytest.mark.parametrize(
    ("copy", "kind"),
    [
        (STORY, "statement"),
        (STORY.replace("\n\n", "  \r\n") + "\n", "statement"),
        (STORY.upper().replace(".", " !"), "normalised statement"),
        (STORY.replace(" n ", " m ").replace("a_i", "b_j").replace("a_n", "b_m"), "normalised statement"),
        (STORY.replace(" ", "\u00a0").replace(",", "，"), "normalised statement"),  # as translators leave it
        (f"$\\textbf{{{STORY}}}$", "normalised statement"),
        (reworded(STORY, 0.08), "near statement"),
        (STORY + " " + " ".join(VOCABULARY[:60]), "near statement"),
        (" ".join(STORY.split()[40:]), "near statement"),
    ],
    ids=["same", "white space", "case", "renamed variables", "translated", "mark-up", "reworded", "longer", "shorter"],
)
def test_a_copied_statement_is_found(copy, kind):
    problems = [unlike(1, prompt=STORY), *map(unlike, range(2, 12)), unlike(12, prompt=copy)]
    assert kinds(*problems) == [(0, 11, kind)]


def test_the_same_tests_with_another_story_are_found():
    first, second = unlike(1), unlike(2)
    shuffled = [
        replace(test, input=test.input.replace("\n", " \r\n"), visibility="public") for test in first.tests[::-1]
    ]
    assert kinds(first, replace(second, tests=tuple(shuffled))) == [(0, 1, "tests")]
    half = replace(second, tests=first.tests[:5] + second.tests[5:])
    assert kinds(first, half) == [(0, 1, "tests")]
    assert kinds(first, replace(second, tests=first.tests[:4] + second.tests[4:])) == []


def test_the_same_asserts_about_a_function_of_another_name_are_found():
    def function(n: int, source: str) -> Problem:
        return unlike(n, kind="function", tests=tuple(Test(line) for line in source.splitlines()))

    mbpp = function(1, "assert double(11) == 22\nassert double(7) == 14")
    check = "def check(candidate):\n    assert candidate(7) == 14\n    assert candidate(11) == 22\n"
    humaneval = unlike(2, kind="function", tests=(Test(check),))
    other = function(3, "assert double(11) == 23\nassert double(7) == 14")
    assert kinds(mbpp, humaneval, other) == [(0, 1, "tests")]


def test_the_same_solution_under_other_names_is_found():
    assert kinds(unlike(1, solutions=(SOLUTION,)), unlike(2, solutions=("print(1)", RENAMED))) == [(0, 1, "solution")]
    other = RENAMED.replace("max", "min")
    assert kinds(unlike(1, solutions=(SOLUTION,)), unlike(2, solutions=(other,))) == []


def test_programs_that_tell_nothing_are_not_compared():
    assert canonical_solution("print 'Python 2'") is None
    assert canonical_solution("print(input())") is None
    assert kinds(unlike(1, solutions=("print(input())",)), unlike(2, solutions=("print(input())",))) == []


def test_one_problem_under_one_id_is_no_copy_of_itself():
    assert kinds(unlike(1), unlike(1, dataset="humaneval", split="test")) == []


def test_unrelated_problems_are_not_taken_for_copies():
    problems = [problem(n, random.Random(f"unrelated {n}")) for n in range(300)]
    assert find_matches(problems) == [], "none of 44,850 pairs"
    runs = [shingles(normalise(one.prompt)) for one in problems[:60]]
    assert max(similarity(a, b) for i, a in enumerate(runs) for b in runs[:i]) < 0.25


def test_similarity_is_jaccards():
    a, b = (shingles(text.split()) for text in ("one two three four", "zero one two three"))
    assert similarity(a, b) == 1 / 3
    assert similarity(a, a) == 1.0
    assert len(shingles(["word"])) == 1
    assert shingles(["b", "c", "d", "b", "c", "d"]).dtype == numpy.uint64


def test_the_copy_on_the_training_side_goes_and_the_reason_is_told():
    train, test = {"dataset": "codecontests", "split": "train"}, {"dataset": "humaneval", "split": "test"}
    select = {"dataset": "codecontests", "split": "valid"}
    problems = [
        unlike(1, prompt=STORY, **train),
        unlike(2, prompt=reworded(STORY, 0.05), **test),
        unlike(3, tests=unlike(4).tests, **train),
        unlike(4, **train),
        unlike(5, prompt=unlike(6).prompt, **select),
        unlike(6, **test),
        unlike(7, prompt="Find the largest of the list, then print it.", **train),
        unlike(8, prompt="Find the largest of the list, then return it.", **test),
    ]
    matches = find_matches(problems)
    assert [match.kind for match in matches] == ["near statement", "tests", "statement", "near statement"]
    assert removals(problems, matches) == {0: "near statement as in humaneval", 3: "same tests as in codecontests"}
    matrix = overlap_matrix([f"{one.dataset} {one.split}" for one in problems], matches)
    assert matrix.loc["codecontests train", "humaneval test"] == 2
    assert matrix.loc["codecontests train", "codecontests train"] == 2
    assert matrix.loc["codecontests valid", "humaneval test"] == 1


def test_of_three_train_copies_the_first_stays():
    problems = [unlike(n, prompt=STORY) for n in (1, 2, 3)]
    assert removals(problems, find_matches(problems)) == dict.fromkeys((1, 2), "same statement as in codecontests")


@pytest.mark.parametrize("text", [STORY, STORY.upper(), reworded(STORY, 0.05)], ids=["same", "case", "near"])
def test_every_train_copy_of_a_test_problem_goes_although_they_are_copies_of_one_another(text):
    test = {"dataset": "humaneval", "split": "test"}
    problems = [
        unlike(1, prompt=STORY),
        unlike(2, prompt=STORY),
        unlike(3, prompt=text),
        unlike(4, prompt=text, **test),
    ]
    assert removals(problems, find_matches(problems)).keys() == {0, 1, 2}
    assert removals(problems[::-1], find_matches(problems[::-1])).keys() == {1, 2, 3}
