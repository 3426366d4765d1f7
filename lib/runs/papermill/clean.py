"""Makes an executed notebook say the same wherever and whenever the same thing was run.

1. No absolute path of the machine in outputs and metadata: places have short names (`shortener`).
2. No clocks and counters of the execution: timing, random ids, process numbers, addresses of objects.
3. Of a cell's stdout and stderr one text each, as long as no other output comes between: how the kernel cuts them into
   messages is a matter of time. Progress bars are left out: what they show in the end is only how long it took.
4. Of a widget that brought its own rendering as HTML, that rendering only: nobody reads it with the kernel at hand.
"""

import copy
import json
import re
import site
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path, PurePath

import nbformat

from .house import ROOT, own
from .plan import INJECTED

ANSI = re.compile(r"(\x1b\[[0-9;]*[A-Za-z])")
BAR = re.compile(r"\d+%\|.*\|.*\[.*\]")
OVERWRITTEN = re.compile(r"[^\n]*\r(?=[^\n])")
RANDOM = (
    (re.compile(r"(?:tmp/)?ipykernel_\d+/\d+\.py"), "cell.py"),  # where warnings say that a cell's code is
    (re.compile(r"\btmp/tmp[a-z0-9_]{8}\b"), "tmp/tmp"),
    (re.compile(r"\bat 0x[0-9a-f]{6,}\b"), "at 0x0"),
)
VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
OPAQUE = ("image/png", "image/jpeg", "image/gif", "application/pdf")  # base64, in which a path can only seem to be
MOVING = ("start_time", "end_time", "duration", "environment_variables", "version")


def shortener(folder: Path, shown: str) -> Callable[[str], str]:
    """A function that shortens the paths in a text. `folder`: where the run's files are made; `shown`: its name.

    The repository's root and the working directory become nothing (`lib/training/grpo.py`), the home folder `~`.
    """
    root, version = ROOT, f"python{sys.version_info.major}.{sys.version_info.minor}"
    named = [
        (folder, shown),
        (folder.parent, PurePath(shown).parent.as_posix()),
        (own("paths").artifacts(), "artifacts"),
        (root, "."),
        *((Path(place), "site-packages") for place in (*site.getsitepackages(), site.getusersitepackages())),
        (Path(sysconfig.get_path("stdlib")), version),
        (Path(sys.prefix), "python" if sys.prefix == sys.base_prefix else ".venv"),
        (Path(sys.base_prefix), "python"),
        *([] if Path.cwd().is_relative_to(root) else [(Path.cwd(), ".")]),
        (Path(tempfile.gettempdir()), "tmp"),
        (Path.home(), "~"),
    ]
    names = {}
    for place, name in named:
        for text in (str(place), str(place.resolve())):
            names.setdefault(text, name)
            if text.startswith(f"{Path.home()}/"):  # as IPython writes it in tracebacks
                names.setdefault(f"~{text.removeprefix(str(Path.home()))}", name)
    for everybodys in ("/", "/usr", "/usr/local"):
        names.pop(everybodys, None)
    # A short path such as /tmp may be a part of another one, so nothing of a path may stand before it.
    longest_first = "|".join(
        (r"(?<![\w.~-])" if text.count("/") == 1 and text[0] == "/" else "") + re.escape(text)
        for text in sorted(names, key=len, reverse=True)
    )
    pattern = re.compile(rf"({longest_first})(/|(?![\w-]|\.\w))")

    def shorten(text: str) -> str:
        def name(match: re.Match) -> str:
            short, slash = names[match[1]], match[2]
            return "" if short == "." and slash else short + slash

        # colours are set aside, for their last letter would seem to be a part of the path behind it
        text = "".join(part if ANSI.fullmatch(part) else pattern.sub(name, part) for part in ANSI.split(text))
        for random, constant in RANDOM:
            text = random.sub(constant, text)
        return text

    return shorten


def clean(notebook: nbformat.NotebookNode, shorten: Callable[[str], str]) -> nbformat.NotebookNode:
    """A copy of an executed notebook, or of one under execution, with all of the above done."""
    notebook = copy.deepcopy(notebook)
    _drop_widgets(notebook)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]  # papermill gives every cell a list of tags
        if "papermill" in cell.metadata:
            cell.metadata.papermill = {
                key: value for key, value in cell.metadata.papermill.items() if key not in MOVING
            }
        if INJECTED in cell.metadata.get("tags", []):
            cell.source = shorten(cell.source)
        if cell.cell_type == "code":
            cell.outputs = [_each_text(output, shorten) for output in _joined(cell.outputs)]
    metadata = notebook.metadata
    record = {key: value for key, value in metadata.papermill.items() if key not in MOVING}
    metadata.papermill = _each_text(record, shorten)
    metadata.get("language_info", {}).pop("version", None)  # run_info.json has the versions
    if "widgets" in metadata:
        metadata.widgets = _each_text(metadata.widgets, shorten)
    return _renumber_widgets(notebook)


def _each_text(value: object, change: Callable[[str], str]) -> object:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each_text(item, change) for item in value]
    if isinstance(value, dict):
        changed = {key: item if key in OPAQUE else _each_text(item, change) for key, item in value.items()}
        return nbformat.from_dict(changed)
    return value


def _joined(outputs: Iterable[dict]) -> list[dict]:
    """Outputs with the streams between two others put together, stdout first."""
    joined, streams = [], {}

    def close() -> None:
        for name in sorted(streams, reverse=True):
            text = OVERWRITTEN.sub("", streams[name])
            if name == "stderr":
                text = "".join(line for line in text.splitlines(keepends=True) if not BAR.search(line))
            if text:
                joined.append(nbformat.v4.new_output("stream", name=name, text=text))
        streams.clear()

    for output in outputs:
        if output.output_type == "stream":
            streams[output.name] = streams.get(output.name, "") + output.text
        else:
            close()
            joined.append(output)
    close()
    return joined


def _drop_widgets(notebook: nbformat.NotebookNode) -> None:
    """Removes the widgets that say nothing without a kernel, and the parts of which only they consist: progress bars of
    tqdm, and those that brought a rendering as HTML, which every reader of a finished notebook can show."""
    states = notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})

    def parts(models: set[str]) -> set[str]:
        found, queue = set(), list(models)
        while queue:
            model = queue.pop()
            if model not in found:
                found.add(model)
                queue += re.findall(r"IPY_MODEL_([0-9a-f]+)", json.dumps(states.get(model, {})))
        return found

    dropped, others = set(), set()
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        kept = []
        for output in cell.outputs:
            data = output.get("data", {})
            is_bar = VIEW in data and BAR.search(data.get("text/plain", ""))
            if VIEW in data:
                (dropped if is_bar or "text/html" in data else others).add(data[VIEW]["model_id"])
            if "text/html" in data:
                data.pop(VIEW, None)
            if not is_bar:
                kept.append(output)
        cell.outputs = kept
    for model in parts(dropped) - parts(others):
        states.pop(model, None)
    if not states:
        notebook.metadata.pop("widgets", None)


def _renumber_widgets(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Gives the models of widgets, which have random ids, the numbers 0, 1, ... in the order they were made in."""
    states = notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    if not states:
        return notebook
    numbers = {model: f"{number:032x}" for number, model in enumerate(states)}
    text = re.sub("|".join(map(re.escape, numbers)), lambda match: numbers[match[0]], json.dumps(notebook))
    return nbformat.from_dict(json.loads(text))
