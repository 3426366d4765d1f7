"""Answers: reads the program from what a model wrote. Uses the standard library alone.

`extract` follows CommonMark 0.31 (fenced code, block quotes, list items) and departs from it where models do:
1. A closing fence may follow code or be followed by a tag or prose; an opening fence may follow prose on its line.
2. White space of any width before a fence counts as the indentation of a list item.
3. An opening fence that names a language ends the block before it, if that was not closed.
4. A fence inside a string of the program is text. Here, and wherever Markdown is ambiguous, the readings are tried in
   order of preference and the first that parses as Python wins; if none does, the first reading.
"""

import ast
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from .fences import WRAPPERS, Fence, closing, opening

BLOCKS = ("last", "first", "longest")  # rules that choose among several blocks

_TAG = re.compile(r"<(?P<end>/?)(?:(?P<answer>answer|solution)|think|thinking|thought|reasoning)>", re.IGNORECASE)
_OTHER_TAG = re.compile(r"\s*[<\[](\w{1,20})[>\]]")  # around bare code, as [PYTHON] of Code Llama
_END_TOKEN = re.compile(r"\s*(?:<\|\w+\|>|</s>|<end_of_turn>|<｜[^｜]+｜>)\s*\Z")
# Parsing takes up to 7 µs per character: longer texts count as no Python, so that any text is read within seconds.
_PARSED, _PARSED_IN_ALL = 100_000, 400_000
_TRIED = 30  # fences that are tried as the end of a block


@dataclass(frozen=True)
class Extraction:
    """The program extracted from a completion, and the form of the completion without its thinking.

    | form     | the completion                                                                               |
    |---|---|
    | block    | one complete block, closed as in CommonMark, and nothing else: the only form with `format_ok` |
    | prose    | one complete block with text or tags around it                                               |
    | several  | more than one block                                                                          |
    | unopened | a block without an opening fence, as after a prompt that ends with this fence                |
    | unclosed | a block without a closing fence, mostly a truncated completion                               |
    | bare     | no block, but Python                                                                         |
    | no code  | no block, and no Python                                                                      |
    | empty    | nothing, an empty block, or thinking that does not end                                       |
    """

    program: str
    form: str

    @property
    def format_ok(self) -> bool:
        return self.form == "block"


def extract(completion: str, block: str = "last") -> Extraction:
    """Extracts the program from a completion; never raises, except ValueError for an unknown rule `block`.

    Only what follows the last closing tag of thinking is read, and nothing of thinking that does not end. Of several
    blocks the best kind counts: marked as Python and complete; marked as Python and cut off; unmarked with a program;
    unmarked; marked otherwise with a program. Among these, `block` chooses the last (as LiveCodeBench and EvalScope),
    the first or the longest. Without blocks the program is the text in `<answer>`, or the whole text. Outer line ends
    are removed; indentation is kept, except that of list items and quotes.
    """
    if block not in BLOCKS:
        raise ValueError(f"no rule {block!r} to choose among several blocks; use one of {', '.join(BLOCKS)}")
    end = len(completion)
    while token := _END_TOKEN.search(completion[max(0, end - 60) : end]):
        end -= len(token[0])
    completion, reader = completion[:end], _Reader(block)
    whole = reader.read(completion)
    if whole.form in ("block", "bare"):  # tags in it are part of the program
        return whole
    text = reader.after_thinking(completion)
    inner = reader.inside_answer(text)
    if tag := _OTHER_TAG.match(inner):
        program = inner[tag.end() :].rstrip().removesuffix(f"</{tag[1]}>").removesuffix(f"[/{tag[1]}]").strip("\r\n")
        if reader.parses(program):
            return Extraction(program, "bare")
    extraction = whole if inner == completion else reader.read(inner)
    return replace(extraction, form="prose") if extraction.format_ok and inner != text else extraction


@dataclass(frozen=True)
class _Block:
    """A fenced block. `start`, `end`: offsets in the text; `resume`: the line to read next; `complete`: whether a
    fence closes it; `opened`: whether a fence opens it."""

    program: str
    end: int
    resume: int
    complete: bool = True
    language: str = "python"  # or "other", or "" without a mark
    start: int = 0
    opened: bool = True


