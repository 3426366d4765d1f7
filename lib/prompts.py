"""Prompts: a problem becomes chat messages, a completion becomes a program.

`messages` and `answer` write the two sides of a conversation; `extract` reads the second side back, whatever a model
made of it. Prompts are kept short because every token of them is paid for in each of the thousands of samples of a run.
"""

import re
from dataclasses import dataclass

from lib.problems import Problem

# An opening fence may stand behind prose on its line ("Solution: ```python"); a closing one has its line to itself and
# is at least as long, as in CommonMark, so that three backticks inside a string of the program end nothing.
_OPENING = re.compile(r"(?P<fence>`{3,})[ \t]*(?P<language>[\w+#.-]*)[ \t]*\r?(?:\n|\Z)")
_PYTHON = ("python", "python3", "py")


@dataclass(frozen=True)
class Extraction:
    """The program found in a completion.

    `format_ok`: the completion was one complete, non-empty Python block and nothing else. `unclosed`: the program comes
    from a block whose closing fence is missing, mostly because the completion was cut off.
    """

    program: str
    format_ok: bool
    unclosed: bool = False


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


def extract(completion: str) -> Extraction:
    """Finds the program in a completion; never raises.

    1. The first complete block marked as Python; without one, the first complete block without a language.
    2. Else the first block that was opened and never closed, up to the end (`unclosed`).
    3. Else there is no block that could be Python: the whole text is taken as bare code.
    Complete blocks in other languages are passed over. The outer blank lines of a program are dropped, its indentation
    is kept. Only case 1 with nothing around the block is `format_ok`.
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
        alone = not completion[: opening.start()].strip() and not completion[closing.end() :].strip()
        found = Extraction(program, format_ok=alone and bool(program.strip()))
        if language in _PYTHON:
            return found
        if language == "" and unmarked is None:
            unmarked = found
        position = closing.end()
    if unmarked is not None:
        return unmarked
    if unclosed is not None:
        return Extraction(unclosed, format_ok=False, unclosed=True)
    return Extraction(completion.strip("\r\n"), format_ok=False)
