"""The check: whether the evidence is whole, and whether the pages say what it says.

1. A run: its notebook holds every cell of its template (as of the commit that made it), executed from top to bottom
   without an error; outputs and files are as they were written, and agree with the record; it came from a clean tree,
   at a commit that HEAD stands on; it names no unknown parameter.
2. A page, which is README.md, README.zh-CN.md or what a notebook shows as Markdown: every marker shows what its record
   says. A report (a notebook numbered 9x) was made from the runs as they are; its HTML file, if there is one, shows it.
3. artifacts/INDEX.md is what `python -m lib.evidence index` writes.

A run is stale when what it was made with has changed since. That is no fault: its figures are right, of what it was.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat

from lib.evidence import index, markers, page
from lib.evidence.committed import Committed, History, committed_runs, params_file
from lib.evidence.stale import Staleness, digest, replaced
from lib.runs import paths
from lib.runs.papermill.seal import seal
from lib.runs.parameters import load_params_file, read_parameters, resolve
from lib.runs.sources import Sources

PAGES = ("README.md", "README.zh-CN.md")
INJECTED = "injected-parameters"
LINK = re.compile(r"\]\((artifacts/[^)#\s]+)")
FILL = "`python -m lib.evidence fill {}` writes what the records say"


@dataclass(frozen=True)
class Finding:
    """Something wrong, or stale: where, what, and what to do."""

    file: str
    what: str
    do: str
    stale: bool = False

    def __str__(self) -> str:
        return f"{'stale' if self.stale else 'WRONG'}  {self.file}: {self.what} → {self.do}".replace("\n", " ")


def check(folder: Path, artifacts: Path) -> tuple[list[Finding], list[str]]:
    """All findings about the pages in `folder` and the runs below `artifacts`, and notes on what was looked at."""
    runs, history = committed_runs(artifacts), History()
    stale, records = Staleness(runs), markers.Records(runs)
    found, notes = [], [f"{len(runs)} runs"]
    for run in runs.values():
        found += _of_run(run, history, records)
        if why := stale.of(run):
            found.append(Finding(_shown(run.path), why, _again(run), stale=True))
    for name in PAGES:
        if (folder / name).is_file():
            text = (folder / name).read_text()
            _, marked = markers.fill(text, records)
            notes.append(f"{len(marked)} figures in {name}")
            found += [Finding(f"{name}:{line}", what, FILL.format(name)) for line, what in markers.differences(marked)]
            links = sorted({link for link in LINK.findall(text) if not (folder / link).exists()})
            found += [Finding(name, f"links to {link}, which is not there", "correct the link") for link in links]
            if not marked:
                found.append(Finding(name, "no figure has a marker to trace it by", "see lib/evidence/markers.py"))
    found += [one for preset in sorted({preset for preset, _ in runs}) for one in _of_page(runs, artifacts, preset)]
    found += _of_index(index.index(runs, stale), artifacts / index.FILE)
    if history.missing:
        notes.append(f"{history.missing}: not checked whether the commits of runs exist, nor cells edited since")
    return found, notes


def _of_run(run: Committed, history: History, records: markers.Records) -> list[Finding]:
    found, file = [], _shown(run.path)
    for look in (_cells, _execution, _record, _commit, _parameters, _markdown, _inputs):
        try:
            extra = (records,) if look is _markdown else (history,) if look in (_cells, _commit) else ()
            found += [Finding(file, what, _again(run)) for what in look(run, *extra)]
        except (OSError, ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
            what = f"is no complete run ({type(error).__name__}: {error})"
            found.append(Finding(file, what.replace(str(paths.root()), "."), _again(run)))
    return list(dict.fromkeys(found))


def _cells(run: Committed, history: History) -> Iterator[str]:
    """The notebook against its template: as of the run's commit; where git hasn't that, as it is if its code is."""
    template, exact = history.template(run.info["commit"] or "", run.template), True
    if template is None:
        path, exact = paths.root() / "notebooks" / f"{run.template}.ipynb", False
        if not path.is_file() or Sources(paths.root()).notebook(run.template) != run.info["notebook_hash"]:
            return
        template = nbformat.read(path, as_version=4).cells
    ran = {cell.id: cell for cell in run.notebook.cells if INJECTED not in cell.metadata.get("tags", [])}
    for cell in template:
        title = next(iter(cell.source.splitlines()), "")[:60]
        if cell.id not in ran:
            yield f"cell {cell.id} of its template is missing (`{title}`)"
        elif exact and ran[cell.id].source != cell.source:
            yield f"cell {cell.id} is not what its template says (`{title}`)"
    wanted = [cell.id for cell in template]
    for identity in ran.keys() - set(wanted):
        yield f"cell {identity} is none of its template"
    if (order := [one for one in ran if one in wanted]) != [one for one in wanted if one in ran]:
        yield f"its cells stand in another order than in its template: {', '.join(order)}"


def _execution(run: Committed) -> Iterator[str]:
    for number, cell in enumerate(run.code, start=1):
        if cell.execution_count != number:
            done = f"was executed as number {cell.execution_count}" if cell.execution_count else "was not executed"
            yield f"cell {cell.id}, the code cell number {number}, {done}"
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"cell {cell.id} failed with {output.ename}: {output.evalue}"
    sealed = run.notebook.metadata.papermill.get("seal")
    if sealed and sealed != seal(run.notebook):
        yield "an output was changed after the run"


def _record(run: Committed) -> Iterator[str]:
    if (run.info["preset"], run.info["run"]) != (run.preset, run.name):
        yield f"is the notebook of another run, {run.info['preset']}/{run.info['run']}"
    if run.info["status"] != "finished":
        yield f"its run is {run.info['status']}"
    differing = [key for key in run.record if key != "summary" and run.record[key] != run.info[key]]
    if run.record["summary"] != run.json("summary.json"):
        differing.append("summary")
    if differing:
        yield f"its record says other than the files beside it: {', '.join(differing)}"
    measured = run.metrics.get("datasets", {})
    for name in measured.keys() & run.record["summary"].keys():
        if run.record["summary"][name] != measured[name]["accepted_at_1"]:
            yield f"its record says {run.record['summary'][name]} of {name}, metrics.json another figure"
    for name, was in run.info.get("files", {}).items():
        if (now := digest(run.folder / name)) != was:
            yield f"{name} {'was changed after the run' if now else 'is missing'}"


def _commit(run: Committed, history: History) -> Iterator[str]:
    commit = run.info["commit"]
    if run.info["dirty"] is not False:
        yield f"came from {'a dirty tree' if run.info['dirty'] else 'a tree without git'}: no commit has its code"
    elif not history.missing and not history.knows(commit):
        yield f"came from commit {commit[:10]}, which HEAD does not stand on"


def _parameters(run: Committed) -> Iterator[str]:
    """What the record and the notebook say against what the notebook declares; the params file against the template."""
    declared, now = (read_parameters(path) for path in (run.path, paths.root() / "notebooks" / run.path.name))
    given = load_params_file(file) if (file := params_file(run.preset, run.name)).is_file() else {}
    injected = [cell.source for cell in run.notebook.cells if INJECTED in cell.metadata.get("tags", [])]
    assigned = {}
    for line in ast.parse("\n".join(injected)).body:
        assigned[line.targets[0].id] = ast.literal_eval(line.value)
    executed = dict(run.notebook.metadata.papermill.parameters)
    for what, values, known in (
        ("its run_info.json", run.info["parameters"], declared),
        ("its papermill record", executed, declared),
        (f"its cell {INJECTED}", assigned, declared),
        (f"params/{run.preset}/{run.name}.yaml", given, now),
    ):
        try:
            resolve(known, values)
        except ValueError as error:
            yield f"{what} has a parameter that is none of its notebook: {str(error).splitlines()[0]}"
    if executed != run.info["parameters"] or assigned.items() - executed.items():
        yield "its notebook was executed with other parameters than its record says"


def _markdown(run: Committed, records: markers.Records) -> Iterator[str]:
    for cell in run.code:
        for output in cell.outputs:
            _, marked = markers.fill(output.get("data", {}).get("text/markdown", ""), records)
            for line, what in markers.differences(marked):
                yield f"cell {cell.id}, line {line} of its output: {what}"


def _inputs(run: Committed) -> Iterator[str]:
    """A report shows other runs' figures: it must have read what they are now. For other runs that makes them stale."""
    if run.template.startswith("9"):
        for name in replaced(run):
            yield f"was made from {name} as it was before it was executed again"


def _of_page(runs: dict[tuple[str, str], Committed], artifacts: Path, preset: str) -> Iterator[Finding]:
    file = page.place(artifacts, preset)
    report = page.fullest_report(runs, preset) if file.is_file() else None
    if report and file.read_text() != page.render(report.path):
        yield Finding(_shown(file), f"shows something else than {report.name}", "`make report` renders it again")


def _of_index(text: str, file: Path) -> Iterator[Finding]:
    there, do = file.read_text() if file.is_file() else "", "`python -m lib.evidence index` writes it"
    if not there:
        yield Finding(_shown(file), "is missing", do)
    elif said := index.statements(there) - index.statements(text):
        yield Finding(_shown(file), f"says what no record does: {min(said)}", do)
    elif there != text:
        yield Finding(_shown(file), "is out of date: runs have become done, stale or due since", do, stale=True)


def _again(run: Committed) -> str:
    return f"`python -m lib.matrix {run.preset} {run.name}` makes it again"


def _shown(path: Path) -> str:
    return "/".join(path.parts[-4:] if path.suffix == ".ipynb" else path.parts[-3 if path.suffix == ".html" else -2 :])
