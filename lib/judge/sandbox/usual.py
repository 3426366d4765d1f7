"""The names that LeetCode and its like define for every program: modules, their content, and two classes of nodes."""

import builtins
from importlib import import_module
from types import CodeType

_MODULES = ("bisect", "collections", "copy", "functools", "heapq", "itertools", "math", "operator", "random", "re")
_MODULES += ("string", "sys", "typing", "datetime", "json", "array")
_CONTENT = ("typing", "collections", "functools", "itertools", "heapq", "bisect", "math")
_NODES = """
class ListNode:
    def __init__(self, val=0, next=None):
        self.val, self.next = val, next
class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val, self.left, self.right = val, left, right
"""


def used(code: CodeType) -> dict:
    """The usual names that a program uses. Its own definitions come later."""
    names, codes = set(), [code]
    while codes:
        part = codes.pop()
        names.update(part.co_names)
        codes += [constant for constant in part.co_consts if isinstance(constant, CodeType)]
    return made(names)


def made(names) -> dict:
    """Those of these names that are usual, with their values."""
    names = {name for name in names if not hasattr(builtins, name) and not name.startswith("_")}
    values = {name: import_module(name) for name in names & set(_MODULES)}
    for module in map(import_module, _CONTENT):
        if not (left := names - values.keys()):
            break
        values |= {name: vars(module)[name] for name in left & vars(module).keys()}
    if names & {"ListNode", "TreeNode"}:
        nodes: dict = {"__name__": "solution"}
        exec(_NODES, nodes)
        values |= {name: nodes[name] for name in names & {"ListNode", "TreeNode"}}
    return values
