"""Row converters: turn a row of a data set into a problem, or into the reason why it cannot be used.

Rows have the schema of the data sets on the hub. The tiny sets have the same schemas, and so the same converters.
"""

import ast

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
_DIFFICULTIES = ("", "easy", "medium", "hard", "harder", "hardest", "external", *"ABCDEFGHIJKLMNOPQRSTUV")


def contest(row: dict, dataset: str, split: str) -> Problem | str:
    """A CodeContests row. Translated statements are used as they are; solutions in other languages are excluded."""
    if row["input_file"] or row["output_file"]:
        return "reads or writes named files"
    if not row["description"].strip():
        return "no statement"
    # Generated before private: the large inputs are among them, and a submission ends at its first time-out.
    tests = tuple(
        Test(text, output, visibility)
        for visibility in ("public", "generated", "private")
        for text, output in zip(row[f"{visibility}_tests"]["input"], row[f"{visibility}_tests"]["output"], strict=True)
    )
    if not tests:
        return "no tests"
    limit = row["time_limit"]
    return Problem(
        id=row["name"],
        dataset=dataset,
        split=split,
        kind="stdio",
        prompt=row["description"],
        tests=tests,
        difficulty=_DIFFICULTIES[row["difficulty"]],
        tags=tuple(tag for tag in row["cf_tags"] if tag),
        time_limit=Problem.time_limit if limit is None else limit["seconds"] + limit["nanos"] / 1e9,
        memory_limit=(row["memory_limit_bytes"] >> 20) if row["memory_limit_bytes"] else Problem.memory_limit,
        solutions=python3(row.get("solutions")),
        incorrect_solutions=python3(row.get("incorrect_solutions")),
    )


def python3(programs: dict | None) -> tuple[str, ...]:
    """The Python 3 programs of a column `{language: [int], solution: [str]}`; none if the row has no such column."""
    if programs is None:
        return ()
    pairs = zip(programs["language"], programs["solution"], strict=True)
    return tuple(program for language, program in pairs if language == PYTHON3)


def humaneval(row: dict, dataset: str, split: str) -> Problem:
    test = f"{_helpers(row)}{row['test']}\n\ncheck({row['entry_point']})\n"
    return Problem(
        id=row["task_id"],
        dataset=dataset,
        split=split,
        kind="function",
        prompt=row["prompt"],
        tests=(Test(test),),
        entry_point=row["entry_point"],
        time_limit=_function_time_limit(dataset),
        solutions=(row["prompt"] + row["canonical_solution"],),
    )


def _helpers(row: dict) -> str:
    """The functions that the tests call and only the prompt defines (HumanEval 32, 38, 50), as source.

    Their imports are excluded: a program that forgets an import is incorrect, whatever the prompt imported.
    """
    called = {node.id for node in ast.walk(ast.parse(row["test"])) if isinstance(node, ast.Name)}
    return "".join(
        f"{ast.get_source_segment(row['prompt'], node)}\n\n"
        for node in ast.parse(row["prompt"]).body
        if isinstance(node, ast.FunctionDef) and node.name in called and node.name != row["entry_point"]
    )


def mbpp_prompt(text: str, tests: list[str]) -> str:
    """The usual MBPP prompt: the task in words, then its asserts."""
    return "\n".join([text, "Your code should pass these tests:", *tests])


def mbpp(row: dict, dataset: str, split: str) -> Problem | str:
    """A row of MBPP, full or sanitized. The id is the same in both, because the problem is the same."""
    first, last = REGRESSION_TASKS if dataset == "mbpp_reg" else MBPP_TASKS[split]
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
        prompt=mbpp_prompt(row["prompt"] if "test_imports" in row else row["text"], row["test_list"]),
        tests=tuple(Test(setup + test, visibility="public") for test in row["test_list"]),
        time_limit=_function_time_limit(dataset),
        solutions=(row["code"],),
    )


def _function_time_limit(dataset: str) -> float:
    return TINY_FUNCTION_TIME_LIMIT if dataset.startswith("tiny_") else FUNCTION_TIME_LIMIT
