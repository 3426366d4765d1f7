"""Programs that are the body alone of a function that the prompt has begun (HumanEval's completions)."""

import ast
import textwrap

_PLACED = (ast.stmt, ast.expr, ast.excepthandler, ast.arg, ast.keyword, ast.alias, ast.pattern)
_parse, _compile, _walk, _indent = ast.parse, compile, ast.walk, textwrap.indent


def of_body(prompt: str, body: str, indent: int):
    """The code object of the prompt with this body, whose lines count from the body's first; None if that is no Python.
    A body that lost its indentation on the way, on the first line or on all, gets it back."""
    margin = " " * indent
    whole = prompt if prompt.endswith("\n") else prompt + "\n"
    for text in (prompt + body, whole + body, whole + margin + body, whole + _indent(body, margin)):
        try:
            tree = _parse(text)
            return _compile(_shifted(tree, text.count("\n") - body.count("\n")), "program.py", "exec")
        except SyntaxError:
            continue
    return None


def _shifted(tree: ast.Module, lines: int) -> ast.Module:
    """The tree with line numbers that begin below the prompt. All of the prompt is on the first line."""
    for node in _walk(tree):
        if isinstance(node, _PLACED) and node.end_lineno is not None:
            if node.lineno <= lines:
                node.lineno, node.col_offset = lines + 1, 0
            if node.end_lineno <= lines:
                node.end_lineno, node.end_col_offset = lines + 1, 0
            node.lineno -= lines
            node.end_lineno -= lines
    return tree
