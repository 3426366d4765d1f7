"""Prompts: a problem becomes chat messages, a completion becomes a program.

`messages` and `answer` write the two sides of a conversation; `extract` reads the second side back, whatever a model
made of it. Prompts are kept short because every token of them is paid for in each of the thousands of samples of a run.
"""

import ast
import re
from dataclasses import dataclass

from lib.problems import Problem

# An opening fence may stand behind prose on its line ("Solution: ```python"); a closing one has its line to itself and
# is at least as long, as in CommonMark, so that three backticks inside a string of the program end nothing.
_OPENING = re.compile(r"(?P<fence>`{3,})[ \t]*(?P<language>[\w+#.-]*)[ \t]*\r?(?:\n|\Z)")
_PYTHON = ("python", "python3", "py")


@dataclass(frozen=True)
class Extraction:
    """The program found in a completion, and the form in which it came.

    | form     | the completion                                                               |
    |---|---|
    | block    | one complete block and nothing else, as asked: the only one with `format_ok` |
    | prose    | one complete block with text around it                                       |
    | several  | more than one block                                                          |
    | unclosed | a block without its closing fence, mostly because the completion was cut off |
    | bare     | no block, but Python                                                         |
    | no code  | no block that could be Python, and no Python either                          |
    | empty    | nothing, or a block with nothing in it                                       |
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
    """A program as the assistant writes it: one fenced block. `extract` gives it back without outer blank lines."""
    longest = max((len(ticks) for ticks in re.findall(r"`{3,}", program)), default=2)
    fence = "`" * (longest + 1)
    return "\n".join([f"{fence}python", program.strip("\r\n"), fence])


def count_tokens(tokenizer, conversation: list[dict[str, str]]) -> int:
    """Tokens of a whole conversation as the tokenizer's chat template writes it."""
    return len(tokenizer.apply_chat_template(conversation, return_dict=False))


def drop_long_prompts(problems: list[Problem], tokenizer, limit: int, instruction: str = "") -> list[Problem]:
    """The problems whose prompt has at most `limit` tokens; prints how many had more."""
    kept = [problem for problem in problems if count_tokens(tokenizer, messages(problem, instruction)) <= limit]
    if len(kept) < len(problems):
        print(f"{len(problems) - len(kept)} of {len(problems)} prompts have more than {limit} tokens: left out")
    return kept


def extract(completion: str) -> Extraction:
    """Finds the program in a completion; never raises.

    1. The first complete block marked as Python; without one, the first complete block without a language.
    2. Else the first block that was opened and never closed, up to the end.
    3. Else there is no block that could be Python: the whole text is taken as bare code.
    Complete blocks in other languages are passed over. The outer blank lines of a program are dropped, its indentation
    is kept.
    """
    unmarked = unclosed = None
    position = 0
    while opening := _OPENING.search(completion, position):
        language = opening["language"].lower()
        closing = re.compile(rf"^ {{0,3}}{opening['fence']}`*[ \t]*\r?$", re.MULTILINE).search(
            completion, opening.end()
        )
        if closing is None:
            if language in ("", *_PYTHON):
                unclosed = completion[opening.end() :].strip("\r\n")
            break
        program = completion[opening.end() : closing.start()].strip("\r\n")
        before, after = completion[: opening.start()].strip(), completion[closing.end() :].strip()
        more = _OPENING.search(before) or _OPENING.search(after)
        form = "several" if more else "prose" if before or after else "block"
        found = Extraction(program, form if program.strip() else "empty")
        if language in _PYTHON:
            return found
        if language == "" and unmarked is None:
            unmarked = found
        position = closing.end()
    if unmarked is not None:
        return unmarked
    if unclosed is not None:
        return Extraction(unclosed, "unclosed")
    program = completion.strip("\r\n")
    return Extraction(program, "empty" if not program.strip() else "bare" if _is_python(program) else "no code")


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last three: NUL bytes, deep nesting
        return False
    return True