class _Reader:
    """Reads one completion; it counts the characters that it parses, which bounds its time."""

    def __init__(self, rule: str):
        self.rule, self.left_in_all = rule, _PARSED_IN_ALL
        self.known: dict[str, list[_Block]] = {}

    @property
    def left(self) -> int:
        """The length of the longest text that may be parsed."""
        return min(_PARSED, self.left_in_all)

    def tree(self, text: str, body: bool = True) -> ast.Module | None:
        """The syntax tree of Python, and of the indented body of a function if `body`; None of any other text."""
        if len(text) > self.left or text.startswith(("<", "`")):
            return None
        self.left_in_all -= len(text) + 100
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of escapes in the strings of the program
                return ast.parse(f"def f():\n{text}" if body and text[:1] in (" ", "\t") else text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last three: NUL bytes, deep nesting
            return None

    def parses(self, text: str) -> bool:
        return self.tree(text) is not None

    def is_program(self, text: str) -> bool:
        """Whether the text is Python that does something. Words of prose and values of a sample output parse too."""
        tree = self.tree(text)
        return tree is not None and any(
            any(isinstance(part, ast.Call) for part in ast.walk(node))
            if isinstance(node, ast.Expr)
            else not (isinstance(node, ast.AnnAssign) and node.value is None)
            for node in tree.body
        )

    def read(self, text: str) -> Extraction:
        """The program in a text without thinking."""
        if not text.strip():
            return Extraction("", "empty")
        if self.parses(text):
            return Extraction(text.strip("\r\n"), "bare")
        blocks = self.blocks(text)
        chosen = self.choose([block for block in blocks if block.program.strip()])
        if chosen is None:
            empty = [block for block in blocks if block.language != "other" and not block.program.strip()]
            if empty:
                return Extraction("", "empty" if empty[0].complete else "unclosed")
            return Extraction(text.strip("\r\n"), "no code")
        if not chosen.complete:
            return Extraction(chosen.program, "unclosed")
        if sum(bool(block.program.strip()) or block.complete for block in blocks) > 1:
            return Extraction(chosen.program, "several")
        around = text[: chosen.start].strip() or text[chosen.end :].strip()
        return Extraction(chosen.program, "unopened" if not chosen.opened else "prose" if around else "block")

    def choose(self, blocks: Sequence[_Block]) -> _Block | None:
        """The block that is the answer: of the best kind, by the rule."""
        kinds: tuple[Callable[[_Block], bool], ...] = (
            lambda block: block.language == "python" and block.complete,
            lambda block: block.language == "python",
            lambda block: block.language == "" and self.is_program(block.program),
            lambda block: block.language == "" and block.complete,
            lambda block: block.language == "",
            lambda block: self.is_program(block.program),
        )
        if self.rule == "longest":
            blocks = sorted(blocks, key=lambda block: -len(block.program))
        elif self.rule == "last":
            blocks = blocks[::-1]
        return next((block for kind in kinds for block in blocks if kind(block)), None)

    def after_thinking(self, text: str) -> str:
        """What follows the last closing tag of thinking, up to thinking that begins again and does not end."""
        tags = [tag for tag in self.tags(text) if not tag["answer"]]
        start = max((tag.end() for tag in tags if tag["end"]), default=0)
        return text[start : min((tag.start() for tag in tags if tag.start() >= start), default=len(text))]

    def inside_answer(self, text: str) -> str:
        """What stands in the last `<answer>`; the whole text without it, or if only the text around it has blocks."""
        tags = [tag for tag in self.tags(text) if tag["answer"]]
        if not tags:
            return text
        start = max((tag.end() for tag in tags if not tag["end"]), default=0)
        end = max((tag.start() for tag in tags if tag["end"] and tag.start() >= start), default=len(text))
        inner = re.sub(r"\A[ \t]+(?=\S)", "", text[start:end])
        return inner if self.blocks(inner) or self.parses(inner) or not self.blocks(text) else text

    def tags(self, text: str) -> list[re.Match[str]]:
        """The tags of a text, except those within a program: in a block, a line, or between the tags of a line."""
        if not (all_tags := list(_TAG.finditer(text))):
            return []
        spans = [(block.start, block.end, block.program) for block in self.blocks(text)]
        for line in re.finditer(".+", text):
            if tags := list(_TAG.finditer(text, *line.span())):
                starts = (line.start(), *(tag.end() for tag in tags[:3]))
                ends = (line.end(), *(tag.start() for tag in tags[-3:]))
                spans += [(start, end, text[start:end].strip()) for start in starts for end in ends]
        inside: set[int] = set()
        for start, end, program in spans:
            within = {tag.start() for tag in _TAG.finditer(text, start, end)}
            if within and self.is_program(program):
                inside |= within
        return [tag for tag in all_tags if tag.start() not in inside]

    def blocks(self, text: str) -> list[_Block]:
        """The fenced blocks of a text, in order."""
        if text in self.known:
            return self.known[text]
        lines = text.split("\n")
        starts = list(accumulate((len(line) + 1 for line in lines), initial=0))
        self.known[text] = blocks = self.blocks_from(0, lines, starts)
        for mark in "`~" if blocks else "":  # a fence may close what the prompt opened
            block = replace(self.block(lines, starts, -1, Fence(mark)), language="python", opened=False)
            around_first = blocks[0].resume < block.resume
            others = around_first or not (blocks[0].complete and self.is_program(blocks[0].program))
            if others and block.complete and self.is_program(block.program):
                self.known[text] = [block, *self.blocks_from(block.resume, lines, starts)]
                break
        return self.known[text]

    def blocks_from(self, at: int, lines: list[str], starts: list[int]) -> list[_Block]:
        blocks = []
        while at < len(lines):
            if ("```" in lines[at] or "~~~" in lines[at]) and (fence := opening(lines[at])):
                block = self.block(lines, starts, at, fence)
                inner = map(opening, block.program.split("\n") if fence.language != "python" else ())
                wrapper = fence.info in WRAPPERS or any(fence and fence.language == "python" for fence in inner)
                if not wrapper or self.is_program(block.program):  # else read as if its fences were not there
                    blocks.append(block)
                    at = max(at, block.resume - 1)
            at += 1
        return blocks

    def block(self, lines: list[str], starts: list[int], at: int, fence: Fence) -> _Block:
        """The block that `fence` opens in line `at`."""

        def until(line: int, end: int, resume: int, complete: bool = True, code: str = "") -> _Block:
            program = self.program(lines[at + 1 : line], fence, code)
            return _Block(program, end, resume, complete, fence.language, starts[at] + fence.column if at >= 0 else 0)

        mark, first, tried = fence.mark * fence.length, None, 0
        within: list[tuple] = []  # fences behind code
        for number in range(at + 1, len(lines)):
            line = fence.unquoted(lines[number])
            content = line.strip()
            if content.startswith(mark):
                ended = until(*closing(content, fence, number, starts[number] + lines[number].index(mark)))
            elif not (fence.quotes and content) or lines[number].lstrip(" \t").startswith(">"):
                if content.endswith(mark) and len(within) < _TRIED:
                    code = line.rstrip().rstrip(fence.mark)
                    end = starts[number] + len(lines[number]) - len(line) + len(code)
                    within.append((number, end, number + 1, True, code))
                continue
            else:
                ended = until(number, starts[number], number)  # the quote ends
            first = first or ended
            in_string = "'''" in ended.program or '"""' in ended.program
            if not (in_string or within) or self.parses(ended.program):
                return ended
            tried += 1
            if not in_string or tried == _TRIED or len(ended.program) > self.left:
                break
        if first is None and fence.length > 3:
            return self.block(lines, starts, at, replace(fence, length=3))
        cut_fence = bool(lines[-1].strip()) and not lines[-1].strip().strip(fence.mark)
        unclosed = (len(lines) - cut_fence, starts[-1] - 1, len(lines), False)
        endings = [unclosed, *within] if starts[-1] - starts[at + 1] <= self.left else within
        readings = (until(*ending) for ending in endings)
        return next((block for block in readings if self.parses(block.program)), first or until(*unclosed))

    def program(self, lines: list[str], fence: Fence, code: str) -> str:
        """The program in the lines of a block, `code` being its last line, without quotes and indentation of lists."""
        inner = [*map(fence.unquoted, lines), *([code] if code else [])]
        if not fence.contained:
            return "\n".join(inner).strip("\r\n")
        filled = [line for line in inner if line.strip()]
        common = min((line[: len(line) - len(line.lstrip(" \t"))] for line in filled), key=len, default="")
        exact = all(line.startswith(fence.indent) for line in filled)
        up_to = re.compile(rf"[ \t]{{0,{len(fence.indent)}}}")  # as CommonMark, if lines are indented differently
        readings = [[line.removeprefix(indent) for line in inner] for indent in (fence.indent * exact, common)]
        readings.append([up_to.sub("", line, count=1) for line in inner])
        programs = ["\n".join(reading).strip("\r\n") for reading in readings]
        return next((program for program in programs if self.tree(program, body=False)), programs[0])
