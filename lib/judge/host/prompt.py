"""What the prompt of a function problem offers to programs.

If the prompt is Python that begins the entry point (HumanEval), a program finds the prompt's other statements, imports
and helpers, as if it stood below them; and it may be the body alone, which then goes on from the prompt. If it is not,
LeetCode's usual names (`List`, `collections`, `heapq`, `ListNode` and so on) are there for a program that uses them
without a definition, provided that the problem is of LeetCode's form: its tests use a class `Solution`, its prompt
names a class that they use, or it has no prompt that could say what is there. Everywhere else a program that forgets
an import fails, as it does in the graders of those sets.
"""

import ast
import re
from functools import lru_cache

from ..problem import Problem


@lru_cache(maxsize=256)
def stub(prompt: str, entry_point: str | None) -> dict:
    """Of a prompt that begins the entry point: `prompt`, `helpers` (source of its other statements), `indent` of the
    function's body. Else an empty dict."""
    try:
        tree = ast.parse(prompt)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    begun = [node for node in functions if node.name == entry_point]
    if not begun:
        return {}
    others = ast.Module([node for node in tree.body if node not in begun], [])
    return {"prompt": prompt, "helpers": ast.unparse(others), "indent": begun[-1].body[0].col_offset}


def offered(problem: Problem, names: set[str]) -> dict:
    """For the worker: `stub`, and whether there are the `usual` names. `names`: those that the tests use."""
    begun = stub(problem.prompt, problem.entry_point)
    classes = "Solution" in names or any(names_class(problem.prompt, name) for name in names)
    return {**begun, "usual": not begun and (classes or not problem.prompt.strip())}


def names_class(prompt: str, name: str) -> bool:
    """Whether the prompt calls this name a class."""
    return bool(re.search(rf"\bclass `?{name}\b", prompt))
