"""Row converters: turn a row of a data set into a problem, or into the reason why it cannot be used.

Rows have the schema of the data sets on the hub. The tiny sets have the same schemas, and so the same converters.
A converter raises an error for a row of another schema; `unusable` checks the problem that it makes.
"""

import ast
import re

from lib.judge.host.cases import problem_with
from lib.judge.problem import Problem, Test

PYTHON3 = 3  # CodeContests' number of the language: 1 Python 2, 2 C++, 3 Python 3, 4 Java
SOLUTIONS = ("solutions", "incorrect_solutions")  # over 90 % of the bytes of CodeContests
CONTEST = (
    *("name", "description", "public_tests", "private_tests", "generated_tests", "difficulty", "cf_tags"),
    *("time_limit", "memory_limit_bytes", "input_file", "output_file"),
)
FUNCTION_TIME_LIMIT, TINY_FUNCTION_TIME_LIMIT = 10.0, 1.0  # s; function sets state none. MBPP 123 needs 2 to 6 s
MBPP_TASKS = {"prompt": (1, 10), "test": (11, 510), "validation": (511, 600), "train": (601, 974)}
REGRESSION_TASKS = (11, 210)  # MBPP_reg
# mbpp_one: its test set has no task of mbpp_reg, so that a run may monitor the one and report the other
ONE_TASKS = {"train": (601, 974), "valid": (511, 600), "valid_big": (411, 510), "test": (211, 410)}
_ASSERT = re.compile(r"^\s*assert\b", re.MULTILINE)
_DIFFICULTIES = ("", "easy", "medium", "hard", "harder", "hardest", "external", *"ABCDEFGHIJKLMNOPQRSTUV")


def contest(row: dict, dataset: str, split: str) -> Problem | str:
    """A CodeContests row. Translated statements are used as they are; solutions in other languages are excluded."""
    if row["input_file"] or row["output_file"]:
        return "reads or writes named files"
    # Generated before private: the large inputs are among them, and a submission ends at its first time-out.
    tests = tuple(
        Test(text, output, visibility)
        for visibility in ("public", "generated", "private")
        for text, output in zip(*_lists(row[f"{visibility}_tests"], "input", "output"), strict=True)
    )
    limit, difficulty = row["time_limit"], row["difficulty"]
    return Problem(
        id=row["name"],
        dataset=dataset,
        split=split,
        kind="stdio",
        prompt=row["description"],
        tests=tests,
        difficulty=_DIFFICULTIES[difficulty] if difficulty in range(len(_DIFFICULTIES)) else "",
        tags=tuple(tag for tag in row["cf_tags"] or () if tag and isinstance(tag, str)),
        time_limit=Problem.time_limit if limit is None else limit["seconds"] + limit["nanos"] / 1e9,
        memory_limit=(row["memory_limit_bytes"] >> 20) if row["memory_limit_bytes"] else Problem.memory_limit,
        solutions=python3(row.get("solutions")),
        incorrect_solutions=python3(row.get("incorrect_solutions")),
    )


def python3(programs: dict | None) -> tuple[str, ...]:
    """The Python 3 programs of a column `{language: [int], solution: [str]}`; none if the row has no such column."""
    if programs is None:
        return ()
    pairs = zip(*_lists(programs, "language", "solution"), strict=True)
    return tuple(program for language, program in pairs if language == PYTHON3)


def _lists(columns: dict, *names: str) -> list[list]:
    for name in names:
        if not isinstance(columns[name], list):
            raise TypeError(f"{name} is not a list")
    return [columns[name] for name in names]


