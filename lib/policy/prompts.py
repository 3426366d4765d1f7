"""Prompts: a problem becomes chat messages, a completion becomes a program.

`messages` and `answer` write the two sides of a conversation; `extract` reads the program back from what a model wrote.
Prompts are short because every prompt token is paid for in each of a run's thousands of samples.
"""

import ast
import re
from dataclasses import dataclass

from lib.problems import Problem

# An opening fence may follow prose on its line ("Solution: ```python"). A closing fence is alone on its line and at
# least as long, as in CommonMark, so that three backticks inside a string of the program don't close the block.
_OPENING = re.compile(r"(?P<fence>`{3,})[ \t]*(?P<language>[\w+#.-]*)[ \t]*\r?(?:\n|\Z)")
_PYTHON = ("python", "python3", "py")


@dataclass(frozen=True)
class Extraction:
    """The program extracted from a completion, and the form in which it was written.

    | form     | the completion                                                               |
    |---|---|
    | block    | one complete block and nothing else: the only form with `format_ok`          |
    | prose    | one complete block with text around it                                       |
    | several  | more than one block                                                          |
    | unclosed | a block without a closing fence, mostly a truncated completion               |
    | bare     | no block, but Python                                                         |
    | no code  | no block, and no Python                                                      |
    | empty    | nothing, or an empty block                                                   |
    """

    program: str
    form: str

    @property
    def format_ok(self) -> bool:
        return self.form == "block"


def messages(problem: Problem, instruction: str = "") -> list[dict[str, str]]:
    """The conversation that asks for a program: one user message, the statement and then `instruction`, if any."""
    content = problem.prompt.strip()
    if instruction:
        content = f"{content}\n{instruction}"
    return [{"role": "user", "content": content}]


def answer(program: str) -> str:
    """A program as the assistant writes it: one fenced block. `extract` inverts it, up to outer blank lines."""
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


def extract(completion: str) -> Extraction:
    """Extracts the program from a completion; never raises.

    1. The first complete block marked as Python; without one, the first complete block without a language.
    2. Else the block that was opened and never closed, up to the end of the text.
    3. Else the whole text, as bare code.
    Complete blocks in other languages are skipped. Outer blank lines are removed, indentation is kept.
    """
    unmarked, position = None, 0
    while opening := _OPENING.search(completion, position):
        language = opening["language"].lower()
        fence = re.compile(rf"^ {{0,3}}{opening['fence']}`*[ \t]*\r?$", re.MULTILINE)
        closing = fence.search(completion, opening.end())
        if closing is None:
            if unmarked is None and language in ("", *_PYTHON):
                return Extraction(completion[opening.end() :].strip("\r\n"), "unclosed")
            break
        if language in _PYTHON or (language == "" and unmarked is None):
            block = _block(completion, opening, closing)
            if language in _PYTHON:
                return block
            unmarked = block
        position = closing.end()
    if unmarked is not None:
        return unmarked
    program = completion.strip("\r\n")
    return Extraction(program, "empty" if not program.strip() else "bare" if _is_python(program) else "no code")


def _block(completion: str, opening: re.Match[str], closing: re.Match[str]) -> Extraction:
    program = completion[opening.end() : closing.start()].strip("\r\n")
    before, after = completion[: opening.start()].strip(), completion[closing.end() :].strip()
    if not program.strip():
        return Extraction(program, "empty")
    if _OPENING.search(before) or _OPENING.search(after):
        return Extraction(program, "several")
    return Extraction(program, "prose" if before or after else "block")


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last three: NUL bytes, deep nesting
        return False
    return True
