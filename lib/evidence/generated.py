"""Generated blocks of a page: text between two comments that a function writes from the records.

    <!-- generated: results -->
    | method | `contests_test` | ...
    <!-- end -->

The first comment names a function of BLOCKS in `lib/evidence/blocks.py`, followed by arguments, in quotes if they
contain spaces. Both comments stand alone on their lines. The language of a page is "en", or "zh-CN" for `*.zh-CN.md`.

`python -m lib.evidence fill` writes the blocks; `python -m lib.evidence check` fails if a block differs from them.
To add a block, write its function in `blocks.py`, put the two comments into the page, and call `fill`.
"""

import inspect
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from lib.evidence.blocks import BLOCKS
from lib.evidence.runs import ExecutedRun, RecordError, Runs

BLOCK = re.compile(
    r"^<!-- generated: (?P<call>.+?) -->\n(?P<text>.*?)^<!-- end -->$|^[^\n]*<!-- generated:", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A block in a page: its line, its call, why it cannot be written, and how its text differs from the records."""

    line: int
    call: str
    error: str
    difference: str = ""

    @property
    def problem(self) -> str:
        return self.error or self.difference


def language_of(name: str) -> str:
    """The language of a page, from its file's name: "zh-CN" for README.zh-CN.md, "en" for README.md."""
    return match[1] if (match := re.fullmatch(r"[^.]+\.([\w-]+)\.md", name)) else "en"


def fill(text: str, runs: Runs, language: str = "en") -> tuple[str, list[Block]]:
    """The page with the blocks that the records give, and its blocks. A block that cannot be written keeps its text."""
    blocks: list[Block] = []

    def rewrite(match: re.Match) -> str:
        line, call = text.count("\n", 0, match.start()) + 1, match["call"]
        if call is None:
            rule = "a block needs `<!-- generated: ... -->` and, below it, `<!-- end -->`, each alone on its line"
            blocks.append(Block(line, "", rule))
            return match[0]
        try:
            new = f"{_call(runs, call, language)}\n"
        except RecordError as error:
            blocks.append(Block(line, call, f"the block `{call}`: {error}"))
            return match[0]
        blocks.append(Block(line, call, "", _difference(call, match["text"], new)))
        return f"<!-- generated: {call} -->\n{new}<!-- end -->"

    return BLOCK.sub(rewrite, text), blocks


def seeds_block(rows: Mapping[str, Mapping], metric: str) -> str:
    """The block `seeds_table` for a report. `rows`: label -> seed -> a run with its `folder`, None if it is missing."""
    runs = {
        (run.folder.parent.name, run.folder.name): ExecutedRun(run.folder)
        for row in rows.values()
        for run in row.values()
        if run
    }
    seeds = sorted({seed for row in rows.values() for seed in row})
    words = ["seeds_table", metric, ",".join(map(str, seeds))]
    for label, row in rows.items():
        names = ["/".join(run.folder.parts[-2:]) if (run := row.get(seed)) else "-" * (seed in row) for seed in seeds]
        words.append(f"{label}={','.join(names)}")
    call = shlex.join(words)
    return f"<!-- generated: {call} -->\n{_call(runs, call, 'en')}\n<!-- end -->"


def _call(runs: Runs, call: str, language: str) -> str:
    name, *arguments = shlex.split(call)
    if name not in BLOCKS:
        raise RecordError(f"there is no function {name} in lib/evidence/blocks.py; there are: {', '.join(BLOCKS)}")
    try:
        inspect.signature(BLOCKS[name]).bind(runs, language, *arguments)
    except TypeError as error:
        raise RecordError(f"wrong arguments ({error})") from None
    return BLOCKS[name](runs, language, *arguments).strip("\n")


def _difference(call: str, text: str, expected: str) -> str:
    """The first line in which a block differs from what the records give."""
    if text == expected:
        return ""
    pairs = zip((text + "\n").splitlines(), (expected + "\n").splitlines(), strict=False)
    shown, wanted = next((pair for pair in pairs if pair[0] != pair[1]), ("fewer or more lines", "other lines"))
    return f"the block `{call}` shows {shown!r}, but the records say {wanted!r}"
