"""Programs of language models with the verdicts that other judges recorded, ready to be judged again.

The rows lie in ../shared/data/verdicts beside the project and are never copied into it. Each replay follows what the
recorded judge did (its README there), as far as that is a matter of the tests and not of a judge's faults.
"""

import ast
import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from lib.judge import Judge, Verdict
from lib.problems import Problem, Test, load_problems

ROWS = Path(__file__).resolve().parents[2].parent / "shared" / "data"
# Seconds a test. The recorded judges stopped at 1 to 5 s of wall time; endless programs cost a replay most of its time.
TIME_LIMIT = 3.0
PROMPT = "(not shown)"  # begins no function, so that the judge offers programs nothing of it, and no usual names
# What MapCoder's graders had imported before they ran a program.
IMPORTED = "from typing import *\nimport collections, copy, datetime, functools, hashlib, heapq, itertools, math, re\n"


class Row(NamedTuple):
    """`task`: its name in the set; `run`: the model or strategy; `before`: source that the recorded judge's process,
    which ran all programs in the same globals, may have held when it came to this program."""

    run: str
    task: str
    program: str
    problem: Problem
    recorded: bool
    before: str = ""


def evalplus_humaneval() -> Iterator[Row]:
    """The tests bring the helpers of the prompts along (32, 38, 50), but not their imports."""
    problems = {problem.id: problem for problem in _humaneval()}
    for run, row in _evalplus("humaneval"):
        yield Row(run, row["task_id"], row["solution"], problems[row["task_id"]], row["base_status"] == "pass")


def evalplus_mbpp() -> Iterator[Row]:
    """By the asserts of MBPP sanitized, from which EvalPlus made its own."""
    file, splits = ROWS / "mbpp" / "sanitized-mbpp.json", ("prompt", "test", "validation", "train")
    loaded = [p for split in splits for p in load_problems("mbpp_sanitized", split, file, frozen=False)]
    problems = {problem.id.lower(): replace(problem, time_limit=TIME_LIMIT) for problem in loaded}
    for run, row in _evalplus("mbpp"):
        yield Row(run, row["task_id"], row["solution"], problems[row["task_id"].lower()], row["base_status"] == "pass")


def mapcoder_humaneval() -> Iterator[Row]:
    """The program alone, without the helpers of the prompts."""
    problems = {}
    for problem in _humaneval():
        alone = problem.tests[0].input
        if problem.id in ("HumanEval/32", "HumanEval/38", "HumanEval/50"):
            alone = ast.unparse([node for node in ast.parse(alone).body if getattr(node, "name", "check") == "check"])
        problems[problem.id] = replace(problem, tests=(Test(alone),))
    for row in _lines("mapcoder_humaneval_chatgpt.jsonl.gz"):
        yield Row(row["run"], row["task_id"], IMPORTED + row["code"], problems[row["task_id"]], row["is_solved"])


def mapcoder_mbpp() -> Iterator[Row]:
    """By the asserts behind the first one, which was the sample in the prompt: 21 programs that fail it alone are
    recorded as solved. Where a program uses `sum` and stands behind task 126, which asks for a function of that name,
    the run's own answer to 126 stands in `before`."""
    problems = {}
    for row in _lines("mapcoder_mbpp_tests.jsonl.gz"):
        check = ast.parse(row["test"]).body[0]
        check.body = check.body[1:]
        test = Test(f"{ast.unparse(check)}\n\ncheck({row['entry_point']})\n", visibility="public")
        entry_point, limit = row["entry_point"], TIME_LIMIT
        problems[row["name"]] = Problem(
            row["name"], "mbpp", "test", "function", PROMPT, (test,), entry_point=entry_point, time_limit=limit
        )
    rows = list(_lines("mapcoder_mbpp_chatgpt.jsonl.gz"))
    shadowing: dict[str, str] = {}  # of a run: its program for task 126, once that has had its turn
    for row in rows:
        before = shadowing.get(row["run"], "") if re.search(r"\bsum\(", row["code"]) else ""
        yield Row(row["run"], row["name"], IMPORTED + row["code"], problems[row["name"]], row["is_solved"], before)
        if row["name"] == "mbpp_126_sum":
            shadowing[row["run"]] = row["code"]


