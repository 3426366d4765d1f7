"""The words of the tiny world, read from `operations.toml`, which also says what its entries mean."""

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Operation:
    """List -> list. `says` completes "Given n integers, ...". `tag`: the topic it is filed under."""

    name: str
    tag: str
    says: tuple[str, ...]
    fast: tuple[str, ...]
    slow: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    constants: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Ending:
    """List -> answer. It needs a list of at least `needs` items; for a shorter one a constant is asked.

    `fast`, `slow` and `wrong` are expressions, the last line of several; what stands before it are plain statements.
    """

    name: str
    says: tuple[str, ...]
    fast: tuple[str, ...]
    slow: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    needs: int = 0


_FAST = {
    "keep": ("a = [x for x in a if {}]", "b = []\nfor x in a:\n    if {}:\n        b.append(x)\na = b"),
    "each": ("a = [{} for x in a]", "b = []\nfor x in a:\n    b.append({})\na = b"),
}


def _read(name: str, entry: dict) -> dict:
    """The fields of an entry, its shorthand written out."""
    for short in _FAST.keys() & entry.keys():
        code = entry.pop(short)
        entry["fast"] = [way.replace("{}", code) for way in _FAST[short]]
    return {"name": name} | {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


_WORDS = tomllib.loads(Path(__file__).with_name("operations.toml").read_text())
OPERATIONS = tuple(Operation(**_read(name, entry)) for name, entry in _WORDS["operation"].items())
ENDINGS = tuple(Ending(**_read(name, entry)) for name, entry in _WORDS["ending"].items())
OPERATION = {o.name: o for o in OPERATIONS}
ENDING = {e.name: e for e in ENDINGS}

GUARDS = ("-1", "0", '"EMPTY"')

# Words that most people write slowly or wrongly, and that few published solutions show.
HARD = frozenset(
    ("digits", "weigh", "rotate", "differences", "skip", "dedupe", "prefix", "frequency", "mode", "mean", "place")
)
