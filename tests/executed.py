"""What an executed notebook and the folder of its run must be, whoever looks: used by several tests."""

import json
import re
from pathlib import Path

from lib.runs.record import MIME

# Folders at the root of somebody's machine; not `https://host/home`, `lib/root`, `#!/usr/bin/env`.
ABSOLUTE = re.compile(
    r"(?<![\w.~:/+=!-])/(?:home|root|work|workspace|tmp|var|usr|opt|mnt|media|srv|private|Users|Volumes)(?![\w.-])[^\s\"']*"
    r"|\b[A-Z]:\\Users\\\S*"
)
PICTURES = ("image/png", "image/jpeg")  # base64, in which anything can seem to be a path


def code_cells(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def what_is_incomplete(notebook: dict) -> list[str]:
    """Reasons why an executed notebook is not the whole of one run from top to bottom; none: it is."""
    cells = code_cells(notebook)
    counts = [cell["execution_count"] for cell in cells]
    problems = [] if counts == list(range(1, len(cells) + 1)) else [f"its cells were executed as {counts}"]
    for cell in cells:
        problems += [
            f"cell {cell['execution_count']} ended in {output['ename']}: {output['evalue']}"
            for output in cell["outputs"]
            if output["output_type"] == "error"
        ]
    return problems


def evidence_record(notebook: dict) -> dict:
    """The record that `run.finish` has left in the outputs of the last cell."""
    [record] = [
        output["data"][MIME] for output in code_cells(notebook)[-1]["outputs"] if MIME in output.get("data", {})
    ]
    return record


def absolute_paths(folder: Path) -> dict[str, str]:
    """file -> the first absolute path in it, for the files of a run's folder that are evidence."""
    found = {}
    for path in sorted(folder.rglob("*")):
        private = path.relative_to(folder).parts[0] in ("model", "checkpoints", ".local.json")
        if path.is_file() and not private and (match := ABSOLUTE.search(_text(path))):
            found[path.relative_to(folder).as_posix()] = match[0]
    return found


def _text(path: Path) -> str:
    """What a file says, without escapes that could hide a path or seem to begin one (`\\n/tmp`)."""
    if path.suffix in (".ipynb", ".json"):
        return "\n".join(_strings(json.loads(path.read_text())))
    if path.suffix == ".jsonl":
        return "\n".join(text for line in path.read_text().splitlines() for text in _strings(json.loads(line)))
    return path.read_bytes().decode("latin-1")


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        joined = "".join(value) if all(isinstance(item, str) for item in value) else ""
        return [joined] if joined else [text for item in value for text in _strings(item)]
    if isinstance(value, dict):
        return [text for key, item in value.items() if key not in PICTURES for text in [key, *_strings(item)]]
    return []
