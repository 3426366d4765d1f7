"""Splits the tests of a function problem into cases, on this side and before any program runs.

A case is one assert (or a loop or block around asserts) at the top of a test or of its function `check`; each case is
judged on its own. A test without an assert is one case. `plan` rewrites a test so that every case records its ending:

    if __judge__.wanted(2):
        with __judge__:
            assert candidate([1, 2]) == 3
"""

import ast
import builtins
import json
import re
import symtable
import sys
from functools import lru_cache

from ..problem import Problem
from .prompt import names_class, stub

_BUILTINS = frozenset(dir(builtins))
_BEYOND = {  # what reads or needs the program's own process
    **dict.fromkeys(("gc", "inspect", "dis", "tracemalloc", "__main__"), "looks into the program's process"),
    **dict.fromkeys(("subprocess", "multiprocessing", "socket"), "starts processes or connections"),
}
_CLASS = re.compile(r"[A-Z][A-Za-z0-9]*")
_PATCHED = {"builtins", "sys", "time", "random", "os", "datetime", "math"}  # modules
_INSIDES = {"__code__", "__globals__", "__closure__", "_getframe", "getrefcount"}


@lru_cache(maxsize=4096)
def problem_with(test: str, packages: tuple[str, ...] = ()) -> str:
    """Why no program can be judged by this test of a function problem (Python source), or "".

    Call it where a set is read, and leave such a test out. `packages`: those that programs may import besides the
    standard library.
    """
    try:
        compile(test, "tests.py", "exec", dont_inherit=True)
        tree = ast.parse(test)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"it is not Python: {type(error).__name__}: {error}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or "."] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for name in (module.partition(".")[0] for module in modules):
                if name in _BEYOND:
                    return f"line {node.lineno} imports {name}: it {_BEYOND[name]}"
                if name not in sys.stdlib_module_names and name not in packages:
                    return f"line {node.lineno} imports {name or 'a relative module'}, which programs do not have"
        if isinstance(node, ast.Attribute) and node.attr in _INSIDES:
            return f"line {node.lineno} uses {node.attr}: it looks into the program's process"
    free = _free_names(symtable.symtable(test, "tests.py", "exec")) - _BUILTINS
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and (bases := free & {ast.unparse(base) for base in node.bases}):
            return f"line {node.lineno} derives a class from {min(bases)}, which only the program's process has"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _fixtures(node, tree):
            return f"line {node.lineno}: {node.name} needs fixtures of pytest"
    return ""


def _fixtures(function: ast.FunctionDef | ast.AsyncFunctionDef, tree: ast.Module) -> bool:
    """Whether only pytest can call it: a test function that has parameters without defaults and is used nowhere."""
    used = any(isinstance(node, ast.Name) and node.id == function.name for node in ast.walk(tree))
    return function.name.startswith("test_") and not used and len(function.args.args) > len(function.args.defaults)


def plan(test: str, problem: Problem) -> tuple[bytes, int]:
    """What the tests' process needs to run a test, as JSON, and its number of cases.

    `source`; `names` that only the program can define; `modules` of the standard library that the test uses but does
    not import; `classes`: those of the names that are classes, `named`: those that the prompt calls a class; `offers`:
    classes of the test that the program may name; `patches`: places of the standard library, [module, name], in which
    the test may put something of its own; `seed`: whether the test uses random numbers. Raises SyntaxError for a test
    that is not Python.
    """
    tree = ast.parse(test)
    nodes = list(ast.walk(tree))
    used_as_module = {n.value.id for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)}
    free = _free_names(symtable.symtable(test, "tests.py", "exec"))
    modules = {name for name in free & used_as_module if name in sys.stdlib_module_names}
    names = free - modules - _BUILTINS or free - modules  # an entry point may have the name of a built-in (MBPP 126)
    names |= {problem.entry_point or ""} & free
    helpers = ast.parse(stub(problem.prompt, problem.entry_point).get("helpers", ""))
    of_prompt = {node.name for node in helpers.body if isinstance(node, ast.FunctionDef)}
    if of_prompt & names and not any(isinstance(node, ast.ClassDef) for node in helpers.body):
        tree.body, names = helpers.body + tree.body, names - of_prompt  # no program replaces what the tests use
    content = {
        "names": sorted(names),
        "modules": sorted(modules),
        "classes": sorted(name for name in names if _CLASS.fullmatch(name) and name != problem.entry_point),
        "offers": [n.name for n in tree.body if isinstance(n, ast.ClassDef) and _is_data(n, problem.prompt)],
        "patches": sorted({place for node in nodes for place in _patches(node)}),
        "seed": any("random" in ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)),
    }
    # What the prompt calls a class: its operators may compare an object that the test has made with plain data.
    if named := [name for name in content["classes"] if names_class(problem.prompt, name)]:
        content["named"] = named
    count = _split(tree)
    return json.dumps({"source": ast.unparse(ast.fix_missing_locations(tree)), **content}).encode(), count