def humaneval(row: dict, dataset: str, split: str) -> Problem | str:
    prompt, test = ast.parse(row["prompt"]), ast.parse(row["test"])
    functions = {node.name: node for node in prompt.body if isinstance(node, ast.FunctionDef)}
    if row["entry_point"] not in functions:
        return "a prompt without the function that is tested"
    if not any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in test.body):
        return "a test without a function check"
    # Functions that the tests call and only the prompt defines (HumanEval 32, 38, 50) precede the test. Their imports
    # are excluded: a program that forgets an import is incorrect, whatever the prompt imported.
    called = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    helpers = [
        ast.get_source_segment(row["prompt"], functions[n]) for n in functions if n in called - {row["entry_point"]}
    ]
    source = "".join(f"{helper}\n\n" for helper in helpers) + f"{row['test']}\n\ncheck({row['entry_point']})\n"
    return Problem(
        id=row["task_id"],
        dataset=dataset,
        split=split,
        kind="function",
        prompt=row["prompt"],
        tests=(Test(source),),
        entry_point=row["entry_point"],
        time_limit=_function_time_limit(dataset),
        solutions=(row["prompt"] + row["canonical_solution"],),
    )


def mbpp_prompt(text: str, tests: list[str]) -> str:
    """The usual MBPP prompt: the task in words, then its asserts."""
    return "\n".join([text, "Your code should pass these tests:", *tests])


def mbpp(row: dict, dataset: str, split: str) -> Problem | str:
    """A row of MBPP, full or sanitized. The id is the same in both, because the problem is the same.

    The prompt of MBPP shows all asserts: they are public tests, and whatever selects by public tests is the oracle. The
    prompt of `mbpp_one` shows the first assert; the others are private.
    """
    if type(row["task_id"]) is not int:
        raise TypeError(f"task_id {row['task_id']!r} is not a whole number")
    [asserts] = _lists(row, "test_list")
    one = dataset == "mbpp_one"
    first, last = REGRESSION_TASKS if dataset == "mbpp_reg" else (ONE_TASKS if one else MBPP_TASKS)[split]
    if not first <= row["task_id"] <= last:
        return "of another split"  # a file may hold all of them
    # The set-up code belongs after the program: before it, tasks 367 and 927 fail with their own reference solutions.
    before = row["test_imports"] if "test_imports" in row else [row["test_setup_code"]]
    setup = "".join(f"{line}\n" for line in before if line)
    family = "mbpp" if dataset.startswith("mbpp") else dataset
    return Problem(
        id=f"{family}/{row['task_id']}",
        dataset=dataset,
        split=split,
        kind="function",
        prompt=mbpp_prompt(row["prompt"] if "test_imports" in row else row["text"], asserts[: 1 if one else None]),
        tests=tuple(
            Test(setup + test, visibility="private" if one and number else "public")
            for number, test in enumerate(asserts)
        ),
        time_limit=_function_time_limit(dataset),
        solutions=(row["code"],),
    )


def _function_time_limit(dataset: str) -> float:
    return TINY_FUNCTION_TIME_LIMIT if dataset.startswith("tiny_") else FUNCTION_TIME_LIMIT


def unusable(problem: Problem) -> str:
    """The reason why a problem must be left out, or "". No run ends later because of a problem without one."""
    tests = problem.tests
    texts = [problem.id, problem.prompt, *(text for test in tests for text in (test.input, test.output))]
    if not all(isinstance(text, str) for text in (*texts, *problem.solutions, *problem.incorrect_solutions)):
        return "an id, statement, input, output or program that is not text"
    if not all(text.isascii() or text.encode("utf-8", "ignore").decode() == text for text in texts):
        return "text that is not valid Unicode"
    if not problem.id.strip():
        return "no id"
    if not problem.prompt.strip():
        return "no statement"
    if not tests:
        return "no tests"
    if not (0 < problem.time_limit < 3600 and 0 < problem.memory_limit < 1 << 20):
        return "a time or memory limit that is 0 or out of range"
    if problem.kind == "stdio":
        return "" if any(test.output.strip() for test in tests) else "no expected output"
    return _unusable_asserts(tests)


def _unusable_asserts(tests: tuple[Test, ...]) -> str:
    for test in tests:
        if reason := problem_with(test.input):
            return f"a test by which nothing can be judged: {reason}"
        if not _ASSERT.search(test.input) and not any(map(_asserts, ast.walk(ast.parse(test.input)))):
            return "a test without an assert"
    return ""


def _asserts(node: ast.AST) -> bool:
    method = isinstance(node, ast.Attribute) and node.attr.startswith("assert")  # of unittest
    return method or isinstance(node, ast.Assert | ast.Raise)
