"""Views of a problem that contain nothing but its public tests: all that feedback and selection may use."""

import ast
from dataclasses import replace

from lib.judge.problem import Problem, Test


def only_public(problem: Problem) -> Problem | None:
    """The problem with its public tests only and without solutions; None if it has no public test."""
    tests = tuple(test for test in problem.tests if test.visibility == "public")
    return replace(problem, tests=tests, solutions=(), incorrect_solutions=()) if tests else None


def without_expected(problem: Problem) -> Problem | None:
    """The inputs of the public tests without expected outputs: its verdict contains outputs and nothing else.

    For a function problem the inputs are the left sides of the public asserts (`assert f(2) == 4`). None if there are
    no public tests, or if one of them has another form.
    """
    if (shown := only_public(problem)) is None:
        return None
    tests = [_without_answer(test, problem.kind) for test in shown.tests]
    return None if None in tests else replace(shown, tests=tuple(tests), checker="exact")


def _without_answer(test: Test, kind: str) -> Test | None:
    if kind == "stdio":
        return replace(test, output="")
    *before, last = ast.parse(test.input).body
    if not isinstance(last, ast.Assert) or any(isinstance(node, ast.Assert) for node in before):
        return None
    compared = last.test
    if not isinstance(compared, ast.Compare) or not isinstance(compared.ops[0], ast.Eq) or len(compared.ops) > 1:
        return None
    # Never true, because the judge reports the output only of an assert that fails.
    last.test = ast.Compare(compared.left, [ast.Is()], [ast.Constant(...)])
    return replace(test, input="\n".join(map(ast.unparse, [*before, last])))
