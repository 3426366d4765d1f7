"""Evidence: what a run found, shown to people and readable by programs in the same output of the notebook.

JSON is written one way everywhere: sorted keys, two spaces, NaN and infinities as null, so that equal results give
equal files and any parser can read them.
"""

import html
import json
import math
from collections.abc import Mapping

MIME = "application/vnd.rlvr.evidence+json"


class Evidence:
    """A record, shown as a table of its `summary`; programs find all of it under the private type `MIME`."""

    def __init__(self, record: dict):
        self.record = plain(record)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return {"text/plain": self._text(), "text/html": self._html(), MIME: self.record}

    def _rows(self) -> list[tuple[str, str]]:
        return [(name, _show(value)) for name, value in _flat(self.record["summary"])]

    def _text(self) -> str:
        rows = self._rows()
        width = max((len(name) for name, _ in rows), default=0)
        return "\n".join([self.record["run"], *(f"  {name:<{width}}  {value}" for name, value in rows)])

    def _html(self) -> str:
        rows = ((html.escape(name), html.escape(value)) for name, value in self._rows())
        body = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows)
        return f"<table><caption>{html.escape(self.record['run'])}</caption>{body}</table>"


def to_json(value: object) -> str:
    """`value` as the text of a JSON file. Raises TypeError for what JSON has no words for."""
    return json.dumps(plain(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def plain(value: object) -> object:
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


def _flat(value: object, name: str = "") -> list[tuple[str, object]]:
    if isinstance(value, Mapping):
        return [row for key, item in value.items() for row in _flat(item, f"{name}.{key}" if name else key)]
    return [(name, value)]


def _show(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else str(value)
