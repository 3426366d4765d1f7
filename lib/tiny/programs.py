"""Tasks of the tiny world, the sentences that ask for them and the programs that people write for them.

A `Task` is a composition: one to three operations and an ending. `statement` words it, `draft` writes a program for it
with chosen qualities. A program without flaws is correct by construction; one with flaws is what the mistakes of
`operations.toml` give (some pass all the same: the judge decides, not the label).
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

from lib.tiny.operations import ENDING, HARD, OPERATION

FLAWS = ("slow", "wrong", "unguarded", "reader", "python2")
NAMES = ("solve", "compute", "process", "answer")


@dataclass(frozen=True)
class Task:
    """A composition. `steps`: (operation, constant) pairs in order; `guard`: the answer for a list too short."""

    steps: tuple[tuple[str, int], ...]
    ending: str
    guard: str

    @property
    def composition(self) -> tuple[str, ...]:
        """What train, valid and test must not share: the names, whatever the constants and the words."""
        return (*(name for name, _ in self.steps), self.ending)

    @property
    def slow_written(self) -> bool:
        """Whether people have a quadratic way to write some part of it."""
        return bool(ENDING[self.ending].slow or any(OPERATION[name].slow for name, _ in self.steps))

    @property
    def hard(self) -> bool:
        """Whether some part of it is one that most people get wrong."""
        return not HARD.isdisjoint(self.composition)

    @cached_property
    def solve(self) -> Callable[[list[int]], object]:
        """The definition as a Python function, list -> answer: what all expected outputs come from."""
        return _compile("\n".join(function_lines(self, "solve", Choice())))


@cache
def _compile(source: str) -> Callable[[list[int]], object]:
    scope: dict = {}
    exec(source, scope)
    return scope["solve"]


@dataclass(frozen=True)
class Choice:
    """How one program is written: which snippet for each step, how it ends, reads and prints."""

    steps: tuple[str, ...] = ()  # code of each step; empty: the definition of each
    result: str = ""  # code of the ending; empty: its definition
    guard: str = "inline"  # inline | block | none
    reader: str = "lines"  # lines | whole | no_count (the mistake of taking the first line for the list)
    python2: bool = False


def statement(task: Task, rng: random.Random, form: str = "stdio", name: str = "solve") -> str:
    """The problem in words. `form`: stdio (a contest), humaneval (signature and docstring) or mbpp (one sentence)."""
    words = [rng.choice(OPERATION[step].says).format(k=k) for step, k in task.steps]
    asked = rng.choice(ENDING[task.ending].says)
    if ENDING[task.ending].needs:
        guard = task.guard.strip('"')
        asked += rng.choice((f", or {guard} if there is none", f"; {guard} if the list is too short"))
    how = rng.choice((", then ", "; next, ")).join(words)
    if form == "stdio":
        return rng.choice(("Given n integers, ", "Read n and n integers. First ")) + f"{how}. Print {asked}."
    if form == "humaneval":
        return f'def {name}(a):\n    """From the list a: {how}. Return {asked}."""\n'
    return f"Write a function {name}(a): {how}. Return {asked}."


def program(task: Task, choice: Choice) -> str:
    """A program that reads n and the list from standard input and prints the answer."""
    lines = list(_readers(choice))
    *before, value = (choice.result or ENDING[task.ending].fast[0]).split("\n")
    lines += [*_steps(task, choice), *before]
    say = _print2 if choice.python2 else "print({})".format
    condition, guard = _condition(task), task.guard
    if not ENDING[task.ending].needs or choice.guard == "none":
        lines.append(say(value))
    elif choice.guard == "block" or choice.python2:
        lines += [f"if {condition}:", f"    {say(value)}", "else:", f"    {say(guard)}"]
    else:
        lines.append(say(f"{value} if {condition} else " + (f"[{guard}]" if value == "*a" else guard)))
    return "\n".join(lines) + "\n"


def function(task: Task, choice: Choice, name: str) -> str:
    """The same as a function of the list."""
    return "\n".join(function_lines(task, name, choice)) + "\n"


def function_lines(task: Task, name: str, choice: Choice) -> list[str]:
    *before, value = (choice.result or ENDING[task.ending].fast[0]).split("\n")
    value, body = value.removeprefix("*"), [*_steps(task, choice), *before]
    if not ENDING[task.ending].needs or choice.guard == "none":
        body.append(f"return {value}")
    elif choice.guard == "block":
        body += [f"if {_condition(task)}:", f"    return {value}", f"return {task.guard}"]
    else:
        body.append(f"return {value} if {_condition(task)} else {task.guard}")
    return [f"def {name}(a):", *("    " + line for line in body)]


def draft(task: Task, rng: random.Random, odds: Callable[[str, str], float]) -> tuple[Choice, set[str]]:
    """One way of writing `task`: (choice, its flaws). `odds(flaw, word)` is the probability of a flaw at that word."""
    flaws: set[str] = set()

    def pick(word, entry) -> str:
        for flaw, snippets in (("slow", entry.slow), ("wrong", entry.wrong)):
            if snippets and rng.random() < odds(flaw, word):
                flaws.add(flaw)
                return rng.choice(snippets)
        return rng.choice(entry.fast)

    def happens(flaw: str, word: str) -> bool:
        hit = rng.random() < odds(flaw, word)
        if hit:
            flaws.add(flaw)
        return hit

    ending = ENDING[task.ending]
    steps = tuple(pick(name, OPERATION[name]).replace("{k}", str(k)) for name, k in task.steps)
    result = pick(task.ending, ending)
    if task.ending == "list":
        flaws.discard("wrong")  # the list is right, only its form is not
        if result == "a":
            flaws.add("format")
    unguarded = bool(ending.needs) and happens("unguarded", task.ending)
    guard = "none" if unguarded else rng.choice(("inline", "inline", "block"))
    reader = "no_count" if happens("reader", task.ending) else rng.choice(("lines", "lines", "whole"))
    return Choice(steps, result, guard, reader, happens("python2", task.ending)), flaws


def _steps(task: Task, choice: Choice) -> list[str]:
    snippets = choice.steps or [OPERATION[name].fast[0].replace("{k}", str(k)) for name, k in task.steps]
    return [line for snippet in snippets for line in snippet.split("\n")]


def _condition(task: Task) -> str:
    return "a" if ENDING[task.ending].needs == 1 else "len(a) > 1"


def _readers(choice: Choice) -> tuple[str, ...]:
    take = "raw_input()" if choice.python2 else "input()"
    if choice.reader == "no_count":
        return (f"a = list(map(int, {take}.split()))",)
    if choice.reader == "whole":
        return ("import sys", "a = list(map(int, sys.stdin.read().split()))[1:]")
    return (f"n = int({take})", f"a = list(map(int, {take}.split()))")


def _print2(value: str) -> str:
    return 'print " ".join(map(str, a))' if value == "*a" else f"print {value}"
