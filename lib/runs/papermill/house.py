"""This repository, seen from papermill: where it is, and the two modules of its `lib` that the plug-in needs."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[3]


def own(module: str) -> ModuleType:
    """A module of our `lib` that imports nothing else of it, found by its place.

    Importing `lib` by name would find another project's when papermill is started in its folder, or leave ours in
    `sys.modules` where that project then looks for its own.
    """
    name = f"rlvr_papermill.own_{module}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "lib" / "runs" / f"{module}.py")
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[name] = loaded  # before execution: dataclasses look their module up there
        try:
            spec.loader.exec_module(loaded)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def warn(error: Exception) -> None:
    """One line on stderr, when something of ours has failed and papermill goes on without it."""
    message = f"{type(error).__name__}: {error}".splitlines()[0]
    print(f"rlvr_papermill: papermill goes on without it ({message})", file=sys.stderr)
