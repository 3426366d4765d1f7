"""Which runs stand behind each row of the report, with links to their executed notebooks."""

from lib.evidence.runs import ExecutedRun
from lib.evidence.stale import Staleness
from lib.report.runs import NOT_RUN, Runs, Stage, by_name, finished
from lib.runs.record import markdown_table


def stale_runs(rows: dict[str, Runs]) -> dict[str, str]:
    """run -> why it is stale: its notebook, modules, parameters or data have changed since it was executed."""
    runs = {(one.info["preset"], one.info["run"]): ExecutedRun(one.folder) for one in by_name(rows).values()}
    staleness = Staleness(runs)
    return {name: why for (_, name), run in runs.items() if (why := staleness.of(run))}


def runs_table(rows: dict[str, Runs], stale: dict[str, str]) -> str:
    """A Markdown table, a line per row: its seeds with links to the executed notebooks, missing and stale seeds, the
    commits, and whether these had changes that were not committed."""
    lines = []
    for name, runs in rows.items():
        stages = finished(runs)
        cells = [
            name,
            " · ".join(link(stage, f"seed {seed}") for seed, stage in stages.items()) or NOT_RUN,
            ", ".join(str(seed) for seed in runs if seed not in stages),
            ", ".join(str(seed) for seed, stage in stages.items() if stage.info["run"] in stale),
            ", ".join(sorted({str(stage.info["commit"])[:10] for stage in stages.values()})),
            "yes" if any(stage.info["dirty"] for stage in stages.values()) else "",
        ]
        lines.append(cells)
    return markdown_table(["row", "executed notebooks", "not run", "stale", "commits", "uncommitted changes"], lines)


def link(stage: Stage, text: str) -> str:
    """A Markdown link from the folder of the report to the executed notebook of a run of the same preset."""
    return f"[{text}](../{stage.folder.name}/{stage.info['notebook']}.ipynb)"
