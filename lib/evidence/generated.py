"""Generated blocks of a page: text between two comments that a function writes from the records.

    <!-- generated: results -->
    | method | `contests_test` | ...
    <!-- end -->

The first comment names a function in `lib/evidence/blocks.py`, followed by arguments, in quotes if they contain spaces.
The function gets the records (`lib.evidence.values.Records`), the language of the page ("en", or "zh-CN" for a file
`*.zh-CN.md`) and the arguments, and returns Markdown. Both comments stand alone on their lines.

`python -m lib.evidence fill` writes the blocks; `python -m lib.evidence check` fails if a block differs from them.
To add a block, write its function in `blocks.py`, put the two comments into the page, and call `fill`.
"""

import inspect
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from lib.evidence import blocks
from lib.evidence.committed import Committed
from lib.evidence.values import RecordError, Records

BLOCK = re.compile(r"^<!-- generated: (?P<call>.+?) -->\n(?P<text>.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL)
BEGIN = re.compile(r"^.*<!-- generated:", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block in a page: its line, its call, its text, the text that the records give, and an error of the call."""

    line: int
    call: str
    text: str
    expected: str
    error: str = ""

    def problem(self) -> str:
        """What is wrong with the block, or an empty string."""
        if self.error or self.text == self.expected:
            return self.error
        pairs = zip((self.text + "\n").splitlines(), (self.expected + "\n").splitlines(), strict=False)
        shown, expected = next((pair for pair in pairs if pair[0] != pair[1]), ("fewer or more lines", "other lines"))
        return f"the block `{self.call}` shows {shown!r}, but the records say {expected!r}"


def language_of(name: str) -> str:
    """The language of a page, from its file's name: "zh-CN" for README.zh-CN.md, "en" for README.md."""
    return match[1] if (match := re.fullmatch(r"[^.]+\.([\w-]+)\.md", name)) else "en"


def write(records: Records, call: str, language: str = "en") -> str:
    """A block with its comments, such as a notebook shows as Markdown. Raises RecordError."""
    return f"<!-- generated: {call} -->\n{_call(records, call, language)}\n<!-- end -->"


def seeds_block(rows: Mapping[str, Mapping], metric: str) -> str:
    """The block `seeds_table` for a report. `rows`: label -> seed -> a run with its `folder`, None if it is missing."""
    runs = {run.folder: Committed(run.folder) for row in rows.values() for run in row.values() if run}
    seeds = sorted({seed for row in rows.values() for seed in row})
    words = ["seeds_table", metric, ",".join(map(str, seeds))]
    for label, row in rows.items():
        names = [
            "" if s not in row else f"{runs[r.folder].preset}/{r.folder.name}" if (r := row[s]) else "-" for s in seeds
        ]
        words.append(f"{label}={','.join(names)}")
    return write(Records({(run.preset, run.name): run for run in runs.values()}), shlex.join(words))


def fill(text: str, records: Records, language: str = "en") -> tuple[str, list[Block]]:
    """The page with the blocks that the records give, and its blocks. A block with an error keeps its text."""
    found: list[Block] = []

    def line(position: int) -> int:
        return text.count("\n", 0, position) + 1

    def rewrite(match: re.Match) -> str:
        call, old = match["call"], match["text"]
        try:
            new, error = f"{_call(records, call, language)}\n", ""
        except RecordError as problem:
            new, error = old, f"the block `{call}`: {problem}"
        found.append(Block(line(match.start()), call, old, new, error))
        return f"<!-- generated: {call} -->\n{new}<!-- end -->"

    filled = BLOCK.sub(rewrite, text)
    whole = {match.start() for match in BLOCK.finditer(text)}
    for match in BEGIN.finditer(text):
        if match.start() not in whole:
            error = "a block needs `<!-- generated: ... -->` and, below it, `<!-- end -->`, each alone on its line"
            found.append(Block(line(match.start()), "", "", "", error))
    return filled, sorted(found, key=lambda block: block.line)


def _call(records: Records, call: str, language: str) -> str:
    name, *arguments = shlex.split(call)
    functions = {name: f for name, f in vars(blocks).items() if inspect.isfunction(f) and not name.startswith("_")}
    if name not in functions:
        raise RecordError(f"there is no function {name} in lib/evidence/blocks.py; there are: {', '.join(functions)}")
    try:
        inspect.signature(functions[name]).bind(records, language, *arguments)
    except TypeError as error:
        raise RecordError(f"wrong arguments ({error})") from None
    return functions[name](records, language, *arguments).strip("\n")
