"""What either end of the wire can ask of an object of the other end."""

import math
import operator

import tasks
from reference import BINARY, ORDER


def _deep_copy(target):
    from copy import deepcopy

    return deepcopy(target)


def _shallow_copy(target):
    from copy import copy

    return copy(target)


OPERATIONS = {
    "call": lambda target, /, *arguments, **named: target(*arguments, **named),
    "getattr": getattr,
    "setattr": setattr,
    "delattr": delattr,
    "getitem": operator.getitem,
    "setitem": operator.setitem,
    "delitem": operator.delitem,
    "contains": operator.contains,
    **{name: getattr(math, name) for name in ("trunc", "floor", "ceil")},
    **{name: getattr(operator, name) for name in ("neg", "pos", "abs", "invert", "index")},
    **{name: getattr(operator, name) for name in ("eq", *ORDER)},
    **{name: getattr(operator, name + "_" * (name in ("and", "or"))) for name in BINARY},
    **{f"i{name}": getattr(operator, f"i{name}") for name in BINARY},
    **{kind.__name__: kind for kind in (str, int, float, complex, bytes, bool)},
    **{each.__name__: each for each in (len, iter, next, hash, repr, round, format, reversed, dir, isinstance)},
    "subclasscheck": lambda target, kind: issubclass(kind, target),
    "enter": lambda target: target.__enter__(),
    "exit": lambda target, *ending: target.__exit__(*ending),
    "fspath": lambda target: target.__fspath__(),
    "copy": _shallow_copy,
    "deepcopy": _deep_copy,
    **tasks.OPERATIONS,
}
