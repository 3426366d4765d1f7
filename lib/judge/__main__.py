"""`python -m lib.judge program.py problem.json` judges one program; `python -m lib.judge --self-test` the judge itself.

The problem is a JSON object with the fields of `Problem`. Only `tests` is required: objects with `input`, `output` and,
optionally, `visibility`; `kind` is stdio unless given. Prints the verdict as JSON. Exit status: 0 accepted, 1 not
accepted, 2 no verdict.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .conformance.selftest import self_test
from .errors import IsolationError
from .judge import Judge
from .problem import Problem, Test


def read_problem(path: str) -> Problem:
    """The problem in a JSON file. Raises OSError, ValueError or TypeError if the file holds no problem."""
    fields = json.loads(Path(path).read_text())
    if not isinstance(fields, dict) or "tests" not in fields:
        raise ValueError(f"{path} holds no problem: a problem is an object with `tests`")
    tests = tuple(Test(**test) for test in fields.pop("tests"))
    defaults: dict[str, Any] = {"id": Path(path).stem, "dataset": "", "split": "", "kind": "stdio", "prompt": ""}
    return Problem(**{**defaults, **fields}, tests=tests)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__.split("\n\n")[0])
    parser.add_argument("program", nargs="?", help="a Python file, or - for the standard input")
    parser.add_argument("problem", nargs="?", help="a JSON file")
    parser.add_argument("--self-test", action="store_true", help="known verdicts on honest and cheating programs")
    parser.add_argument("--isolation", default="namespaces", choices=["namespaces", "none"])
    options = parser.parse_args(arguments)
    if not options.self_test and options.problem is None:
        parser.error("name a program and a problem, or --self-test")
    try:
        with Judge(workers=1, isolation=options.isolation) as judge:
            if options.self_test:
                return _self_test(judge)
            program = sys.stdin.read() if options.program == "-" else Path(options.program).read_text("utf-8")
            verdict = judge.judge(program, read_problem(options.problem))
    except (OSError, ValueError, TypeError, IsolationError) as error:
        print(f"no verdict: {error}", file=sys.stderr)
        return 2
    print(json.dumps(asdict(verdict), indent=2))
    return 2 if verdict.error_type == "api_error" else int(not verdict.accepted)


def _self_test(judge: Judge) -> int:
    print(judge.isolation)
    rows = self_test(judge)
    for exhibit, verdict, right in rows:
        print(f"{'right' if right else 'WRONG'}  {exhibit.kind:<9}{exhibit.tries:<50}{verdict.error_type}")
    return int(not all(right for _, _, right in rows))


if __name__ == "__main__":
    sys.exit(main())
