"""Words and programs of the tiny world: definitions, other ways of writing them, and what each mistake comes to."""

import random

import pytest

from lib.judge import Judge
from lib.problems import Problem, Test
from lib.tiny.operations import ENDING, ENDINGS, HARD, OPERATION, OPERATIONS, Word
from lib.tiny.programs import FLAWS, Choice, Task, draft, function, program, statement
from lib.tiny.world import numbers, sample_task

WORDS = [*OPERATIONS, *ENDINGS]
SUM_OF_SQUARES = Task((("square", 0),), "sum", "-1")
LARGEST_EVEN = Task((("even", 0),), "largest", '"EMPTY"')
LISTED_AFTER_TWO = Task((("skip", 2), ("negate", 0)), "list", "0")


def run(word: Word, snippet: str, a: list[int], k: int) -> object:
    """What a snippet makes of the list: the list itself for an operation, the answer for an ending."""
    *before, value = snippet.replace("{k}", str(k)).split("\n")
    scope = {"a": list(a)}
    if word.name in OPERATION:
        exec("\n".join([*before, value]), scope)
        return scope["a"]
    exec("\n".join([*before, f"answer = [{value}]"]), scope)
    return scope["answer"]


def lists(word: Word) -> list[list[int]]:
    """Lists that the word is defined for, the shortest among them."""
    rng = random.Random(word.name)
    return [a for a in ([], [5], [7, -2], *(numbers(rng) for _ in range(60))) if len(a) >= getattr(word, "needs", 0)]


def goes_wrong(word: Word, snippet: str, a: list[int], k: int) -> bool:
    try:
        return run(word, snippet, a, k) != run(word, word.fast[0], a, k)
    except (IndexError, TypeError, ValueError):
        return True


def drafts(task: Task, **odds: float) -> tuple[Choice, set[str]]:
    return draft(task, random.Random(0), lambda flaw, _: odds.get(flaw, 0.0))


def as_problem(task: Task, inputs: list[list[int]]) -> Problem:
    def text(answer: object) -> str:
        return " ".join(map(str, answer)) if isinstance(answer, list) else str(answer)

    tests = tuple(Test(f"{len(a)}\n{' '.join(map(str, a))}\n", text(task.solve(list(a)))) for a in inputs)
    return Problem(str(task.composition), "tiny", "train", "stdio", "", tests, time_limit=0.2)


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=2) as judge:
        yield judge


@pytest.mark.parametrize("word", WORDS, ids=lambda word: word.name)
def test_every_fast_and_every_slow_way_gives_what_the_definition_gives(word):
    definition, *others = (*word.fast, *word.slow)
    for a in lists(word):
        for k in getattr(word, "constants", (0,)):
            assert all(run(word, other, a, k) == run(word, definition, a, k) for other in others)


@pytest.mark.parametrize("word", [word for word in WORDS if word.wrong], ids=lambda word: word.name)
def test_every_wrong_way_goes_wrong_on_some_list(word):
    k = getattr(word, "constants", (0,))[0]
    for wrong in word.wrong:
        if (word.name, wrong) != ("list", "a"):  # there the list is right, and only its form is not
            assert any(goes_wrong(word, wrong, a, k) for a in lists(word)), wrong


def test_words_have_names_of_their_own_and_the_hard_ones_exist():
    assert len(OPERATION) + len(ENDING) == len(WORDS) == len({word.name for word in WORDS})
    assert {*OPERATION, *ENDING} >= HARD


def test_a_task_is_solved_by_its_definition_step_by_step():
    assert SUM_OF_SQUARES.solve([1, -2, 3]) == 14
    assert LARGEST_EVEN.solve([1, 8, 4, 9]) == 8
    assert LARGEST_EVEN.solve([1, 9]) == "EMPTY"
    assert LISTED_AFTER_TWO.solve([1, 2, 3, -4]) == [-3, 4]
    assert LISTED_AFTER_TWO.solve([1, 2]) == 0


def test_a_composition_is_the_names_whatever_the_constants():
    assert LISTED_AFTER_TWO.composition == ("skip", "negate", "list")
    assert Task((("skip", 3), ("negate", 0)), "list", "-1").composition == LISTED_AFTER_TWO.composition


def test_a_task_is_hard_or_slowly_written_when_a_part_of_it_is():
    assert LISTED_AFTER_TWO.hard
    assert not SUM_OF_SQUARES.hard
    assert Task((("square", 0), ("dedupe", 0)), "sum", "0").slow_written
    assert Task((("square", 0),), "mode", "0").slow_written
    assert not LARGEST_EVEN.slow_written


