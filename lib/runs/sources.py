"""Hashes what code does, and finds the modules of `lib` that it can reach, without executing it.

1. Comments, docstrings and layout are no part of a hash.
2. Imports inside functions count, and so do the other ways to start code: a module started by its name
   (`"lib.judge.worker"`), a file beside the module (`"guard.c"`), and a neighbour imported by its bare name, as in
   programs that run outside the package.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from . import paths


class Source(NamedTuple):
    """A file's hash, the names that it imports, and its quoted identifiers: the keys that it may ask a mapping for."""

    hash: str
    imports: set[str]
    words: set[str]


class Sources:
    """The code of a repository. Each file is read once: make a new object to see later changes."""

    def __init__(self, root: Path):
        self._root = root

    @cache  # noqa: B019 (an object per reading)
    def notebook(self, name: str) -> Source:
        """The code cells of a template, without its parameters cell."""
        cells = json.loads((self._root / "notebooks" / f"{name}.ipynb").read_text())["cells"]
        code = (cell for cell in cells if cell["cell_type"] == "code")
        code = (cell for cell in code if "parameters" not in cell["metadata"].get("tags", []))
        trees = [_parse_cell("".join(cell["source"]), f"{name}.ipynb") for cell in code]
        content = digest([_behaviour(tree) for tree in trees])
        imports = set().union(*(self._imports(tree, package="") for tree in trees))
        return Source(content, imports, set().union(*map(_words, trees)))

    @cache  # noqa: B019
    def module(self, name: str) -> Source:
        """A module (`lib.judge`) or a file beside a module (`lib/judge/guard.c`). Raises FileNotFoundError."""
        path = self._path(name)
        if path is None:
            raise FileNotFoundError(f"no module or file {name}")
        if path.suffix != ".py":
            return Source(paths.file_hash(path), set(), set())
        tree = ast.parse(path.read_bytes(), filename=str(path.relative_to(self._root)))
        content = digest(_behaviour(tree))
        imports = self._imports(tree, name if path.name == "__init__.py" else name.rpartition(".")[0])
        return Source(content, imports, _words(tree))

    def reachable(self, notebook: str, without: Iterable[str] = ()) -> tuple[list[str], set[str]]:
        """The modules of `lib` that a notebook can reach, and the other packages that they import.

        `without`: packages and modules of `lib` that are left out, with everything that only they reach.
        """
        modules, others, queue = set(), set(), set(self.notebook(notebook).imports)
        while queue:
            name = queue.pop()
            if not _is_in_lib(name):
                others.add(name.split(".")[0])
            elif name not in modules and not any(f"{name}.".startswith(f"{left_out}.") for left_out in without):
                modules.add(name)
                queue |= self.module(name).imports
        return sorted(modules), others

    def _path(self, name: str) -> Path | None:
        stem = self._root / (name if "/" in name else name.replace(".", "/"))
        candidates = [stem] if "/" in name else [stem.with_name(f"{stem.name}.py"), stem / "__init__.py"]
        return next((path for path in candidates if path.is_file()), None)

    def _imports(self, tree: ast.AST, package: str) -> set[str]:
        """The names that code imports: modules of `lib` in full, others as they are written."""
        names = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {self._neighbour(alias.name, package) for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = self._neighbour(node.module or "", package)
                if node.level:
                    parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                    base = ".".join([*parents, *filter(None, [node.module])])
                names |= {base} | {f"{base}.{alias.name}" for alias in node.names if _is_in_lib(base)}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 80:
                names |= self._mentioned(node.value, package)
        # importing lib.judge.worker also runs the __init__ of lib.judge
        names |= {name[: dot.start()] for name in names if "/" not in name for dot in re.finditer(r"\.", name)}
        return {name for name in names if not _is_in_lib(name) or self._path(name)}

    def _neighbour(self, name: str, package: str) -> str:
        beside = f"{package}.{name}"
        return beside if package and name and self._path(beside) else name

    def _mentioned(self, text: str, package: str) -> set[str]:
        """The module or the file beside the module that a string names."""
        if re.fullmatch(r"lib(\.\w+)+", text):
            return {text}
        beside = f"{package.replace('.', '/')}/{text}"
        if package and re.fullmatch(r"[A-Za-z][\w-]*\.\w+", text) and self._path(beside):
            return {f"{package}.{text[:-3]}" if text.endswith(".py") else beside}
        return set()


def digest(value: object) -> str:
    """Hash of a JSON value: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _is_in_lib(name: str) -> bool:
    return name == "lib" or name.startswith(("lib.", "lib/"))


def _parse_cell(source: str, notebook: str) -> ast.Module:
    try:
        return ast.parse(source, filename=notebook)
    except SyntaxError:  # magics such as %time and !ls are no Python
        return ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.MULTILINE), filename=notebook)


def _behaviour(tree: ast.Module) -> str:
    """The syntax tree without docstrings: equal for two sources that do the same in the same words."""
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False):
            del node.body[0]
    return ast.dump(tree)


def _words(tree: ast.AST) -> set[str]:
    strings = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return {text for text in strings if text.isidentifier()}
