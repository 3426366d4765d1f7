"""Failures: why a program was not accepted, by rules that a reader can check against the program and its tests.

`CLASSES` lists them: a name, a rule, and from `failures.toml` the rule in words and the feedback that a repair needs.
The first rule that holds decides, so an endless loop that also prints brackets is an endless loop. A run keeps only a
sample of its programs, so those of the failures drawn here are generated again: greedy decoding gives the same
programs, and `regenerate` counts the verdicts that differ from the recorded ones.
"""

import ast
import csv
import json
import random
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.judge.answers import Extraction, extract
from lib.judge.verdict import TestResult, Verdict
from lib.policy.generation import generate
from lib.policy.prompts import messages
from lib.problems import Problem

SMALL = 1000  # characters of a test's input; small enough for a program of any complexity
READING = ("EOFError", "not enough values to unpack", "too many values to unpack")
SHOWN = 300  # characters of an input or output


@dataclass(frozen=True)
class Failure:
    """A program that was not accepted. `dataset`: the set's name in metrics.json; `verdict` with its tests' results."""

    dataset: str
    problem: Problem
    text: str
    truncated: bool
    verdict: Verdict
    answer_block: str = "last"

    @property
    def extraction(self) -> Extraction:
        return extract(self.text, self.answer_block)

    @property
    def first(self) -> tuple[int, TestResult]:
        """The first test (of a function problem: case) that failed, and its number from 0; most rules use it alone."""
        return next((n, test) for n, test in enumerate(self.verdict.tests) if test.error_type != "success")


@dataclass(frozen=True)
class FailureClass:
    """A kind of failure: its rule, the rule in words, and the feedback that a repair needs."""

    name: str
    holds: Callable[[Failure], bool]
    rule: str
    repair: str


def _slow(failure: Failure, small: bool) -> bool:
    n, first = failure.first
    return first.error_type == "timeout" and (len(inputs_of(failure.problem)[n]) <= SMALL) == small


def _form(failure: Failure) -> bool:
    n, first = failure.first
    if failure.problem.kind == "function":
        return first.got == "None" or _not_called(first.detail, failure.problem)
    return _misread(first.detail) or _same_values(failure.problem.tests[n].output, first)


def _not_called(detail: str, problem: Problem) -> bool:
    """Whether the function that the tests call does not exist, or takes other arguments."""
    name = re.match(r"NameError: name '(\w+)'", detail)
    missing = name and any(re.search(rf"\b{name[1]}\b", test.input) for test in problem.tests)
    return bool(missing) or (detail.startswith("TypeError") and "positional argument" in detail)


def _misread(detail: str) -> bool:
    """Whether `int()` got a whole line, or the program read more values or lines than there are."""
    line = detail.startswith("ValueError: invalid literal") and any(c in detail.partition(": '")[2] for c in " \\")
    return line or any(sign in detail for sign in READING)


def _same_values(expected: str, test: TestResult) -> bool:
    plain = str.maketrans("[](){},'\"", "         ")
    expected_words, got = (text.translate(plain).lower().split() for text in (expected, test.got))
    return test.error_type == "wrong_answer" and got == expected_words


_RULES: dict[str, Callable[[Failure], bool]] = {
    "no program": lambda failure: failure.truncated or failure.extraction.form in ("unclosed", "no code", "empty"),
    "syntax": lambda failure: failure.verdict.error_type == "syntax_error",
    "endless loop": lambda failure: _slow(failure, small=True),
    "too slow": lambda failure: _slow(failure, small=False),
    "I/O format": _form,
    "edge case": lambda failure: failure.verdict.pass_ratio >= 0.5,
    "crash": lambda failure: failure.first[1].error_type == "runtime_error",
    "logic": lambda failure: True,
}
_TEXTS = tomllib.loads(Path(__file__).with_name("failures.toml").read_text())
CLASSES = tuple(FailureClass(name, _RULES[name], **texts) for name, texts in _TEXTS.items())


def classify(failure: Failure) -> FailureClass:
    """The first of CLASSES whose rule holds. Raises ValueError for a verdict that is not a failure of the program."""
    if failure.verdict.error_type in ("success", "api_error"):
        raise ValueError(f"{failure.problem.id}: {failure.verdict.error_type} is not a failure of the program")
    return next(kind for kind in CLASSES if kind.holds(failure))


