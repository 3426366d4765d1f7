"""Failures: why a program was not accepted, by rules that a reader can check against the program and its tests.

`CLASSES` is the whole of it: a name, a rule, the rule in words, and what a repair would be told. The first rule that
holds decides, so an endless loop that also prints brackets is an endless loop. A run keeps its verdicts and a sample of
its programs, so the programs of the failures drawn here are written again: greedy decoding gives the same ones, and
`write_again` says of how many the verdict is the recorded one.
"""

import ast
import csv
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.judge.verdict import TestResult, Verdict
from lib.policy.generation import generate
from lib.policy.prompts import extract, messages
from lib.problems import Problem

SMALL = 1000  # characters of a test's input; what a program should get through whatever its algorithm
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

    @property
    def program(self) -> str:
        return extract(self.text).program

    @property
    def first(self) -> tuple[int, TestResult]:
        """The first test (of a function problem: case) that failed, its number from 0; most rules go by it alone."""
        return next((n, test) for n, test in enumerate(self.verdict.tests) if test.error_type != "success")


def _no_program(failure: Failure) -> bool:
    return failure.truncated or extract(failure.text).form in ("unclosed", "no code", "empty")


def _syntax(failure: Failure) -> bool:
    return failure.verdict.error_type == "syntax_error"


def _endless(failure: Failure) -> bool:
    return _slow(failure) and len(sources(failure.problem)[failure.first[0]]) <= SMALL


def _slow(failure: Failure) -> bool:
    return failure.first[1].error_type == "timeout"


def _form(failure: Failure) -> bool:
    n, first = failure.first
    if failure.problem.kind == "function":
        return first.got == "None" or _not_called(first.detail, failure.problem)
    return _misread(first.detail) or _same_values(failure.problem.tests[n].output, first)


def _not_called(detail: str, problem: Problem) -> bool:
    """The function that the tests use does not exist, or takes other arguments than they give."""
    name = re.match(r"NameError: name '(\w+)'", detail)
    missing = name and any(re.search(rf"\b{name[1]}\b", test.input) for test in problem.tests)
    return bool(missing) or (detail.startswith("TypeError") and "positional argument" in detail)


def _misread(detail: str) -> bool:
    """`int()` over a whole line, or more values or lines asked for than there are."""
    line = detail.startswith("ValueError: invalid literal") and any(c in detail.partition(": '")[2] for c in " \\")
    return line or any(sign in detail for sign in READING)


def _same_values(expected: str, test: TestResult) -> bool:
    plain = str.maketrans("[](){},'\"", "         ")
    wanted, got = (text.translate(plain).lower().split() for text in (expected, test.got))
    return test.error_type == "wrong_answer" and got == wanted


def _edge(failure: Failure) -> bool:
    return failure.verdict.pass_ratio >= 0.5


def _crash(failure: Failure) -> bool:
    return failure.first[1].error_type == "runtime_error"


@dataclass(frozen=True)
class Class:
    """One kind of failure: the rule, what it says in words, and what it suggests for a repair."""

    name: str
    holds: Callable[[Failure], bool]
    says: str
    repair: str


CLASSES = (
    Class(
        "no program",
        _no_program,
        "the answer was cut off, or there is no program in it",
        "ask for one block of code and nothing else, and leave room for it: no feedback on tests helps here",
    ),
    Class(
        "syntax",
        _syntax,
        "Python does not compile it",
        "give the line and Python's message; the rest of the program can mostly stay",
    ),
    Class(
        "endless loop",
        _endless,
        f"the first failed test ran out of time, on an input of at most {SMALL} characters",
        "give that input and say that it never ended: the loop's end is wrong, not the algorithm",
    ),
    Class(
        "too slow",
        _slow,
        f"the first failed test ran out of time, on an input of more than {SMALL} characters",
        "give the size of the input and the time limit, and ask for another algorithm; no example of a value helps",
    ),
    Class(
        "I/O format",
        _form,
        "the first failed test crashed while reading or printed the right values in another form; a function is "
        "missing, takes other arguments or returns nothing",
        "give input, expected and got side by side: what has to change is the first or the last line",
    ),
    Class(
        "edge case",
        _edge,
        "passes at least half of the tests",
        "give one failed test in full and say that the others pass, so that the change stays small",
    ),
    Class(
        "crash",
        _crash,
        "the first failed test ended in an exception, and fewer than half of the tests pass",
        "give the last lines of the traceback with the input that caused it",
    ),
    Class(
        "logic",
        lambda failure: True,
        "anything else: the first failed test got a wrong value, and fewer than half of the tests pass",
        "give two failed tests with expected and got; where nothing comes of it, a fresh sample costs as much",
    ),
)


