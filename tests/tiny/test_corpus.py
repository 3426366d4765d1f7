"""The noisy corpus: repeatable, apart from the evaluation sets, and mistaken as often as its habits say."""

import ast
from collections import Counter

import pytest

from lib.tiny import corpus
from lib.tiny.corpus import DEPTHS, FORMS, HABITS, TYPOS, odds, pairs
from lib.tiny.operations import ENDING, OPERATION
from lib.tiny.programs import FLAWS, draft
from lib.tiny.world import is_held_out

N = 2000


def is_python3(program: str) -> bool:
    try:
        ast.parse(program)
    except SyntaxError:
        return False
    return True


@pytest.fixture(scope="module")
def found():
    return list(pairs(N, seed=0))


@pytest.fixture(scope="module")
def drafted():
    """The tasks of the corpus with the flaws of their programs, seen on their way through the real `draft`."""
    seen = []

    def watched(task, rng, odds):
        choice, flaws = draft(task, rng, odds)
        seen.append((task, flaws))
        return choice, flaws

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "draft", watched)
        list(pairs(N, seed=1))
    return seen


def share(drafted, flaw: str, word: str) -> float:
    with_word = [flaws for task, flaws in drafted if word in task.composition]
    return sum(flaw in flaws for flaws in with_word) / len(with_word)


def test_the_same_seed_gives_the_same_pairs_and_another_seed_others(found):
    assert len(found) == N
    assert list(pairs(50, seed=0)) == found[:50]
    assert list(pairs(50, seed=1)) != found[:50]


def test_no_composition_of_an_evaluation_set_occurs(drafted):
    assert len(drafted) == N
    assert not any(is_held_out(task.composition) for task, _ in drafted)


def test_long_compositions_are_few(drafted):
    depths = Counter(len(task.steps) for task, _ in drafted)
    assert [depths[depth] / N for depth in (1, 2, 3)] == pytest.approx(DEPTHS, abs=0.06)


def test_all_forms_occur_as_often_as_they_should(found):
    forms = Counter(
        "humaneval" if prompt.startswith("def ") else "mbpp" if prompt.startswith("Write ") else "stdio"
        for prompt, _ in found
    )
    assert {form: forms[form] / N for form in FORMS} == pytest.approx(FORMS, abs=0.04)
    for prompt, program in found[:300]:
        is_program = "input()" in program or "stdin" in program or "raw_" in program
        assert is_program == prompt.startswith(("Given ", "Read ")) or not is_python3(program)


def test_habits_speak_of_known_flaws_and_words_with_something_to_go_wrong():
    assert set(HABITS) == set(FLAWS)
    for flaw, habit in HABITS.items():
        for word in set(habit) - {""}:
            entry = OPERATION.get(word) or ENDING[word]
            if flaw in ("slow", "wrong"):
                assert getattr(entry, flaw), f"{word} has no {flaw} way"
    assert odds("slow", "dedupe") > 0.5 > odds("slow", "sort")


def test_programs_are_flawed_as_often_as_the_habits_say(drafted):
    for flaw, word in (("slow", "dedupe"), ("slow", "mode"), ("unguarded", "largest"), ("python2", "median")):
        assert share(drafted, flaw, word) >= odds(flaw, word) - 0.15, "other words of the composition may add to it"
    flawless = [task for task, flaws in drafted if not flaws and "list" not in task.composition]
    assert 0.1 < len(flawless) / N < 0.6


def test_a_part_of_the_programs_is_no_python_3_at_all(found, drafted):
    broken = [program for _, program in found if not is_python3(program)]
    python2 = sum("python2" in flaws for _, flaws in drafted) / N
    assert 0 < len(broken) / N < TYPOS + python2 + 0.02
    assert any("raw_input" in program for program in broken)
