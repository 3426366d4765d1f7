"""Code fences of Markdown: the lines that open and close a block, as in CommonMark and as models write them."""

import re
from dataclasses import dataclass

_PYTHON = re.compile(  # at the start of an info string: a language, the classes of Pandoc, or a file name
    r"(?:\{[^}]*?(?=[.\s{]))?[\"'.{\[ ]*(?:language-|lang=)?(?:i?python|pypy|py)[\d.]*(?![a-z]|[-_][a-z])"
    r"|[\w./-]+\.py\b",
    re.IGNORECASE,
)
_OTHER_LANGUAGE = re.compile(r"[a-z][\w+#-]{0,20}")  # directly behind a fence; all else there is prose
WRAPPERS = ("markdown", "md")
_CONTAINERS = re.compile(r"(?:[ \t]*(?:>|(?:[-+*]|\d{1,9}[.)])(?=[ \t])))*[ \t]*")  # quotes, list markers, indentation


@dataclass(frozen=True)
class Fence:
    """An opening fence. `column` of its line; `quotes` around it; `indent`: white space of a line inside the quotes."""

    mark: str
    length: int = 3
    info: str = ""
    column: int = 0
    quotes: int = 0
    indent: str = ""
    contained: bool = False  # in quotes or a list item

    @property
    def language(self) -> str:
        if _PYTHON.match(self.info):
            return "python"
        return "other" if self.info and self.info not in WRAPPERS else ""

    def unquoted(self, line: str) -> str:
        return re.sub(rf"\A(?:[ \t]*>){{1,{self.quotes}}}", "", line) if self.quotes else line


def opening(line: str) -> Fence | None:
    """The fence that opens a block in this line, if any."""
    rest = _CONTAINERS.sub("", line, count=1)
    prefix = line[: len(line) - len(rest)]
    if rest.startswith(("```", "~~~")):
        info = rest.lstrip(rest[0])
        if rest[0] == "`" and "`" in info:
            return None  # code within a line
        indent = re.sub(r"\S", " ", prefix.rpartition(">")[2])
        length = len(rest) - len(info)
        return Fence(rest[0], length, info.strip(), len(prefix), prefix.count(">"), indent, bool(prefix))
    for mark in "`~":
        head, marks, info = line.rpartition(mark * 3)
        prose, info = head.rstrip(mark), info.strip()
        opens = re.fullmatch(r"[\w.:+-]+", info) and _PYTHON.match(info) if info else mark == "`"
        if marks and opens and mark * 3 not in prose:
            length = 3 + len(head) - len(prose)
            return Fence(mark, length, info, len(prose), prefix.count(">"), contained=bool(prefix))
    return None


def closing(content: str, fence: Fence, number: int, start: int) -> tuple[int, int, int, bool]:
    """How a line that begins with a fence, at the offset `start` of the text, ends the block of `fence`."""
    after = content.lstrip(fence.mark)
    length, info = len(content) - len(after), after.strip()
    if not info:
        return number, start + length, number + 1, True
    python = _PYTHON.match(info) and (len(info.split()) == 1 or "=" in info or "{" in info)
    if python or _OTHER_LANGUAGE.fullmatch(after):  # opens the next block; two fences in a row close and open
        return number, start, number, length >= 2 * fence.length
    return number, start, number + 1, True