def test_statements_say_the_constants_and_what_to_answer_for_a_list_too_short():
    for seed in range(20):
        said = statement(LISTED_AFTER_TWO, random.Random(seed))
        assert any(way.format(k=2) in said for way in OPERATION["skip"].says)
        assert "0 if" in said
        assert "EMPTY if" in statement(LARGEST_EVEN, random.Random(seed)), "the word, without its quotes"
        assert " if " not in statement(SUM_OF_SQUARES, random.Random(seed)), "an empty list has a sum"


def test_each_form_asks_in_the_manner_of_its_set():
    contest, humaneval, mbpp = (
        statement(LARGEST_EVEN, random.Random(1), form, "f") for form in ("stdio", "humaneval", "mbpp")
    )
    assert contest.startswith(("Given n integers", "Read n and n integers"))
    assert "Print " in contest
    assert humaneval.startswith('def f(a):\n    """')
    assert humaneval.endswith('"""\n')
    assert mbpp.startswith("Write a function f(a): ")


def test_programs_without_flaws_are_accepted_in_every_way_of_writing(judge):
    rng, pairs = random.Random(7), []
    for depth in (1, 2, 3):
        for _ in range(25):
            task = sample_task(rng, depth)
            choice, flaws = draft(task, rng, lambda *_: 0.0)
            assert not flaws
            pairs.append(
                (program(task, choice), as_problem(task, [[], [3], [2, 2], *(numbers(rng) for _ in range(5))]))
            )
    verdicts = judge.judge_many(pairs)
    assert [source for (source, _), verdict in zip(pairs, verdicts, strict=True) if not verdict.accepted] == []
    assert {"import sys", "n = int(input())"} == {source.split("\n")[0] for source, _ in pairs}


def test_functions_without_flaws_return_what_the_definition_says():
    rng = random.Random(8)
    for _ in range(100):
        task = sample_task(rng, rng.randint(1, 3))
        choice, _ = draft(task, rng, lambda *_: 0.0)
        scope: dict = {}
        exec(function(task, choice, "answer"), scope)
        for a in ([], [3], numbers(rng)):
            assert scope["answer"](list(a)) == task.solve(list(a))


FIRST_OF_DEDUPED = Task((("dedupe", 0),), "first", "0")
SHOWN = {  # flaw -> (task, an input that shows it, what the judge says)
    "slow": (FIRST_OF_DEDUPED, list(range(-6000, 6000)), "timeout"),
    "wrong": (Task((("differences", 0),), "sum", "0"), [3, 5, -1], "wrong_answer or runtime_error"),
    "unguarded": (LARGEST_EVEN, [], "runtime_error"),
    "reader": (SUM_OF_SQUARES, [1, 2, 3], "wrong_answer"),
    "python2": (SUM_OF_SQUARES, [1, 2, 3], "syntax_error"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flaw_fails_in_its_own_way_where_a_program_without_it_is_accepted(judge, flaw):
    task, shows, expected = SHOWN[flaw]
    choice, flaws = drafts(task, **{flaw: 1.0})
    assert flaws == {flaw}
    assert judge.judge(program(task, choice), as_problem(task, [shows])).error_type in expected
    sound, none = drafts(task)
    assert not none
    assert judge.judge(program(task, sound), as_problem(task, [shows])).accepted


def test_slow_programs_are_right_on_small_inputs(judge):
    choice, _ = drafts(FIRST_OF_DEDUPED, slow=1.0)
    assert judge.judge(program(FIRST_OF_DEDUPED, choice), as_problem(FIRST_OF_DEDUPED, [[], [3, 3, 1]])).accepted


def test_printing_a_list_with_its_brackets_is_a_flaw_of_format_and_not_of_the_list():
    task = Task((("square", 0),), "list", "0")
    choice, flaws = draft(task, random.Random(0), lambda flaw, word: float(flaw == "wrong" and word == "list"))
    assert flaws == {"format"}
    assert program(task, choice).splitlines()[-1].startswith("print(a")


def test_odds_are_asked_for_every_flaw_with_the_word_it_would_be_at():
    asked = set()
    task = Task((("dedupe", 0), ("square", 0)), "largest", "0")
    draft(task, random.Random(0), lambda flaw, word: asked.add((flaw, word)) or 0.0)
    assert asked == {
        ("slow", "dedupe"),
        ("wrong", "dedupe"),
        ("wrong", "square"),
        ("wrong", "largest"),
        ("unguarded", "largest"),
        ("reader", "largest"),
        ("python2", "largest"),
    }
