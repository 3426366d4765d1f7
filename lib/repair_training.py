"""Training for repair: first the form of a dialogue by supervision, then GRPO over whole dialogues.

A policy that has only ever seen a statement and an answer doesn't know what to do with feedback. `lessons` makes the
dialogues that teach it, on problems of the train splits alone: programs that the policy itself wrote and that failed
public tests, what the judge said of them, and a program that all tests accept. The loss is on that last program.
"""

import random
from collections import Counter

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lib.best_of_n import public
from lib.generate import Completion, generate
from lib.problems import Problem
from lib.prompts import extract, messages
from lib.repair import Say

Lesson = tuple[list[dict[str, str]], str]  # conversation, program


def lessons(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: list[Problem],
    judge,
    say: Say,
    *,
    samples: int,
    max_new_tokens: int,
    rounds: int = 3,
    temperature: float = 1.0,
    instruction: str = "",
    seed: int = 0,
) -> tuple[list[Lesson], dict[str, int]]:
    """(conversation, program) pairs for `lib.sft.train_sft`: of each problem for which a right program is known, one
    without any feedback, and one dialogue after each different wrong program; counts of what there was."""
    chats = [messages(problem, instruction) for problem in problems]
    limits = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
    written = generate(model, tokenizer, chats, samples=samples, **limits)
    offered = [(one, problem) for problem, own in zip(problems, written, strict=True) for one in own]
    offered = [(one, problem) for one, problem in offered if public(problem)]
    shown = judge.judge_many([(extract(one.text).program, public(problem)) for one, problem in offered], progress=False)
    passed = [pair for pair, verdict in zip(offered, shown, strict=True) if verdict.accepted]
    solutions = [(one, problem) for problem in problems for one in problem.solutions[:1]]
    asked = [(extract(one.text).program, problem) for one, problem in passed] + solutions
    right: dict[str, list[str]] = {}
    for (program, problem), verdict in zip(asked, judge.judge_many(asked, progress=False), strict=True):
        if verdict.accepted and program not in right.setdefault(problem.id, []):
            right[problem.id].append(program)
    wrong: dict[str, list[tuple[Completion, str]]] = {}
    for (one, problem), verdict in zip(offered, shown, strict=True):
        known = wrong.setdefault(problem.id, [])
        if not (verdict.accepted or verdict.error_type == "api_error" or one.text in [c.text for c, _ in known]):
            known.append((one, say(public(problem), verdict)))
    rng, pairs, counts = random.Random(seed), [], Counter()
    for problem, chat in zip(problems, chats, strict=True):
        programs = right.get(problem.id, [])
        if not programs:
            counts["nothing right"] += 1
            continue
        pairs.append((chat, rng.choice(programs)))
        counts["single round"] += 1
        mistakes = wrong.get(problem.id, [])
        for first in range(len(mistakes)):
            depth = rng.randint(1, min(rounds - 1, len(mistakes)))
            others = rng.sample(mistakes[:first] + mistakes[first + 1 :], depth - 1)
            conversation = chat
            for one, told in [*others, mistakes[first]]:
                conversation = [
                    *conversation,
                    {"role": "assistant", "content": one.text},
                    {"role": "user", "content": told},
                ]
            pairs.append((conversation, rng.choice(programs)))
            counts[f"{depth + 1} rounds"] += 1
    return pairs, dict(counts)
