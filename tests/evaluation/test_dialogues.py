"""Repair dialogues with the real judge; the policy's answers are written here, round by round."""

import json
from dataclasses import replace

import pytest
from tiny_policy import make_model, make_tokenizer, teach

from lib.evaluation import dialogues as module
from lib.evaluation.dialogues import continued, resample, run_dialogues
from lib.evaluation.feedback import CONSTANT, constant_feedback, public_feedback, truncated
from lib.judge import Judge, Verdict
from lib.policy.generation import Completion, generate
from lib.policy.prompts import answer, messages
from lib.problems import Problem, Test
from lib.problems.public import only_public
from lib.report.repair_log import lines, write_dialogues

MARK = "91827364"
DOUBLE = Problem(
    "double",
    "tiny",
    "train",
    "stdio",
    "Read n and print it twice as large.",
    (
        Test("3\n", "6\n", "public"),
        Test("0\n", "0\n", "public"),
        Test(f"{MARK}\n", f"2{MARK}\n", "private"),
        Test(f"x{MARK}\n", f"1{MARK}\n", "generated"),
    ),
    time_limit=0.3,
)
TWICE = Problem(
    "twice",
    "tiny",
    "train",
    "function",
    "Write a function twice(a).",
    (
        Test("assert twice([3]) == [6]", visibility="public"),
        Test(f"assert twice([{MARK}]) == [2{MARK}]", visibility="private"),
        Test(f"assert twice('{MARK}') == '{MARK}3'", visibility="generated"),
    ),
    entry_point="twice",
)
HIDDEN = replace(DOUBLE, id="hidden", prompt="Hidden.", tests=DOUBLE.tests[2:])
RIGHT = "print(int(input()) * 2)"


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as judge:
        yield judge


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


class Scripted:
    """Stands for `generate`: gives each problem its programs, round by round, and keeps every prompt as text."""

    def __init__(self, tokenizer, monkeypatch, programs: dict[str, list[str]]):
        self.tokenizer, self.programs = tokenizer, {statement: list(own) for statement, own in programs.items()}
        self.prompts: list[str] = []
        monkeypatch.setattr(module, "generate", self)

    def __call__(self, model, tokenizer, prompts, samples=1, **_):
        found = []
        for ids in prompts:
            text = tokenizer.decode(ids)
            self.prompts.append(text)
            [own] = [programs for statement, programs in self.programs.items() if statement in text]
            written = [answer(own.pop(0)) for _ in range(samples)]
            ends = [(*tokenizer(one)["input_ids"], tokenizer.eos_token_id) for one in written]
            found.append([Completion(one, ids, False) for one, ids in zip(written, ends, strict=True)])
        return found


@pytest.fixture
def dialogues(tokenizer, judge, monkeypatch):
    """Has the given programs written as answers; returns the dialogues and the prompts of all rounds."""
    model = make_model(tokenizer)
    model.config.max_position_embeddings = 4096

    def run(
        programs: dict[Problem, list[str]] | list, rounds: int = 3, give_feedback=public_feedback, with_judge=judge
    ):
        script = Scripted(tokenizer, monkeypatch, {problem.prompt: own for problem, own in programs})
        problems = [problem for problem, _ in programs]
        return run_dialogues(
            model, tokenizer, problems, with_judge, give_feedback, rounds=rounds, max_new_tokens=64
        ), script.prompts

    return run


LEAKS = [
    "print(input())",  # wrong, and shows the input
    "n = input()\nprint(int(n) if n in ('3', '0') else 1 / 0)",  # wrong, and ends in an exception on a hidden test
    "n = input()\nraise ValueError(n)",
    "n = input()\nwhile n: pass",
    "print(input(",
    RIGHT,  # all public tests pass; the last hidden one is a ValueError which quotes its input
]


@pytest.mark.parametrize("first", LEAKS)
def test_no_prompt_of_any_round_holds_anything_of_a_test_that_is_not_public(dialogues, judge, first, tmp_path):
    functions = [
        "def twice(a):\n    return a",
        "def twice(a):\n    raise ValueError(a)",
        "def twice(a):\n    return [6] if a == [3] else a",
    ]
    found, prompts = dialogues([(DOUBLE, [first, "print(1 / 0)", "print(input() * 2)"]), (TWICE, functions)])
    assert len(prompts) == sum(len(one.turns) for one in found) > 3
    assert not [prompt for prompt in prompts if MARK in prompt]
    write_dialogues(tmp_path / "repair.jsonl", found, "contests_test")
    assert MARK not in (tmp_path / "repair.jsonl").read_text()
    # The marker does get into what the judge says of all tests: the assertion above can fail.
    verdict = judge.judge("n = input()\nraise ValueError(n)", replace(DOUBLE, tests=DOUBLE.tests[2:]))
    assert MARK in repr(verdict.tests)


def test_feedback_from_a_problem_with_hidden_tests_is_refused(judge):
    verdict = judge.judge("print(1)", DOUBLE)
    with pytest.raises(ValueError, match="double has tests that are not public"):
        public_feedback(DOUBLE, verdict)


