"""Checks that the evidence is complete, and that the pages say what it says.

1. A run: its notebook holds every cell of its template (as of its commit), executed from top to bottom without an
   error; outputs and files are unchanged since the run and agree with the record; it came from a clean tree, at a
   commit that HEAD contains; it names no unknown parameter.
2. A page (README.md, README.zh-CN.md, and the Markdown that a notebook shows): every generated block shows what the
   records say. A report (a notebook numbered 9x) was made from the present runs; its HTML file, if any, shows it.
3. artifacts/INDEX.md is what `python -m lib.evidence index` writes.

A run is stale if its inputs have changed since. That is no error: its numbers are still those of its record. A report
whose own code is unchanged, but whose runs have been executed again, is an error.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat

from lib.evidence import pages
from lib.evidence.generated import fill, language_of
from lib.evidence.runs import ExecutedRun, History, Runs, executed_runs
from lib.evidence.stale import RAN_AGAIN, Staleness
from lib.runs import paths
from lib.runs.parameters import read_parameters, resolve
from lib.runs.params_files import load_params_file
from lib.runs.record import output_hash
from lib.runs.sources import Sources

PAGES = ("README.md", "README.zh-CN.md")
INJECTED = "injected-parameters"
LINK = re.compile(r"\]\((artifacts/[^)#\s]+)")


@dataclass(frozen=True)
class Finding:
    """An error, or a stale run: the file, the problem, and what to do."""

    file: str
    problem: str
    action: str
    stale: bool = False

    def __str__(self) -> str:
        return f"{'stale' if self.stale else 'WRONG'}  {self.file}: {self.problem} → {self.action}".replace("\n", " ")


def check(folder: Path, artifacts: Path) -> tuple[list[Finding], list[str]]:
    """All findings about the pages in `folder` and the runs below `artifacts`, and notes on what was checked."""
    runs, history = executed_runs(artifacts), History()
    stale = Staleness(runs)
    findings, notes = [], [f"{len(runs)} runs"]

    def shown(path: Path) -> str:
        return f"artifacts/{path.relative_to(artifacts).as_posix()}"

    for run in runs.values():
        file, again = shown(run.path), f"`python -m lib.matrix {run.preset} {run.name}` executes it again"
        findings += [Finding(file, problem, again) for problem in dict.fromkeys(_problems(run, history, runs))]
        if why := stale.of(run):
            # a report shows the numbers of other runs, so it must not be older than they are
            outdated = run.template.startswith("9") and why.startswith(RAN_AGAIN)
            findings.append(Finding(file, why, again, stale=not outdated))
    for page in (folder / name for name in PAGES if (folder / name).is_file()):
        blocks, problems = _page(page, runs)
        findings += problems
        notes.append(f"{blocks} blocks in {page.name}")
    for preset in sorted({preset for preset, _ in runs}):
        file = pages.report_page(artifacts, preset)
        report = pages.fullest_report(runs, preset) if file.is_file() else None
        if report and file.read_text() != pages.render(report.path):
            problem = f"shows something else than {report.name}"
            findings.append(Finding(shown(file), problem, "`make report` renders it again"))
    findings += _of_index(pages.index(runs, stale), artifacts / pages.INDEX)
    if history.missing:
        notes.append(f"{history.missing}: commits of runs, and cells edited since, were not checked")
    return findings, notes


def _page(file: Path, runs: Runs) -> tuple[int, list[Finding]]:
    """The number of generated blocks in a page, and the findings about them and about the page's links."""
    text, name = file.read_text(), file.name
    blocks = fill(text, runs, language_of(name))[1]
    action = f"`python -m lib.evidence fill {name}` writes what the records say"
    findings = [
        Finding(f"{name}:{b.line}", b.problem, action, stale=b.call == "state" and not b.error)
        for b in blocks
        if b.problem
    ]
    dead = sorted({link for link in LINK.findall(text) if not (file.parent / link).exists()})
    findings += [Finding(name, f"links to {link}, which does not exist", "correct the link") for link in dead]
    if not blocks:
        findings.append(Finding(name, "has no generated block", "see lib/evidence/generated.py"))
    return len(blocks), findings


def _of_index(text: str, file: Path) -> Iterator[Finding]:
    name, action = f"artifacts/{pages.INDEX}", "`python -m lib.evidence index` writes it"
    written = file.read_text() if file.is_file() else ""
    if not written:
        yield Finding(name, "is missing", action)
    elif wrong := pages.statements(written) - pages.statements(text):
        yield Finding(name, f"says what no record says: {min(wrong)}", action)
    elif written != text:
        yield Finding(name, "is out of date: runs have become done, stale or missing since", action, stale=True)


