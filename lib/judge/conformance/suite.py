"""The conformance suite: programs and answers with known verdicts, as data in `suite/*.toml`.

Each file is a kind of item: `cheats`, `hostile`, `honest`, `answers` (whole answers of models), `outputs` (odd outputs
of stdio programs), `faults` (a broken test, or a fault of the machine, with an honest program). An item names a problem
of `problems.toml`, or has `tests` of its own: [input, output] pairs of a stdio problem, or sources of a function
problem.
"""

import hashlib
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..problem import Problem, Test

KINDS = ("cheats", "hostile", "honest", "answers", "outputs", "faults")
_FOLDER = Path(__file__).with_name("suite")
_GOOD = {"paid": ("paid",), "error": ("error", "died", "hung"), "any": ("paid", "unpaid", "error")}
_GOOD |= {"unpaid": ("unpaid", *_GOOD["error"]), "no loss": ("paid", *_GOOD["error"])}
_WANT = {"cheats": "unpaid", "hostile": "unpaid", "faults": "error"}


@dataclass(frozen=True)
class Item:
    """A program, or a whole answer, and what a grader must return for it.

    `want`: paid | unpaid | any (the program prints the right answer and breaks a limit that not every grader has) |
    error (the grader can't know whether the program is right, so any score is wrong) | no loss (paid or error: the
    fault is not the program's). `disturb`: the fault that the runner causes, "" | kill | full.
    """

    kind: str
    group: str
    name: str
    text: str
    problem: Problem
    want: str
    disturb: str = ""

    def good(self, result: str) -> bool:
        """Whether a result is right."""
        return result in _GOOD[self.want]

    def checksum(self) -> str:
        """Changes with the program, its tests and the disturbance: a recorded result is of one checksum."""
        tests = [(test.input, test.output) for test in self.problem.tests]
        problem = (self.problem.kind, self.problem.prompt, self.problem.entry_point, self.problem.tags, tests)
        return hashlib.sha256(repr((self.text, self.disturb, problem)).encode()).hexdigest()[:12]


def load_suite(kinds: tuple[str, ...] = KINDS) -> list[Item]:
    """The items of these kinds, in the order of the files. Raises ValueError for two items of one name."""
    problems = _read("problems")
    items = [_item(kind, row, problems) for kind in kinds for row in _read(kind)["item"]]
    names = [name for name, count in Counter((item.kind, item.name) for item in items).items() if count > 1]
    if names:
        raise ValueError(f"two items of one name: {names}")
    return items


def _read(name: str) -> dict:
    return tomllib.loads((_FOLDER / f"{name}.toml").read_text("utf-8"))


def _item(kind: str, row: dict, problems: dict) -> Item:
    fields = {**problems[row["problem"]]} if "problem" in row else {"tests": row["tests"]}
    stdio = not fields["tests"] or isinstance(fields["tests"][0], list)
    problem = Problem(
        id=f"suite/{kind}/{row['name']}",
        dataset="conformance",
        split="test",
        kind=fields.get("kind", "stdio" if stdio else "function"),
        prompt=row.get("prompt", fields.get("prompt", "")),
        tests=tuple(
            Test(*([test] if isinstance(test, str) else test), visibility="public") for test in fields["tests"]
        ),
        entry_point=row.get("entry_point", fields.get("entry_point")),
        time_limit=row.get("time_limit", 1.0),
        tags=("answer",) if kind == "answers" else (),
    )
    return Item(
        kind, row["class"], row["name"], row["program"], problem, row.get("want", _WANT.get(kind, "paid")),
        row.get("disturb", ""),
    )  # fmt: skip