def test_feedback_says_how_it_ended_what_was_asked_expected_and_got(judge):
    shown = only_public(DOUBLE)
    assert public_feedback(shown, judge.judge("print(int(input()) + 3)", shown)) == (
        "wrong_answer: 1 of 2 public tests passed\ninput: 0\nexpected: 0\ngot: 3"
    )
    both = public_feedback(shown, judge.judge("print(7)", shown), cases=2)
    assert both.count("expected:") == 2
    crashed = public_feedback(shown, judge.judge("a = []\nprint(a[int(input())])", shown), cases=0, traceback_lines=2)
    assert crashed.splitlines() == [
        "runtime_error: 0 of 2 public tests passed",
        "print(a[int(input())])",
        "IndexError: list index out of range",
    ]
    assert "SyntaxError" in public_feedback(shown, judge.judge("print(", shown))
    assert "limit" in public_feedback(shown, judge.judge("while True: pass", shown))
    function = only_public(TWICE)
    told = public_feedback(function, judge.judge("def twice(a):\n    return a", function))
    assert told.splitlines()[1:] == ["input: assert twice([3]) == [6]", "got: [3]"]


def test_feedback_is_short(judge, tokenizer):
    long = replace(DOUBLE, tests=(Test("1 " * 5000, "2 " * 5000, "public"),))
    verdict = judge.judge("print('7 ' * 5000)", long)
    assert len(public_feedback(long, verdict)) < 600
    cut = truncated(public_feedback, tokenizer, 40)(long, verdict)
    assert len(tokenizer(cut)["input_ids"]) <= 41
    assert public_feedback(long, verdict).startswith(cut[:20])
    assert truncated(constant_feedback, tokenizer, 40)(long, verdict) == CONSTANT


def test_only_what_failed_goes_on_and_a_dialogue_ends_when_the_public_tests_pass(dialogues):
    almost = "n = int(input())\nprint(n * 2 if n < 9 else 0)"  # public tests pass, hidden ones fail
    twice = "def twice(a):\n    return [2 * x for x in a]"
    found, prompts = dialogues([(DOUBLE, ["print(7)", almost]), (TWICE, [twice]), (HIDDEN, [RIGHT])])
    assert [(len(one.turns), one.ending) for one in found] == [(2, "passed"), (1, "passed"), (1, "no public tests")]
    assert len(prompts) == 4
    assert not found[0].last.verdict.accepted, "hidden tests don't keep it going"
    assert found[0].turns[0].feedback.startswith("wrong_answer: 0 of 2")
    assert found[0].last.feedback is None
    assert found[0].upto(1).ending == "rounds"
    assert found[1].upto(1).ending == "passed"


def test_a_dialogue_ends_after_the_last_round_and_when_a_program_comes_again(dialogues):
    [one], _ = dialogues([(DOUBLE, ["print(7)", "print(8)", RIGHT])], rounds=2)
    assert (len(one.turns), one.ending) == (2, "rounds")
    [one], _ = dialogues([(DOUBLE, ["print(7)", "print(7)", RIGHT])])
    assert (len(one.turns), one.ending) == (2, "repeated")


def test_a_failure_of_the_judge_ends_a_dialogue_and_is_no_wrong_program(dialogues):
    class Broken:
        answer_block = "last"

        def judge_many(self, pairs, progress):
            return [Verdict(False, 0.0, "api_error", 0, 2, 0.0) for _ in pairs]

    [one], _ = dialogues([(DOUBLE, [RIGHT])], with_judge=Broken())
    assert (len(one.turns), one.ending, one.last.verdict.error_type) == (1, "judge failed", "api_error")


def test_a_round_that_does_not_fit_into_the_context_is_not_begun(tokenizer, judge, monkeypatch):
    model = make_model(tokenizer)
    model.config.max_position_embeddings = 150
    Scripted(tokenizer, monkeypatch, {DOUBLE.prompt: ["print(7)"]})
    [one] = run_dialogues(model, tokenizer, [DOUBLE], judge, public_feedback, rounds=3, max_new_tokens=64)
    assert (len(one.turns), one.ending, one.last.feedback) == (1, "no room", None)


def test_a_dialogue_is_one_sequence_of_tokens_with_the_feedback_masked(dialogues, tokenizer):
    [one], prompts = dialogues([(DOUBLE, ["print(7)", "print(8)", RIGHT])])
    prompt, ids, mask = one.sequence()
    assert tokenizer.decode(prompt) == prompts[0]
    chat = [*one.last.prompt, {"role": "assistant", "content": one.last.completion.text}]
    whole = tokenizer.apply_chat_template(chat, tokenize=False).rstrip("\n")
    assert tokenizer.decode([*prompt, *ids]) == whole
    assert [*prompt, *ids][: len(one.last.prompt_ids)] == one.last.prompt_ids
    written = tokenizer.decode([token for token, own in zip(ids, mask, strict=True) if own])
    assert written == "".join(turn.completion.text + tokenizer.eos_token for turn in one.turns)
    told = tokenizer.decode([token for token, own in zip(ids, mask, strict=True) if not own])
    assert all(turn.feedback in told for turn in one.turns[:-1])


