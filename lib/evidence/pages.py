"""The pages that are made from all records: artifacts/INDEX.md, and the report of a preset as one HTML file.

The same evidence and the same code give the same bytes: the pages contain no dates.
"""

import re
from pathlib import Path

from lib.evidence.runs import ExecutedRun, Runs
from lib.evidence.stale import Staleness
from lib.runs import paths
from lib.runs.fingerprint import RUN_NAME, upstream_names
from lib.runs.record import markdown_table

INDEX = "INDEX.md"
HEAD = """# All runs

One grid per preset: a row per run, a column per seed. Written by `python -m lib.evidence index` from the records of
the runs. A run is *stale* if its notebook, a module that it imports, its params or a run that it reads has changed
since; its numbers are those of its record, made by the code of its commit. The number is accepted_at_1 on the main test
set, in percent, if the run evaluates a policy, else the run's headline.
"""
# nbconvert's page without the scripts that it would load from the web
TEMPLATE = "{%- extends 'lab/index.html.j2' -%}" + "".join(
    f"{{% block {name} %}}{{% endblock %}}"
    for name in ("html_head_js", "html_head_js_mathjax", "html_head_js_mermaidjs", "jupyter_widgets")
)


def index(runs: Runs, stale: Staleness) -> str:
    """The text of INDEX.md: a grid of all runs and seeds, done, stale or missing, with links to their notebooks."""
    files = (paths.root() / "params").glob("*/[0-9]*.yaml")
    wanted = {(file.parent.name, file.stem) for file in files if RUN_NAME.fullmatch(file.stem)} | runs.keys()
    text = HEAD
    for preset in sorted({preset for preset, _ in wanted}):
        names = {name for of, name in wanted if of == preset}
        variants, seeds = ({name.rpartition("-s")[end] for name in names} for end in (0, 2))
        seeds = sorted(seeds, key=int)
        rows = []
        for variant in sorted(variants):
            row = [f"{variant}-s{seed}" for seed in seeds]
            rows.append([variant, *(_cell(runs.get((preset, n)), stale) if n in names else "" for n in row)])
        text += f"\n## {preset}\n\n{markdown_table(['run', *(f'seed {seed}' for seed in seeds)], rows)}\n"
    return text


def statements(text: str) -> set[str]:
    """The statements of an index about existing runs, whether done or stale: its cells with more than one part."""
    cells = re.split(r"\n| \| ", text.replace("[stale](", "[done]("))
    return {cell.strip("| ") for cell in cells if "<br>" in cell}


def report_page(artifacts: Path, preset: str) -> Path:
    """Where the HTML page of a preset is written; git ignores it."""
    return artifacts / preset / "report.html"


def fullest_report(runs: Runs, preset: str) -> ExecutedRun | None:
    """The report that reads the most runs; None if no report has been executed."""
    reports = [
        run for run in runs.values() if run.preset == preset and run.name.startswith("90_") and run.path.is_file()
    ]
    return max(reports, key=lambda run: len(upstream_names(run.info["parameters"])), default=None)


def render(notebook: Path) -> str:
    """An executed notebook as HTML with embedded figures, without code; it needs no server, network or script."""
    from nbconvert import HTMLExporter  # here, because it takes a second to load

    hidden = {"exclude_input": True, "exclude_input_prompt": True, "exclude_output_prompt": True}
    return HTMLExporter(raw_template=TEMPLATE, embed_images=True, **hidden).from_filename(str(notebook))[0]


def _cell(run: ExecutedRun | None, stale: Staleness) -> str:
    if run is None:
        return "missing"
    try:
        info, headline = run.info, _headline(run)
        status = info["status"] if info["status"] != "finished" else "stale" if stale.of(run) else "done"
    except (OSError, ValueError, KeyError):
        return "unreadable"
    folder = f"{run.preset}/{run.name}"
    parts = [f"**{headline}**", f"[{status}]({folder}/{run.path.name})", (info["commit"] or "no commit")[:8]]
    parts.append(f"{info['seconds'] / 60:.1f} min")
    figures = sorted(run.folder.glob("figures/*.png"))
    parts += [f"[{figure.stem}]({folder}/figures/{figure.name})" for figure in figures[:1]]
    return "<br>".join(parts)


def _headline(run: ExecutedRun) -> str:
    main_test = [stats for name, stats in run.metrics.get("datasets", {}).items() if name.endswith("_test")]
    measured = main_test[0].get("accepted_at_1") if main_test else None
    headline = str(run.record["summary"].get("headline", "–")) if measured is None else f"{100 * measured:.1f}"
    return headline.replace("|", "\\|")