def _problems(run: ExecutedRun, history: History, runs: Runs) -> Iterator[str]:
    """What is wrong with a run. A part that cannot be read is an error; the other parts are checked all the same."""
    parts = (
        _cells(run, history),
        _execution(run),
        _record(run),
        _commit(run, history),
        _parameters(run),
        _blocks(run, runs),
    )
    for problems in parts:  # generators, so each part is read here
        try:
            yield from problems
        except (OSError, ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
            problem = f"is not a complete run ({type(error).__name__}: {error})"
            yield problem.replace(str(paths.root()), ".")


def _cells(run: ExecutedRun, history: History) -> Iterator[str]:
    """The notebook against its template at the run's commit; if git lacks it, against the present one, if unchanged."""
    template, exact = history.template(run.info["commit"] or "", run.template), True
    if template is None:
        path, exact = paths.template(run.template), False
        if not path.is_file() or Sources(paths.root()).notebook(run.template).hash != run.info["notebook_hash"]:
            return
        template = nbformat.read(path, as_version=4).cells
    executed = {cell.id: cell for cell in run.notebook.cells if INJECTED not in cell.metadata.get("tags", [])}
    for cell in template:
        title = next(iter(cell.source.splitlines()), "")[:60]
        if cell.id not in executed:
            yield f"cell {cell.id} of its template is missing (`{title}`)"
        elif exact and executed[cell.id].source != cell.source:
            yield f"cell {cell.id} differs from its template (`{title}`)"
    order = [cell.id for cell in template]
    for identity in executed.keys() - set(order):
        yield f"cell {identity} is not in its template"
    if [i for i in executed if i in order] != [i for i in order if i in executed]:
        yield "its cells are in another order than in its template"


def _execution(run: ExecutedRun) -> Iterator[str]:
    for number, cell in enumerate(run.code, start=1):
        if cell.execution_count != number:
            done = f"executed as number {cell.execution_count}" if cell.execution_count else "not executed"
            yield f"cell {cell.id}, the code cell number {number}, was {done}"
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"cell {cell.id} failed with {output.ename}: {output.evalue}"
    recorded = run.notebook.metadata.papermill
    recorded = recorded.get("output_hash", recorded.get("seal"))  # "seal" in runs until November 2026
    if recorded and recorded != output_hash(run.notebook):
        yield "an output was changed after the run"


def _record(run: ExecutedRun) -> Iterator[str]:
    if (run.info["preset"], run.info["run"]) != (run.preset, run.name):
        yield f"is the notebook of another run, {run.info['preset']}/{run.info['run']}"
    if run.info["status"] != "finished":
        yield f"its run is {run.info['status']}"
    beside = {**run.info, "summary": run.json("summary.json")}
    if different := [key for key in run.record if run.record[key] != beside[key]]:
        yield f"its record differs from the files beside it: {', '.join(different)}"
    measured = run.metrics.get("datasets", {})
    for name in measured.keys() & run.record["summary"].keys():
        if run.record["summary"][name] != measured[name]["accepted_at_1"]:
            yield f"its record says {run.record['summary'][name]} of {name}, but metrics.json another value"
    for name, was in run.info.get("files", {}).items():
        if (now := paths.file_hash(run.folder / name)) != was:
            yield f"{name} {'was changed after the run' if now else 'is missing'}"


def _commit(run: ExecutedRun, history: History) -> Iterator[str]:
    commit = run.info["commit"]
    if run.info["dirty"] is not False:
        yield f"came from {'a dirty tree' if run.info['dirty'] else 'a tree without git'}: no commit has its code"
    elif not history.missing and not history.knows(commit):
        yield f"came from commit {commit[:10]}, which HEAD does not contain"


def _parameters(run: ExecutedRun) -> Iterator[str]:
    """The record and the notebook against the executed notebook's parameters, the params file against the template."""
    declared, now = read_parameters(run.path), read_parameters(paths.template(run.template))
    file = paths.params_file(run.preset, run.name)
    injected = [cell.source for cell in run.notebook.cells if INJECTED in cell.metadata.get("tags", [])]
    assignments = [line for line in ast.parse("\n".join(injected)).body if isinstance(line, ast.Assign)]
    assigned = {ast.unparse(line.targets[0]): ast.literal_eval(line.value) for line in assignments}
    executed = dict(run.notebook.metadata.papermill.parameters)
    for place, values, known in (
        ("its run_info.json", run.info["parameters"], declared),
        ("its papermill record", executed, declared),
        (f"its cell {INJECTED}", assigned, declared),
        (f"params/{run.preset}/{file.name}", load_params_file(file) if file.is_file() else {}, now),
    ):
        try:
            resolve(known, values)
        except ValueError as error:
            yield f"{place} has a wrong parameter: {str(error).splitlines()[0]}"
    if executed != run.info["parameters"] or any(executed.get(name) != value for name, value in assigned.items()):
        yield "its notebook was executed with other parameters than its record says"


def _blocks(run: ExecutedRun, runs: Runs) -> Iterator[str]:
    for cell in run.code:
        for output in cell.outputs:
            _, blocks = fill(output.get("data", {}).get("text/markdown", ""), runs)
            yield from (f"cell {cell.id}, line {b.line} of its output: {b.problem}" for b in blocks if b.problem)
