"""Prompts: a problem becomes chat messages.

`messages` and `answer` write the two sides of a conversation; `lib.judge.answers` reads programs from completions.
Prompts are short because every prompt token is paid for in each of a run's thousands of samples.
"""

import re

from lib.problems import Problem


def messages(problem: Problem, instruction: str = "") -> list[dict[str, str]]:
    """The conversation that asks for a program: one user message, the statement and then `instruction`, if any."""
    content = problem.prompt.strip()
    if instruction:
        content = f"{content}\n{instruction}"
    return [{"role": "user", "content": content}]


def answer(program: str) -> str:
    """A program as the assistant writes it: one fenced block. `lib.judge.answers.extract` inverts it."""
    longest = max((len(ticks) for ticks in re.findall(r"`{3,}", program)), default=2)
    fence = "`" * (longest + 1)
    return "\n".join([f"{fence}python", program.strip("\r\n"), fence])


def prompt_ids(tokenizer, conversation: list[dict[str, str]]) -> list[int]:
    """A prompt as the tokenizer's chat template writes it, up to where the answer begins, as token ids."""
    return tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_dict=False)


def prompt_text(tokenizer, conversation: list[dict[str, str]]) -> str:
    """The same prompt as text."""
    return tokenizer.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)


def count_tokens(tokenizer, conversation: list[dict[str, str]]) -> int:
    """Tokens of a whole conversation as the tokenizer's chat template writes it."""
    return len(tokenizer.apply_chat_template(conversation, return_dict=False))


def drop_long_prompts(problems: list[Problem], tokenizer, limit: int, instruction: str = "") -> list[Problem]:
    """The problems whose prompt has at most `limit` tokens; prints how many were dropped."""
    kept = [problem for problem in problems if count_tokens(tokenizer, messages(problem, instruction)) <= limit]
    if len(kept) < len(problems):
        print(f"{len(problems) - len(kept)} of {len(problems)} prompts have more than {limit} tokens: excluded")
    return kept