def test_the_next_prompt_keeps_an_answer_as_it_was_sampled_however_it_would_be_tokenized(tokenizer):
    chat = messages(DOUBLE)
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    letters = [tokenizer(letter)["input_ids"][0] for letter in "print(7)"]
    for end in ([tokenizer.eos_token_id], []):  # without: the answer was cut off
        completion = Completion("print(7)", (*letters, *end), not end)
        asked, following = continued(tokenizer, module.Turn(chat, ids, completion, ""), "no")
        assert following[: len(ids) + len(letters)] == [*ids, *letters]
        assert tokenizer.decode(following) == tokenizer.apply_chat_template(
            asked, add_generation_prompt=True, tokenize=False
        )


def test_a_template_that_rewrites_earlier_messages_is_refused(tokenizer, monkeypatch):
    template = tokenizer.chat_template.replace("{% for", "{{ messages | length }}{% for", 1)
    monkeypatch.setattr(tokenizer, "chat_template", template)
    turn = module.Turn(messages(DOUBLE), [1], Completion("x", (5,), True), "")
    with pytest.raises(ValueError, match="rewrites earlier messages"):
        continued(tokenizer, turn, "no")


def test_a_real_policy_reads_the_feedback_in_its_second_round(tokenizer, judge):
    """A policy that knows two answers by heart: one to the statement, one to the whole dialogue so far."""
    model, short = make_model(tokenizer), replace(DOUBLE, prompt="double")
    wrong = answer("print(7)")
    chat = [*messages(short), {"role": "assistant", "content": wrong}, {"role": "user", "content": CONSTANT}]
    rendered = tokenizer.apply_chat_template(chat, tokenize=False)
    inside = rendered.removeprefix("<|im_start|>user\n").removesuffix("<|im_end|>\n")
    assert teach(model, tokenizer, {"double": "print(7)", inside: RIGHT}, steps=60) < 0.1
    [one] = run_dialogues(model, tokenizer, [short], judge, constant_feedback, rounds=3, max_new_tokens=60)
    assert [turn.program for turn in one.turns] == ["print(7)", RIGHT]
    assert (one.ending, one.last.completion.ids[-1]) == ("passed", tokenizer.eos_token_id)
    again = generate(model, tokenizer, [one.last.prompt_ids], max_new_tokens=60)
    assert again == [[one.last.completion]]


def test_the_control_draws_again_for_what_failed_public_tests_and_for_nothing_else(
    dialogues, tokenizer, judge, monkeypatch
):
    missed = "n = int(input())\nprint(n * 2 if n < 9 else 0)"  # public tests pass, hidden ones fail
    found, _ = dialogues(
        [(DOUBLE, ["print(7)", RIGHT]), (HIDDEN, [RIGHT]), (replace(DOUBLE, prompt="Twin."), [missed])]
    )
    script = Scripted(tokenizer, monkeypatch, {DOUBLE.prompt: [RIGHT, "print(0)", missed]})
    limits = {"samples": 3, "max_new_tokens": 64, "temperature": 0.8}
    drawn = resample(make_model(tokenizer), tokenizer, found[:2], judge, **limits)
    assert script.prompts == [tokenizer.decode(found[0].turns[0].prompt_ids)], "the statement, without any feedback"
    assert [len(own) for own in drawn] == [3, 0]
    hidden = replace(DOUBLE, tests=DOUBLE.tests[2:])
    assert not judge.judge(RIGHT, hidden).accepted, "this problem can't be solved"
    assert [(one.passed, passed, accepted) for one, passed, accepted in drawn[0]] == [
        (2, True, False),
        (1, False, False),
        (2, True, False),
    ]
    assert resample(make_model(tokenizer), tokenizer, found[2:], judge, **limits) == [[]], "it passed its public tests"


def test_the_record_of_a_dialogue_has_one_line_per_round(dialogues, tmp_path):
    found, _ = dialogues([(DOUBLE, ["print(7)", "raise ValueError(input())", RIGHT])])
    write_dialogues(tmp_path / "repair.jsonl", found, "contests_test")
    rows = [json.loads(line) for line in (tmp_path / "repair.jsonl").read_text().splitlines()]
    assert rows == lines(found, "contests_test")
    assert [(row["round"], row["accepted"], row["feedback"] is None) for row in rows] == [
        (1, False, False),
        (2, False, False),
        (3, False, True),
    ]
    assert [row["error_type"] for row in rows] == ["wrong_answer", "runtime_error", "runtime_error"]
    assert rows[1]["prompt"][-1] == {"role": "user", "content": rows[0]["feedback"]}
    tests = rows[1]["tests"]
    assert [one["visibility"] for one in tests] == ["public", "public", "private", "generated"]
    assert (tests[0]["detail"], tests[2]["detail"]) == ("ValueError: 3", "ValueError")
    assert rows[-1]["ending"] == "passed"
