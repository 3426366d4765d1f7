"""Judged samples written down or drawn, for the tests of pairs and of best of n."""

import random

from lib.evaluation import best_of_n
from lib.judge import Verdict
from lib.problems import Problem
from lib.rewards import Sample

NUMBER = iter(range(10_000))


def sample(pass_ratio: float, error_type: str = "", problem: str = "p", tokens: int = 20, time: float = 0.01, text=""):
    """Of a problem with a hundred tests."""
    kind = error_type or ("success" if pass_ratio == 1 else "wrong_answer")
    passed = round(100 * pass_ratio)
    verdict = Verdict(kind == "success", passed / 100, kind, passed, 100, time)
    text = text or f"program {next(NUMBER)}"
    return Sample(text, tokens, False, text, verdict, Problem(problem, "tiny", "train", "stdio", problem, ()))


def some_samples(seed: int, n: int = 5) -> tuple[list[best_of_n.Sample], list[bool]]:
    drawn = random.Random(seed)
    outputs = [("6",), ("7",), ("8",), None]
    return (
        [best_of_n.Sample(10, passed=drawn.randrange(3), output=drawn.choice(outputs)) for _ in range(n)],
        [drawn.random() < 0.5 for _ in range(n)],
    )
