"""Can a program carry anything from one test to the next, if both run in the same process?

Each run gets fresh globals and standard streams, so state survives only outside of them: in modules and in the
interpreter. A program that imports only stateless modules, and uses no name that reaches further, behaves in the quick
pass as it does alone: there its wrong answers count just as its right ones.
The check protects honest programs from themselves; evading it can only hurt that program's own result.
"""

from opcode import EXTENDED_ARG, opmap
from types import CodeType

_STATELESS = {
    *("__future__", "bisect", "cmath", "collections", "copy", "functools", "heapq", "itertools", "math", "operator"),
    *("re", "string", "sys", "typing"),
}
_REACHING = {
    *("__builtins__", "__del__", "__dict__", "__import__", "compile", "delattr", "eval", "exec", "globals", "open"),
    *("setattr", "vars"),
    *("excepthook", "modules", "set_int_max_str_digits", "setprofile", "setrecursionlimit", "settrace"),
}


def carries_nothing(program: CodeType) -> bool:
    """Whether an honest program can't carry state from one run to the next. False when in doubt."""
    codes = [program]
    while codes:
        code = codes.pop()
        if not _REACHING.isdisjoint(code.co_names) or not _imported(code) <= _STATELESS:
            return False
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return True


def _imported(code: CodeType) -> set[str]:
    modules, high = set(), 0
    for operation, argument in zip(code.co_code[::2], code.co_code[1::2], strict=True):
        argument |= high
        high = argument << 8 if operation == EXTENDED_ARG else 0
        if operation == opmap["IMPORT_NAME"]:
            modules.add(code.co_names[argument].partition(".")[0])
    return modules
