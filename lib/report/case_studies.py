"""Case studies: how a program failed, the feedback that the policy got, and what it wrote next, round by round.

A dialogue holds the lines (dicts) of one problem in `repair.jsonl` of a repair run, one per round, in order. `Stepper`
shows dialogues twice in one output: as widgets where a kernel runs, and all rounds one below the other for pages
without one (GitHub, HTML export). Colours only repeat what a sign or a word says.
"""

import difflib
import html
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import ipywidgets

FIELDS = {"problem_id", "dataset", "round", "prompt", "program", "error_type", "pass_ratio", "accepted", "tests"}
Dialogue = list[dict]

# Of Okabe and Ito's palette, which colour-blind readers tell apart, in light; the text on them is set to dark.
ADDED, REMOVED = "#cfe6f5", "#fbe0c4"
RIGHT, WRONG = "#0072b2", "#b24d00"
CELL = "text-align: left; padding: 2px 16px 2px 4px"
BOX = "font-family: monospace; white-space: pre-wrap; word-break: normal; overflow-wrap: anywhere; "
BOX += "margin: 4px 0 12px 0; padding: 6px; border: 1px solid #bbbbbb"


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
    before = dialogue[number - 2]["program"] if number > 1 else line["program"]
    colour = RIGHT if line["accepted"] else WRONG
    what = "Program" if number == 1 else f"Program, with the difference to round {number - 1}"
    feedback = "<p>No feedback: the last round.</p>"
    if line.get("feedback"):
        feedback = f"<p>Feedback, all that the next round could read:</p>{_box(line['feedback'])}"
    return (
        f'<p><b>Round {number} of {len(dialogue)}: <span style="color: {colour}">{_safe(verdict(line))}</span></b></p>'
        f"<p>{what}:</p>{_program(changes(before, line['program']))}{_tests(line['tests'])}{feedback}"
    )


def case_html(dialogue: Dialogue) -> str:
    """A whole case: the statement, then every round."""
    rounds = "<hr>".join(round_html(dialogue, number) for number in range(1, len(dialogue) + 1))
    return f"<p>Statement:</p>{_box(statement(dialogue))}{rounds}"


def _safe(text: str) -> str:
    return html.escape(text, quote=False)


def _box(text: str) -> str:
    return f'<pre style="{BOX}">{_safe(text.strip())}</pre>'


def _program(lines: list[tuple[str, str]]) -> str:
    colours = {"+": ADDED, "-": REMOVED}
    shown = []
    for sign, text in lines:
        line = _safe(f"{sign} {text}")
        style = f"background-color: {colours[sign]}; color: #111111" if sign in colours else ""
        shown.append(f'<span style="{style}">{line}</span>' if style else line)
    return f'<pre style="{BOX}">' + "\n".join(shown) + "</pre>"


def _tests(tests: list[dict]) -> str:
    """A row per test that was run; neighbours with the same result share a row."""
    rows, first = [], 0
    for number in range(1, len(tests) + 1):
        if number == len(tests) or tests[number] != tests[first]:
            numbers = f"{first + 1}" if number == first + 1 else f"{first + 1}–{number}"
            test = tests[first]
            sign = "✓" if test["error_type"] == "success" else "✗"
            words = (numbers, test["visibility"], f"{sign} {test['error_type'].replace('_', ' ')}", test["detail"])
            rows.append("<tr>" + "".join(f'<td style="{CELL}">{_safe(word)}</td>' for word in words) + "</tr>")
            first = number
    heads = "".join(f'<th style="{CELL}">{name}</th>' for name in ("test", "visibility", "verdict", "detail"))
    return f"<table><tr>{heads}</tr>{''.join(rows)}</table>"


class Stepper:
    """Steps through dialogues by problem and round. Show it as a cell's last expression; `widget` is the live part."""

    def __init__(self, dialogues: Sequence[Dialogue]):
        self.dialogues = list(dialogues)
        self.titles = [
            f"{n}. {rounds[0]['problem_id']} ({rounds[0]['dataset']}): "
            + " → ".join(line["error_type"].replace("_", " ") for line in rounds)
            for n, rounds in enumerate(self.dialogues, 1)
        ]
        wide = ipywidgets.Layout(width="auto")
        self.problem = ipywidgets.Dropdown(
            options=[(title, n) for n, title in enumerate(self.titles)], description="problem", layout=wide
        )
        self.round = ipywidgets.ToggleButtons(description="round", style={"button_width": "6em"})
        self.statement, self.shown = ipywidgets.HTML(), ipywidgets.HTML()
        self.problem.observe(self._problem_chosen, "value")
        self.round.observe(self._round_chosen, "value")
        self.widget = ipywidgets.VBox([self.problem, self.statement, self.round, self.shown])
        if self.dialogues:
            self._problem_chosen()

    def _problem_chosen(self, _change=None) -> None:
        dialogue = self.dialogues[self.problem.value]
        self.statement.value = _box(statement(dialogue))
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
        return "".join(f"<h3>{_safe(title)}</h3>{case_html(rounds)}" for title, rounds in cases)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        live = self.widget._repr_mimebundle_() if self.dialogues else {}
        return live | {"text/plain": "\n".join(self.titles), "text/html": self.html()}
