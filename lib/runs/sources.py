"""Sources: what a piece of code does, as a hash, and which modules of `lib` it can reach, read without executing it.

1. Code counts as what it does: comments, docstrings and layout are no part of the hash.
2. Imports inside functions count, and so does whatever else can start code: a module started by its name
   (`"lib.judge.worker"`), a file beside the module (`"zygote.py"`, `"guard.c"`), a neighbour imported by its bare name,
   as programs do that run outside the package.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Set
from pathlib import Path


class Sources:
    """The code of a repository. Each file is read once: make a new object to see what changed since."""

    def __init__(self, root: Path):
        self._root = root
        self._read: dict[str, tuple[str, set[str], set[str]]] = {}  # hash, imports, words

    def notebook(self, name: str) -> str:
        """Hash of the code cells of a template, without its parameters cell."""
        return self._notebook(name)[0]

    def module(self, name: str) -> str:
        """Hash of a module (`lib.judge`) or of a file that lies beside one (`lib/judge/guard.c`)."""
        return self._module(name)[0]

    def words(self, notebook: str, modules: Iterable[str]) -> set[str]:
        """The identifiers in quotes in a notebook and in modules: what they may ask a mapping for."""
        files = [self._notebook(notebook), *map(self._module, modules)]
        return set().union(*(words for *_, words in files))

    def reachable(self, notebook: str, passed_by: Set[str] = frozenset()) -> tuple[list[str], set[str]]:
        """The modules of `lib` that a notebook can reach, and the other packages; not through those `passed_by`."""
        found, others, queue = set(), set(), set(self._notebook(notebook)[1])
        while queue:
            name = queue.pop()
            if not _is_ours(name):
                others.add(name.split(".")[0])
            elif name not in found and name not in passed_by:
                found.add(name)
                queue |= self._module(name)[1]
        return sorted(found), others

    def _notebook(self, notebook: str) -> tuple[str, set[str], set[str]]:
        key = f"{notebook}.ipynb"
        if key not in self._read:
            code, imported, words = [], set(), set()
            for cell in json.loads((self._root / "notebooks" / key).read_text())["cells"]:
                if cell["cell_type"] != "code" or "parameters" in cell["metadata"].get("tags", []):
                    continue
                tree = _parse_cell("".join(cell["source"]), key)
                imported |= self._imports(tree, package="")
                code.append(_behaviour(tree))
                words |= _words(tree)
            self._read[key] = digest(code), imported, words
        return self._read[key]

    def _module(self, name: str) -> tuple[str, set[str], set[str]]:
        if name not in self._read:
            path = self._path(name)
            if path.suffix == ".py":
                tree = ast.parse(path.read_bytes(), filename=str(path.relative_to(self._root)))
                imported = self._imports(tree, name if path.name == "__init__.py" else name.rpartition(".")[0])
                self._read[name] = digest(_behaviour(tree)), imported, _words(tree)
            else:
                self._read[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:16], set(), set()
        return self._read[name]

    def _path(self, name: str) -> Path | None:
        if "/" in name:
            candidates = [self._root / name]
        else:
            stem = self._root / name.replace(".", "/")
            candidates = [stem.with_name(f"{stem.name}.py"), stem / "__init__.py"]
        return next((path for path in candidates if path.is_file()), None)

    def _imports(self, tree: ast.AST, package: str) -> set[str]:
        """Names that the code imports: modules of `lib` in full, others as they are written."""
        names = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {self._neighbour(alias.name, package) for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    parents = package.split(".")
                    base = ".".join(parents[: len(parents) - node.level + 1] + ([base] if base else []))
                else:
                    base = self._neighbour(base, package)
                names |= {base} | {f"{base}.{alias.name}" for alias in node.names if _is_ours(base)}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 80:
                names |= self._mentioned(node.value, package)
        # importing lib.judge.worker runs the __init__ of lib.judge, too
        names |= {name[: dot.start()] for name in names if "/" not in name for dot in re.finditer(r"\.", name)}
        return {name for name in names if not _is_ours(name) or self._path(name)}

    def _neighbour(self, name: str, package: str) -> str:
        beside = f"{package}.{name}"
        return beside if package and self._path(beside) else name

    def _mentioned(self, text: str, package: str) -> set[str]:
        if re.fullmatch(r"lib(\.\w+)+", text):
            return {text}
        if package and re.fullmatch(r"[A-Za-z][\w-]*\.\w+", text):
            beside = f"{package.replace('.', '/')}/{text}"
            if self._path(beside):
                return {f"{package}.{text[:-3]}" if text.endswith(".py") else beside}
        return set()


def digest(value: object) -> str:
    """Hash of a JSON value: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _is_ours(name: str) -> bool:
    return name == "lib" or name.startswith(("lib.", "lib/"))


def _parse_cell(source: str, notebook: str) -> ast.Module:
    try:
        return ast.parse(source, filename=notebook)
    except SyntaxError:  # magics: %time and !ls are no Python
        return ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.MULTILINE), filename=notebook)


def _behaviour(tree: ast.Module) -> str:
    """The code as its syntax tree, without docstrings: equal for two sources that do the same in the same words."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False):
            del node.body[0]
    return ast.dump(tree)


def _words(tree: ast.AST) -> set[str]:
    strings = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return {text for text in strings if text.isidentifier()}