def mapcoder_apps() -> Iterator[Row]:
    """The problems without starter code: those that read standard input."""
    problems = {}
    for row in _lines("apps_150_problems.jsonl.gz"):
        if not row["starter_code"].strip():
            tests = tuple(Test(test["input"], test["output"][0]) for test in row["test_list"])
            problems[row["id"]] = Problem(str(row["id"]), "apps", "test", "stdio", "", tests, time_limit=TIME_LIMIT)
    for row in _lines("mapcoder_apps_chatgpt.jsonl.gz"):
        if row["id"] in problems:
            yield Row(row["run"], str(row["id"]), IMPORTED + row["code"], problems[row["id"]], row["is_solved"])


# Each with the share of the recorded verdicts that has to come out again.
REPLAYS = {
    evalplus_humaneval: 1.0,
    evalplus_mbpp: 0.985,
    mapcoder_humaneval: 0.99,
    mapcoder_mbpp: 0.97,
    mapcoder_apps: 0.99,
}

LEAK = "leak: the recorded grader still had the function `sum` of the same run's task 126"
_SUM = "right, by reading, and it adds up by `sum`; but it stands before task 126, so why it failed there stays a guess"
CAUSES = {
    ("evalplus_mbpp", "Mbpp/87"): "the last dictionary wins, the assert wants the first; EvalPlus changed the tests",
    ("evalplus_mbpp", "Mbpp/612"): "only two of three elements are merged; EvalPlus changed the tests",
    ("evalplus_mbpp", "Mbpp/579"): "another order or a list, the assert wants one tuple; EvalPlus changed the tests",
    ("evalplus_mbpp", "Mbpp/223"): "an assert names a length beyond the list: IndexError; EvalPlus changed the tests",
    ("evalplus_mbpp", "Mbpp/233"): "3.14159 for pi is near enough for MBPP's asserts (0.1 %), not for EvalPlus",
    ("evalplus_mbpp", "Mbpp/123"): "right but slow (seconds): the recorded judge stopped it by wall time",
    ("mapcoder_humaneval", "HumanEval/129"): "right but slow (tries every path): stopped there by wall time",
    ("mapcoder_mbpp", "mbpp_61_count_Substrings"): _SUM,
    ("mapcoder_mbpp", "mbpp_105_count"): _SUM,
    ("mapcoder_mbpp", "mbpp_109_odd_Equivalent"): _SUM,
    ("mapcoder_mbpp", "mbpp_123_amicable_numbers_sum"): "right but slow (2 s): stopped there by wall time, it seems",
}


def disagreements(replay, rows: list[Row], judge: Judge) -> list[tuple[Row, Verdict, str]]:
    """The rows whose verdict differs from the recorded one, each with its cause ("" if unknown)."""
    verdicts = judge.judge_many([(row.program, row.problem) for row in rows])
    leaked = imitated(rows, judge)
    return [
        (row, verdict, LEAK if row.before and fits else CAUSES.get((replay.__name__, row.task), ""))
        for row, verdict, fits in zip(rows, verdicts, leaked, strict=True)
        if verdict.accepted != row.recorded
    ]


def imitated(rows: list[Row], judge: Judge) -> list[bool]:
    """For each row: is the verdict as recorded if the program runs after the source in `before`?"""
    pairs = [(f"{row.before}\n{row.program}" if row.before else row.program, row.problem) for row in rows]
    return [verdict.accepted == row.recorded for verdict, row in zip(judge.judge_many(pairs), rows, strict=True)]


def _humaneval() -> list[Problem]:
    """Without the prompts: the recorded judges ran programs alone."""
    problems = load_problems("humaneval", source=ROWS / "humaneval" / "HumanEval.jsonl.gz")
    return [replace(problem, prompt=PROMPT, time_limit=TIME_LIMIT) for problem in problems]


def _evalplus(what: str) -> Iterator[tuple[str, dict]]:
    for file in sorted((ROWS / "verdicts").glob(f"evalplus_{what}_*.json.gz")):
        run = file.name.removeprefix(f"evalplus_{what}_").removesuffix(".json.gz")
        for rows in json.loads(gzip.decompress(file.read_bytes()))["eval"].values():
            yield from ((run, row) for row in rows)


def _lines(name: str) -> Iterator[dict]:
    return map(json.loads, gzip.decompress((ROWS / "verdicts" / name).read_bytes()).splitlines())