def draw(folder: Path, n: int, seed: int) -> list[dict[str, str]]:
    """`n` failures of a run, drawn uniformly, as rows of its verdicts.csv in their order; all, where there are fewer.

    Raises ValueError for a run that was not measured under EVAL@1, whose programs could not be generated again.
    """
    protocol = json.loads((folder / "metrics.json").read_text()).get("protocol")
    if protocol != "EVAL@1":
        raise ValueError(f"{folder.name} was measured under {protocol}: only programs of EVAL@1 can be regenerated")
    with (folder / "verdicts.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["error_type"] not in ("success", "api_error")]
    chosen = random.Random(f"{seed} {folder.name}").sample(range(len(rows)), min(n, len(rows)))
    return [rows[index] for index in sorted(chosen)]


def regenerate(
    rows: Sequence[dict[str, str]],
    sets: Mapping[str, Sequence[Problem]],
    model,
    tokenizer,
    judge,
    *,
    max_new_tokens: int,
    instruction: str = "",
) -> tuple[list[Failure], int]:
    """The failures of `rows` (of `draw`) with their programs, and how many verdicts differ from the recorded ones.

    `sets`: name in metrics.json -> problems. Programs that are accepted now, or on which the judge failed, count among
    the differences and are not in the list.
    """
    by_id = {(name, problem.id): problem for name, problems in sets.items() for problem in problems}
    problems = [by_id[row["dataset"], row["problem_id"]] for row in rows]
    prompts = [messages(problem, instruction) for problem in problems]
    answers = [answer for [answer] in generate(model, tokenizer, prompts, max_new_tokens=max_new_tokens)]
    block = judge.answer_block
    programs = [extract(answer.text, block).program for answer in answers]
    verdicts = judge.judge_many(list(zip(programs, problems, strict=True)), progress=False)
    failures, changed = [], 0
    for row, problem, answer, verdict in zip(rows, problems, answers, verdicts, strict=True):
        changed += (verdict.error_type, f"{verdict.pass_ratio:.4f}") != (row["error_type"], row["pass_ratio"])
        if verdict.error_type not in ("success", "api_error"):
            failures.append(Failure(row["dataset"], problem, answer.text, answer.truncated, verdict, block))
    return failures, changed


def inputs_of(problem: Problem) -> list[str]:
    """The input of each test; of a function problem the source of each case, as it is judged.

    The asserts of a function problem are its cases, in their order; the code around them is left out.
    """
    if problem.kind == "stdio":
        return [test.input for test in problem.tests]
    cases = []
    for test in problem.tests:
        asserts = [node for node in ast.walk(ast.parse(test.input)) if isinstance(node, ast.Assert)]
        asserts.sort(key=lambda node: node.lineno)
        cases += [ast.unparse(node) for node in asserts] or [test.input]
    return cases


def failure_record(failure: Failure) -> dict:
    """A failure as a line of failures.jsonl: class, program, verdict, and the first failed test, long values cut."""
    problem, verdict = failure.problem, failure.verdict
    n, test = failure.first
    expected = "" if problem.kind == "function" else problem.tests[n].output
    case = {"input": inputs_of(problem)[n], "expected": expected, "got": test.got}
    return {
        "class": classify(failure).name,
        "dataset": failure.dataset,
        "problem_id": problem.id,
        "difficulty": problem.difficulty,
        "statement": problem.prompt,
        "program": failure.extraction.program,
        "error_type": verdict.error_type,
        "passed": verdict.passed,
        "total": verdict.total,
        "test": n + 1,
        "ended": test.error_type,
        "detail": test.detail,
        **{name: text if len(text) <= SHOWN else f"{text[:SHOWN]} …" for name, text in case.items()},
    }


def as_text(line: dict) -> str:
    """A failure of `failure_record` for a reader: statement, program, and the first failed test."""
    parts = [line["statement"].strip(), line["program"]]
    parts.append(f"{line['passed']} of {line['total']} tests passed. Test {line['test']} ended in: {line['ended']}")
    if line["detail"] and line["detail"] != "AssertionError":
        parts[-1] += f" ({line['detail']})"
    shown = {"input": "Input" if line["expected"] else "Test", "expected": "Expected", "got": "Got"}
    parts[-1] += "".join(f"\n{label}: {line[name].strip()}" for name, label in shown.items() if line[name].strip())
    return "\n\n".join(parts)
