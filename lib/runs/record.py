"""The evidence record of a run: a table for people and JSON for programs in the same output of the notebook.

JSON is written in one way everywhere: sorted keys, two spaces, NaN and infinities as null, so that equal results give
equal files and every parser can read them.
"""

import hashlib
import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MIME = "application/vnd.rlvr.evidence+json"


class Evidence:
    """A record, shown as a table of its `summary`; programs find the whole record under the private type `MIME`."""

    def __init__(self, record: dict):
        self.record = {str(key): plain(value) for key, value in record.items()}

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        rows = [(name, _shown(value)) for name, value in _flat(self.record["summary"])]
        width = max((len(name) for name, _ in rows), default=0)
        text = "\n".join([self.record["run"], *(f"  {name:<{width}}  {value}" for name, value in rows)])
        body = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in rows)
        table = f"<table><caption>{html.escape(self.record['run'])}</caption>{body}</table>"
        return {"text/plain": text, "text/html": table, MIME: self.record}


def to_json(value: object) -> str:
    """`value` as the text of a JSON file. Raises TypeError for a type that JSON cannot express."""
    return json.dumps(plain(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """`value` in JSON's types: NumPy and torch numbers and arrays as Python's, NaN and infinities as None."""
    if isinstance(value, float):  # also numpy.float64
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    raise TypeError(f"{type(value).__name__} can't be saved as JSON: turn it into numbers, strings, lists or dicts")


def markdown_table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown, without a newline at its end."""
    names, *lines = (f"| {' | '.join(map(str, row))} |" for row in [head, *rows])
    return "\n".join([names.replace("|  |", "| |"), f"|{'---|' * len(head)}", *lines])


def _flat(value: object, name: str = "") -> list[tuple[str, object]]:
    if isinstance(value, Mapping):
        return [row for key, item in value.items() for row in _flat(item, f"{name}.{key}" if name else str(key))]
    return [(name, value)]


def _shown(value: object) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def output_hash(notebook: dict) -> str:
    """Hash of the outputs of all code cells, so that a later edit shows; 16 hexadecimal digits.

    It is no signature: whoever edits the outputs can also write a new hash, but not by accident. `notebook` as nbformat
    reads it, with joined texts.
    """
    outputs = [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return hashlib.sha256(json.dumps(outputs, sort_keys=True).encode()).hexdigest()[:16]
