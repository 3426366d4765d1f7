"""The words of the tiny world, read from `operations.toml`, which also says what its entries mean."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Word:
    """An operation (list -> list) or an ending (list -> answer).

    `says` completes "Given n integers, ..." or "Print ...". `tag`: the topic of an operation. An ending needs a list of
    at least `needs` items, and for a shorter list a constant is asked; the last line of its `fast`, `slow` and `wrong`
    is an expression.
    """

    name: str
    says: tuple[str, ...]
    fast: tuple[str, ...]
    slow: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    tag: str = ""
    constants: tuple[int, ...] = (0,)
    needs: int = 0


_FAST = {
    "keep": ("a = [x for x in a if {}]", "b = []\nfor x in a:\n    if {}:\n        b.append(x)\na = b"),
    "each": ("a = [{} for x in a]", "b = []\nfor x in a:\n    b.append({})\na = b"),
}


def _read(kind: str) -> dict[str, Word]:
    """The entries of a kind by name, their shorthand written out."""
    words = {}
    for name, entry in tomllib.loads(Path(__file__).with_name("operations.toml").read_text())[kind].items():
        for short in _FAST.keys() & entry.keys():
            code = entry.pop(short)
            entry["fast"] = [way.replace("{}", code) for way in _FAST[short]]
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()
        }
        words[name] = Word(name, **fields)
    return words


OPERATION, ENDING = _read("operation"), _read("ending")
OPERATIONS, ENDINGS = tuple(OPERATION.values()), tuple(ENDING.values())
GUARDS = ("-1", "0", '"EMPTY"')

# Words that most people write slowly or wrongly, and that few published solutions show.
HARD = frozenset(
    ("digits", "weigh", "rotate", "differences", "skip", "dedupe", "prefix", "frequency", "mode", "mean", "place")
)
