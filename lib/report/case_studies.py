"""Case studies: how a program failed, the feedback that the policy got, and what it wrote next, round by round.

A dialogue holds the lines (dicts) of one problem in `repair.jsonl` of a repair run, one per round, in order. `Stepper`
shows dialogues twice in one output: as widgets where a kernel runs, and all rounds one below the other for pages
without one (GitHub, HTML export). `case_studies.jinja` has the HTML.
"""

import difflib
import html
import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import ipywidgets
from jinja2 import Environment

FIELDS = {"problem_id", "dataset", "round", "prompt", "program", "error_type", "pass_ratio", "accepted", "tests"}
Dialogue = list[dict]
HTML: Any = Environment(autoescape=True).from_string(Path(__file__).with_name("case_studies.jinja").read_text()).module


def read_dialogues(file: Path) -> list[Dialogue]:
    """All dialogues of a repair.jsonl, in the file's order. Raises ValueError for a line that lacks a field, and for
    a problem whose rounds are not 1, 2, ..."""
    dialogues = defaultdict(list)
    for number, text in enumerate(file.read_text().splitlines(), 1):
        line = json.loads(text)
        if missing := FIELDS - line.keys():
            fields = ", ".join(sorted(missing))
            raise ValueError(f"{file.name}, line {number}: no {fields}; is the file of another version?")
        dialogues[line["dataset"], line["problem_id"]].append(line)
    for (dataset, problem), rounds in dialogues.items():
        numbers = [line["round"] for line in rounds]
        if numbers != list(range(1, len(rounds) + 1)):
            raise ValueError(f"{file.name}: the rounds of {problem} ({dataset}) are {numbers}, not 1, 2, ...")
    return list(dialogues.values())


def repaired(dialogues: Sequence[Dialogue]) -> list[Dialogue]:
    """The dialogues that began with a rejected program and ended with an accepted one."""
    return [rounds for rounds in dialogues if not rounds[0]["accepted"] and rounds[-1]["accepted"]]


def choose(dialogues: Sequence[Dialogue], n: int) -> list[Dialogue]:
    """`n` dialogues of as many kinds as possible: in turn one of each kind of first failure and set, and of a kind
    those with more rounds first, then in the order given."""
    kinds = defaultdict(list)
    for rounds in sorted(dialogues, key=len, reverse=True):
        kinds[rounds[0]["error_type"], rounds[0]["dataset"]].append(rounds)
    chosen = []
    while len(chosen) < n and any(kinds.values()):
        chosen += [waiting.pop(0) for waiting in kinds.values() if waiting]
    return chosen[:n]


def statement(dialogue: Dialogue) -> str:
    """The statement that the policy was given in the first round."""
    return next(message["content"] for message in dialogue[0]["prompt"] if message["role"] == "user").strip()


def changes(before: str, after: str) -> list[tuple[str, str]]:
    """The lines of two programs, each with its sign: "+" added, "-" removed, " " in both."""
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [(line[0], line[2:]) for line in lines if line[0] != "?"]


def verdict(line: dict) -> str:
    """A round's verdict in words."""
    passed = sum(test["error_type"] == "success" for test in line["tests"])
    sign = "✓ accepted" if line["accepted"] else f"✗ {line['error_type'].replace('_', ' ')}"
    stopped = abs(passed - line["pass_ratio"] * len(line["tests"])) > 0.01  # the judge runs no test after a timeout
    which = f"tests that were run passed, {line['pass_ratio']:.0%} of all" if stopped else "tests passed"
    return f"{sign}: {passed} of {len(line['tests'])} {which}" if line["error_type"] != "syntax_error" else sign


def round_html(dialogue: Dialogue, number: int) -> str:
    """One round: verdict, program with the difference to the round before, tests, feedback. `number` from 1."""
    line = dialogue[number - 1]
    before = dialogue[max(0, number - 2)]["program"]
    lines = changes(before, line["program"])
    return str(HTML.round(number, len(dialogue), line, verdict(line), lines, _test_rows(line["tests"])))


def case_html(dialogue: Dialogue) -> str:
    """A whole case: the statement, then every round."""
    rounds = "<hr>".join(round_html(dialogue, number) for number in range(1, len(dialogue) + 1))
    return f"<p>Statement:</p>{HTML.statement(statement(dialogue))}{rounds}"


def _test_rows(tests: list[dict]) -> list[tuple[str, ...]]:
    """A row per test that was run; neighbours with the same result share a row."""
    rows, last = [], 0
    for test, same in groupby(tests):
        first, last = last + 1, last + len(list(same))
        sign = "✓" if test["error_type"] == "success" else "✗"
        result = f"{sign} {test['error_type'].replace('_', ' ')}"
        rows.append((f"{first}" if first == last else f"{first}–{last}", test["visibility"], result, test["detail"]))
    return rows


class Stepper:
    """Steps through dialogues by problem and round. Show it as a cell's last expression; `widget` is the live part."""

    def __init__(self, dialogues: Sequence[Dialogue]):
        self.dialogues = list(dialogues)
        self.titles = [
            f"{n}. {rounds[0]['problem_id']} ({rounds[0]['dataset']}): "
            + " → ".join(line["error_type"].replace("_", " ") for line in rounds)
            for n, rounds in enumerate(self.dialogues, 1)
        ]
        titles = [(title, n) for n, title in enumerate(self.titles)]
        self.problem = ipywidgets.Dropdown(options=titles, description="problem", layout={"width": "auto"})
        self.round = ipywidgets.ToggleButtons(description="round", style={"button_width": "6em"})
        self.statement, self.shown = ipywidgets.HTML(), ipywidgets.HTML()
        self.problem.observe(self._problem_chosen, "value")
        self.round.observe(self._round_chosen, "value")
        self.widget = ipywidgets.VBox([self.problem, self.statement, self.round, self.shown])
        if self.dialogues:
            self._problem_chosen()

    def _problem_chosen(self, _change=None) -> None:
        dialogue = self.dialogues[self.problem.value]
        self.statement.value = str(HTML.statement(statement(dialogue)))
        self.round.options = [str(number) for number in range(1, len(dialogue) + 1)]
        self.round.value = "1"
        self._round_chosen()  # the observer does not run if the value stays the same

    def _round_chosen(self, _change=None) -> None:
        if self.round.value:
            self.shown.value = round_html(self.dialogues[self.problem.value], int(self.round.value))

    def html(self) -> str:
        """All problems and rounds, for a page without a kernel."""
        if not self.dialogues:
            return "<p>No problem went from wrong to accepted in this run.</p>"
        cases = zip(self.titles, self.dialogues, strict=True)
        return "".join(f"<h3>{html.escape(title)}</h3>{case_html(rounds)}" for title, rounds in cases)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        live = self.widget._repr_mimebundle_() if self.dialogues else {}
        return live | {"text/plain": "\n".join(self.titles), "text/html": self.html()}
