"""The noisy corpus on which the tiny base model is trained: statements with programs as people post them.

Because of the habits below, the *most likely* program often lacks a check for short lists, is slow, badly formatted or
in Python 2, and is sometimes wrong. So greedy decoding has room to improve. Compositions of the evaluation sets never
occur, and long compositions are rare, so that they remain to be learnt.
"""

import random
from collections.abc import Iterator

from lib.problems import mbpp_prompt
from lib.tiny.programs import NAMES, Task, draft, function, program, statement
from lib.tiny.world import is_held_out, mbpp_asserts, numbers, sample_task

DEPTHS = (0.4, 0.4, 0.2)  # shares of compositions of 1, 2 and 3 operations
FORMS = {"stdio": 0.7, "humaneval": 0.15, "mbpp": 0.15}

# flaw -> word -> probability; "" is any other word. Above one half, greedy decoding makes the mistake.
HABITS: dict[str, dict[str, float]] = {
    "slow": {"": 0.2, **dict.fromkeys(("dedupe", "prefix", "frequency", "mode"), 0.75)},
    "wrong": {
        "": 0.03,
        **dict.fromkeys(("digits", "differences", "weigh", "rotate", "skip", "mean", "place"), 0.75),
        **dict.fromkeys(("greater", "list"), 0.62),
    },
    "unguarded": {"": 0.3, **dict.fromkeys(("median", "mode", "place"), 0.7)},
    "python2": {"": 0.03, **dict.fromkeys(("count", "median"), 0.6)},
    "reader": {"": 0.02},
}
TYPOS = 0.02  # share of programs that lost a character


def pairs(n: int, seed: int) -> Iterator[tuple[str, str]]:
    """`n` random (prompt, program as somebody wrote it)."""
    rng = random.Random(seed)
    while n:
        task = sample_task(rng, rng.choices((1, 2, 3), DEPTHS)[0])
        if not is_held_out(task.composition):
            n -= 1
            yield _pair(task, rng)


def odds(flaw: str, word: str) -> float:
    """How likely a program of the corpus has `flaw` at the operation or ending `word`."""
    return HABITS[flaw].get(word, HABITS[flaw][""])


def _pair(task: Task, rng: random.Random) -> tuple[str, str]:
    form, name = rng.choices(tuple(FORMS), tuple(FORMS.values()))[0], rng.choice(NAMES)
    prompt = statement(task, rng, form, name)
    choice, _ = draft(task, rng, odds)
    if form == "mbpp":
        examples = [(a, task.solve(list(a))) for a in (numbers(rng), numbers(rng), [])]
        prompt = mbpp_prompt(prompt, mbpp_asserts(name, examples))
    code = program(task, choice) if form == "stdio" else function(task, choice, name)
    if rng.random() < TYPOS:
        lost = rng.randrange(len(code))
        code = code[:lost] + code[lost + 1 :]
    return prompt, code