def _free_names(module: symtable.SymbolTable) -> set[str]:
    """The names that are looked up outside functions and that the module does not define."""
    free, scopes = set(), [module]
    while scopes:
        scope = scopes.pop()
        scopes += scope.get_children()
        top = scope is module
        free |= {s.get_name() for s in scope.get_symbols() if s.is_referenced() and (top or s.is_global())}
    return free - {s.get_name() for s in module.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}


def _is_data(definition: ast.ClassDef, prompt: str) -> bool:
    """Whether programs may make objects of a class of the test: the prompt names it, or it is a mere record, such as
    LeetCode's ListNode, and no place for answers."""
    methods = [n.name for n in definition.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return bool(re.search(rf"\b{definition.name}\b", prompt)) or all(name.startswith("__") for name in methods)


def _patches(node: ast.AST) -> list[tuple[str, str]]:
    """The places that `patch("time.sleep")`, `patch.object(time, "sleep")` or `time.sleep = ...` replace."""
    places = []
    if isinstance(node, ast.Call) and ("patch" in ast.unparse(node.func) or "setattr" in ast.unparse(node.func)):
        texts = [a.value if isinstance(a, ast.Constant) else ast.unparse(a) for a in node.args[:2]]
        places = [text for text in (*texts[:1], ".".join(map(str, texts))) if isinstance(text, str)]
    elif isinstance(node, ast.Assign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        places = [ast.unparse(target) for target in targets if isinstance(target, ast.Attribute)]
    pairs = [(module, name) for module, _, name in (place.rpartition(".") for place in places)]
    return [pair for pair in pairs if pair[0] in _PATCHED and pair[1].isidentifier()]


def _split(tree: ast.Module) -> int:
    """Turns the asserts of `tree` into cases, in place. Returns how many there are."""
    count = 0

    def with_cases(statements: list[ast.stmt]) -> list[ast.stmt]:
        nonlocal count
        rewritten = []
        for statement in statements:
            definition = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if not definition and any(isinstance(node, ast.Assert) for node in ast.walk(statement)):
                statement, count = _case([statement], count), count + 1
            rewritten.append(statement)
        return rewritten

    called = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "check" and called.count("check") == 1:
            statement.body = with_cases(statement.body)
    calls = _calls(tree, called)
    tree.body = with_cases([node for node in tree.body if not (calls and "unittest.main(" in ast.unparse(node))])
    for call in calls:  # what `unittest.main()` or pytest would run
        tree.body.append(_case(ast.parse(call).body, count))
        count += 1
    if count == 0:
        tree.body, count = [_case(tree.body, 0)], 1
    return count


def _calls(tree: ast.Module, called: list[str]) -> list[str]:
    """Calls of the test functions and methods in `tree` that are left to a test runner."""
    calls = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test") and node.name not in called:
            calls.append(f"{node.name}()")
        elif (
            isinstance(node, ast.ClassDef) and (node.bases or node.name.startswith("Test")) and node.name not in called
        ):
            methods = [n.name for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
            calls += [f"__judge__.method({node.name}, {n!r})" for n in methods if n.startswith("test")]
    return calls


def _case(statements: list[ast.stmt], number: int) -> ast.stmt:
    block = ast.With([ast.withitem(ast.Name("__judge__", ast.Load()))], statements or [ast.Pass()])
    wanted = ast.parse(f"__judge__.wanted({number})", mode="eval").body
    return ast.If(wanted, [block], [])
