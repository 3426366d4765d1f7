"""Cleans an executed notebook, so that it is the same wherever and whenever the same thing is executed.

1. No absolute path of the machine in outputs and metadata: folders get short names (`shortener`).
2. No clocks and counters of the execution: timing, random ids, process numbers, addresses of objects.
3. A cell's stdout and stderr become one text each, until another output comes between: their division into messages
   depends on timing. Progress bars are removed.
4. Of a widget only its static rendering stays (HTML or text): readers of a finished notebook have no kernel.
5. A table of pandas is kept as HTML alone, not as text a second time.
"""

import copy
import re
import site
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path, PurePath

import nbformat

from .. import paths
from .plan import INJECTED

ANSI = re.compile(r"(\x1b\[[0-9;]*[A-Za-z])")
BAR = re.compile(r"\d+%\|.*\|.*\[.*\]")
OVERWRITTEN = re.compile(r"[^\n]*\r(?=[^\n])")
RANDOM = (
    (re.compile(r"(?:tmp/)?ipykernel_\d+/\d+\.py"), "cell.py"),  # the place of a cell's code in warnings
    (re.compile(r"\btmp/tmp[a-z0-9_]{8}\b"), "tmp/tmp"),
    (re.compile(r"\bat 0x[0-9a-f]{6,}\b"), "at 0x0"),
)
VIEW = "application/vnd.jupyter.widget-view+json"
OPAQUE = ("image/png", "image/jpeg", "image/gif", "application/pdf")  # base64, which may look like a path
TABLE = 'class="dataframe"'  # of pandas
MOVING = ("start_time", "end_time", "duration", "environment_variables", "version")


def shortener(folder: Path, shown: str) -> Callable[[str], str]:
    """A function that shortens the paths in a text. `folder`: where the run's files are made; `shown`: its name.

    The repository's root and the working directory become nothing (`lib/training/grpo.py`), the home folder `~`.
    """
    root, home = paths.root(), Path.home()
    named = [
        (folder, shown),
        (folder.parent, PurePath(shown).parent.as_posix()),
        (paths.artifacts(), "artifacts"),
        (root, "."),
        *((Path(place), "site-packages") for place in (*site.getsitepackages(), site.getusersitepackages())),
        (Path(sysconfig.get_path("stdlib")), f"python{sys.version_info.major}.{sys.version_info.minor}"),
        (Path(sys.prefix), "python" if sys.prefix == sys.base_prefix else ".venv"),
        (Path(sys.base_prefix), "python"),
        *([] if Path.cwd().is_relative_to(root) else [(Path.cwd(), ".")]),
        (Path(tempfile.gettempdir()), "tmp"),
        (home, "~"),
    ]
    names: dict[str, str] = {}
    for place, name in named:
        for text in (str(place), str(place.resolve())):
            names.setdefault(text, name)
            if text.startswith(f"{home}/"):  # IPython writes it so in tracebacks
                names.setdefault(f"~{text.removeprefix(str(home))}", name)
    for common in ("/", "/usr", "/usr/local"):
        names.pop(common, None)
    # A short path such as /tmp may be part of another one, so no part of a path may precede it.
    longest_first = "|".join(
        (r"(?<![\w.~-])" if text.count("/") == 1 and text[0] == "/" else "") + re.escape(text)
        for text in sorted(names, key=len, reverse=True)
    )
    pattern = re.compile(rf"({longest_first})(/|(?![\w-]|\.\w))")

    def shorten(text: str) -> str:
        def name(match: re.Match) -> str:
            short, slash = names[match[1]], match[2]
            return "" if short == "." and slash else short + slash

        # colours are set aside, because their last letter would look like part of the path after it
        text = "".join(part if ANSI.fullmatch(part) else pattern.sub(name, part) for part in ANSI.split(text))
        for random, constant in RANDOM:
            text = random.sub(constant, text)
        return text

    return shorten


def clean(notebook: nbformat.NotebookNode, shorten: Callable[[str], str]) -> nbformat.NotebookNode:
    """A clean copy of an executed notebook, or of a notebook under execution."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]  # papermill gives every cell a list of tags
        if "papermill" in cell.metadata:
            cell.metadata.papermill = _without_clocks(cell.metadata.papermill)
        if INJECTED in cell.metadata.get("tags", []):
            cell.source = shorten(cell.source)
        if cell.cell_type == "code":
            cell.outputs = [_each_text(output, shorten) for output in _joined(_without_doubles(cell.outputs))]
    notebook.metadata.pop("widgets", None)
    notebook.metadata.papermill = _each_text(_without_clocks(notebook.metadata.papermill), shorten)
    notebook.metadata.get("language_info", {}).pop("version", None)  # run_info.json has the versions
    return notebook


def _without_clocks(record: dict) -> nbformat.NotebookNode:
    return nbformat.from_dict({key: value for key, value in record.items() if key not in MOVING})


def _each_text(value, change: Callable[[str], str]):
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each_text(item, change) for item in value]
    if isinstance(value, dict):
        changed = {key: item if key in OPAQUE else _each_text(item, change) for key, item in value.items()}
        return nbformat.from_dict(changed)
    return value


def _without_doubles(outputs: Iterable) -> Iterable:
    """Outputs in one form: of live widgets the static rendering, of tables the HTML; without progress bars."""
    for output in outputs:
        data = output.get("data", {})
        if TABLE in data.get("text/html", ""):
            data.pop("text/plain", None)
        is_widget = data.pop(VIEW, None) is not None
        if not (is_widget and BAR.search(output.data.get("text/plain", ""))):
            yield output


def _joined(outputs: Iterable) -> list:
    """Outputs with the streams between two others joined, stdout first."""
    joined = []
    for is_stream, neighbours in groupby(outputs, key=lambda output: output.output_type == "stream"):
        between = list(neighbours)
        if not is_stream:
            joined += between
            continue
        for name in ("stdout", "stderr"):
            text = OVERWRITTEN.sub("", "".join(output.text for output in between if output.name == name))
            if name == "stderr":
                text = "".join(line for line in text.splitlines(keepends=True) if not BAR.search(line))
            if text:
                joined.append(nbformat.v4.new_output("stream", name=name, text=text))
    return joined
