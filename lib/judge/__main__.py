"""`python -m lib.judge program.py problem.json` judges one program; `python -m lib.judge --self-test` the judge itself.

The problem is an object with the fields of `lib.problems.Problem`; only `tests` (objects with `input`, `output` and
perhaps `visibility`) has to be there, `kind` is stdio unless it says function. Prints the verdict as JSON. Exit status:
0 accepted, 1 not accepted, 2 no verdict.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from lib.judge.judge import Judge
from lib.judge.problem import Problem, Test
from lib.judge.selftest import self_test
from lib.judge.worker import IsolationError


def read_problem(path: str) -> Problem:
    """The problem in a JSON file. Raises OSError, ValueError, TypeError or KeyError for what is none."""
    fields = json.loads(Path(path).read_text())
    if not isinstance(fields, dict) or "tests" not in fields:
        raise ValueError("a problem is an object with `tests`")
    tests = tuple(Test(**test) for test in fields.pop("tests"))
    named = {"id": Path(path).stem, "dataset": "", "split": "", "kind": "stdio", "prompt": ""}
    return Problem(**{**named, **fields}, tests=tests)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.judge", description=__doc__.split("\n\n")[0])
    parser.add_argument("program", nargs="?", help="a Python file, or - for the standard input")
    parser.add_argument("problem", nargs="?", help="a JSON file")
    parser.add_argument("--self-test", action="store_true", help="known verdicts on honest and cheating programs")
    parser.add_argument("--isolation", default="namespaces", choices=["namespaces", "none"])
    chosen = parser.parse_args(arguments)
    if not chosen.self_test and chosen.problem is None:
        parser.error("name a program and a problem, or --self-test")
    try:
        with Judge(workers=1, isolation=chosen.isolation) as judge:
            if chosen.self_test:
                return _self_test(judge)
            file = sys.stdin if chosen.program == "-" else open(chosen.program, encoding="utf-8")  # noqa: SIM115
            with file:
                verdict = judge.judge(file.read(), read_problem(chosen.problem))
    except (OSError, ValueError, TypeError, IsolationError) as error:
        print(f"no verdict: {error}", file=sys.stderr)
        return 2
    print(json.dumps(asdict(verdict), indent=2))
    return 2 if verdict.error_type == "api_error" else int(not verdict.accepted)


def _self_test(judge: Judge) -> int:
    print(judge.isolation)
    found = self_test(judge)
    for exhibit, verdict, right in found:
        print(f"{'right' if right else 'WRONG'}  {exhibit.kind:<9}{exhibit.tries:<50}{verdict.error_type}")
    return int(not all(right for _, _, right in found))


if __name__ == "__main__":
    sys.exit(main())
