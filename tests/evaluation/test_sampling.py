"""Judged samples: which completion, verdict and problem end up in which sample, and how they were asked for."""

from types import SimpleNamespace

import pytest

from lib.evaluation import sampling
from lib.judge import Verdict
from lib.metrics import JudgeFailure
from lib.policy.generation import Completion
from lib.policy.prompts import messages
from lib.policy.protocols import Protocol
from lib.problems import Problem

PROBLEMS = [Problem(name, "tiny", "train", "stdio", f"print {name}", ()) for name in ("a", "b")]
DECODING = Protocol("rollouts", max_new_tokens=9, samples=2, temperature=0.7)
TEXTS = {"a": ["```python\nprint(1)\n```", "I print:\n```python\nprint(2)\n```"], "b": ["```python\nprint(3", "x"]}


@pytest.fixture
def asked(monkeypatch) -> SimpleNamespace:
    """What `generate` was called with; its completions are those of TEXTS, the third of them cut off."""
    asked = SimpleNamespace()

    def generate(model, tokenizer, chats, **options):
        asked.chats, asked.options = chats, options
        return [[Completion(text, (1,) * len(text), text.endswith("3")) for text in texts] for texts in TEXTS.values()]

    monkeypatch.setattr(sampling, "generate", generate)
    return asked


class Judge:
    """Gives the n-th program n / 8 of the tests; the judge fails on the first `failures`."""

    answer_block = "last"

    def __init__(self, failures: int = 0):
        self.failures = failures

    def judge_many(self, pairs, progress):
        self.pairs = pairs
        failed = Verdict(False, 0.0, "api_error", 0, 8, 0.0)
        verdicts = [Verdict(False, n / 8, "wrong_answer", n, 8, 0.1) for n in range(len(pairs))]
        return [failed] * self.failures + verdicts[self.failures :]


def test_each_sample_has_its_completion_program_verdict_and_problem(asked):
    judge = Judge()
    groups = sampling.sample_and_judge("model", "tokenizer", PROBLEMS, judge, DECODING, instruction="Be short.", seed=5)
    assert asked.chats == [messages(problem, "Be short.") for problem in PROBLEMS]
    assert asked.options == {"samples": 2, "max_new_tokens": 9, "temperature": 0.7, "seed": 5}
    assert [len(group) for group in groups] == [2, 2]
    flat = [sample for group in groups for sample in group]
    assert [sample.problem.id for sample in flat] == ["a", "a", "b", "b"]
    assert [sample.completion for sample in flat] == [*TEXTS["a"], *TEXTS["b"]]
    assert [sample.tokens for sample in flat] == [len(text) for text in (*TEXTS["a"], *TEXTS["b"])]
    assert [sample.truncated for sample in flat] == [False, False, True, False]
    assert [sample.format_ok for sample in flat] == [True, False, False, False]
    assert [sample.verdict.passed for sample in flat] == [0, 1, 2, 3]
    assert [sample.max_tokens for sample in flat] == [9] * 4
    assert [(sample.program, sample.problem) for sample in flat] == judge.pairs
    assert [program.strip() for program, _ in judge.pairs[:2]] == ["print(1)", "print(2)"]


def test_by_default_seed_0_without_an_instruction(asked):
    sampling.sample_and_judge("model", "tokenizer", PROBLEMS, Judge(), DECODING)
    assert asked.chats == [messages(problem, "") for problem in PROBLEMS]
    assert asked.options["seed"] == 0


def test_more_judge_failures_than_the_limit_end_it(asked):
    with pytest.raises(JudgeFailure, match="1 of 4"):
        sampling.sample_and_judge("model", "tokenizer", PROBLEMS, Judge(failures=1), DECODING)
    sampling.sample_and_judge("model", "tokenizer", PROBLEMS, Judge(failures=1), DECODING, limit=0.25)