def classify(failure: Failure) -> Class:
    """The first of CLASSES whose rule holds. Raises ValueError for a verdict that is no failure of the program."""
    if failure.verdict.error_type in ("success", "api_error"):
        raise ValueError(f"{failure.problem.id}: a verdict of {failure.verdict.error_type} is no failure of a program")
    return next(one for one in CLASSES if one.holds(failure))


def draw(folder: Path, n: int, seed: int) -> list[dict[str, str]]:
    """`n` failures of a run, all alike likely, as rows of its verdicts.csv in their order; all, where there are fewer.

    Raises ValueError for a run that was not measured under EVAL@1, whose programs could not be written again.
    """
    protocol = json.loads((folder / "metrics.json").read_text()).get("protocol")
    if protocol != "EVAL@1":
        raise ValueError(f"{folder.name} was measured under {protocol}: only greedy programs (EVAL@1) can be rewritten")
    with (folder / "verdicts.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["error_type"] not in ("success", "api_error")]
    chosen = random.Random(f"{seed} {folder.name}").sample(range(len(rows)), min(n, len(rows)))
    return [rows[index] for index in sorted(chosen)]


def write_again(
    rows: Sequence[dict[str, str]],
    sets: dict[str, list[Problem]],
    model,
    tokenizer,
    judge,
    *,
    max_new_tokens: int,
    instruction: str = "",
) -> tuple[list[Failure], int]:
    """The failures of `rows` (of `draw`) with their programs, and of how many the verdict is not the recorded one.

    `sets`: name in metrics.json -> problems. Those whose program is accepted now, or on which the judge failed, are
    among the number and not in the list.
    """
    by_id = {(name, problem.id): problem for name, problems in sets.items() for problem in problems}
    problems = [by_id[row["dataset"], row["problem_id"]] for row in rows]
    asked = [messages(problem, instruction) for problem in problems]
    answers = [one for [one] in generate(model, tokenizer, asked, max_new_tokens=max_new_tokens)]
    programs = [extract(one.text).program for one in answers]
    verdicts = judge.judge_many(list(zip(programs, problems, strict=True)), progress=False)
    found, changed = [], 0
    for row, problem, answer, verdict in zip(rows, problems, answers, verdicts, strict=True):
        changed += (verdict.error_type, f"{verdict.pass_ratio:.4f}") != (row["error_type"], row["pass_ratio"])
        if verdict.error_type not in ("success", "api_error"):
            found.append(Failure(row["dataset"], problem, answer.text, answer.truncated, verdict))
    return found, changed


def sources(problem: Problem) -> list[str]:
    """What each test gives to the program: the input; of a function problem the source of each case, as it is judged.

    A function's asserts stand for its cases, in their order; what stands around them is left out.
    """
    if problem.kind == "stdio":
        return [test.input for test in problem.tests]
    found = []
    for test in problem.tests:
        asserts = [node for node in ast.walk(ast.parse(test.input)) if isinstance(node, ast.Assert)]
        asserts.sort(key=lambda node: node.lineno)
        found += [ast.unparse(node) for node in asserts] or [test.input]
    return found


def record(failure: Failure) -> dict:
    """A failure as a line of failures.jsonl: class, program, verdict, and the first failed test in full but short."""
    problem, verdict = failure.problem, failure.verdict
    n, test = failure.first
    function = problem.kind == "function"
    case = {"input": sources(problem)[n], "expected": "" if function else problem.tests[n].output, "got": test.got}
    return {
        "class": classify(failure).name,
        "dataset": failure.dataset,
        "problem_id": problem.id,
        "difficulty": problem.difficulty,
        "statement": problem.prompt,
        "program": failure.program,
        "error_type": verdict.error_type,
        "passed": verdict.passed,
        "total": verdict.total,
        "test": n + 1,
        "ended": test.error_type,
        "detail": test.detail,
        **{name: text if len(text) <= SHOWN else f"{text[:SHOWN]} …" for name, text in case.items()},
    }


def as_text(line: dict) -> str:
    """A failure of `record` as a person reads it: statement, program, and the first failed test."""
    parts = [line["statement"].strip(), line["program"]]
    parts.append(f"{line['passed']} of {line['total']} tests passed. Test {line['test']} ended in: {line['ended']}")
    if line["detail"] and line["detail"] != "AssertionError":
        parts[-1] += f" ({line['detail']})"
    shown = {"input": "Test" if not line["expected"] else "Input", "expected": "Expected", "got": "Got"}
    parts[-1] += "".join(f"\n{label}: {line[name].strip()}" for name, label in shown.items() if line[name].strip())
    return "\n\n".join(parts)
