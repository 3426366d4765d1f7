"""Synthetic contest problems of realistic length, for tests and for the bench.

Their stories are drawn from one vocabulary; between them stand the phrases that all statements share.
"""

import random
from itertools import accumulate

from lib.problems import Problem, Test

_SYLLABLES = [a + b for a in "bcdfglmnprst" for b in "aeiou"]
VOCABULARY = [first + second + third for first in _SYLLABLES[:30] for second in _SYLLABLES for third in ("", "n", "r")]
_WEIGHTS = list(accumulate(1 / (rank + 10) for rank in range(len(VOCABULARY))))  # as words of a language: Zipf's law
_COMMON = [
    "Input The first line of the input contains a single integer t — the number of test cases.",
    "The second line contains n integers a_1, a_2, ..., a_n (1 ≤ a_i ≤ 10^9).",
    "Output For each test case print one integer on a separate line.",
    "If there is no such sequence, print -1.",
    "In the first example the answer is as follows.",
]


def statement(rng: random.Random, words: int = 300) -> str:
    story = rng.choices(VOCABULARY, cum_weights=_WEIGHTS, k=words)
    sentences = [" ".join(story[i : i + 12]).capitalize() + "." for i in range(0, words, 12)]
    return "\n\n".join([*sentences, *rng.sample(_COMMON, 4)])


def problem(n: int, rng: random.Random, tests: int = 10, split: str = "train") -> Problem:
    numbers = [[rng.randint(1, 10**6) for _ in range(20)] for _ in range(tests)]
    cases = tuple(Test(f"20\n{' '.join(map(str, row))}\n", f"{sum(row) % (n + 2)}\n") for row in numbers)
    name = rng.choice(VOCABULARY)
    solution = f"n = int(input())\n{name} = list(map(int, input().split()))\nprint(sum({name}) % {n + 2})\n"
    text = statement(rng, rng.randint(150, 450))
    return Problem(f"p{n}", "codecontests", split, "stdio", text, cases, solutions=(solution,))
