"""Writes artifacts/INDEX.md: a grid of all runs and seeds, done, stale or missing, with links to their notebooks.

The same evidence and the same code give the same bytes: the index contains no dates.
"""

import re

from lib.evidence.committed import Committed
from lib.evidence.stale import Staleness
from lib.runs import paths
from lib.runs.fingerprint import RUN_NAME

FILE = "INDEX.md"
HEAD = """# All runs

One grid per preset: a row per run, a column per seed. Written by `python -m lib.evidence index` from the records of
the runs. A run is *stale* if its notebook, a module that it imports, its params or a run that it reads has changed
since; its numbers are those of its record, made by the code of its commit. The number is accepted_at_1 on contests test
in percent if the run evaluates a policy, else the run's headline.
"""


def index(runs: dict[tuple[str, str], Committed], stale: Staleness) -> str:
    """The text of INDEX.md."""
    files = (paths.root() / "params").glob("*/[0-9]*.yaml")
    wanted = {(file.parent.name, file.stem) for file in files if RUN_NAME.fullmatch(file.stem)} | runs.keys()
    text = HEAD
    for preset in sorted({preset for preset, _ in wanted}):
        names = [name.rpartition("-s") for of, name in wanted if of == preset]
        seeds = sorted({int(seed) for _, _, seed in names})
        text += (
            f"\n## {preset}\n\n| run | {' | '.join(f'seed {seed}' for seed in seeds)} |\n|{'---|' * (len(seeds) + 1)}\n"
        )
        for variant in sorted({variant for variant, _, _ in names}):
            cells = [
                _cell(runs.get((preset, f"{variant}-s{seed}")), stale) if (variant, "-s", str(seed)) in names else ""
                for seed in seeds
            ]
            text += f"| {variant} | {' | '.join(cells)} |\n"
    return text


def _cell(run: Committed | None, stale: Staleness) -> str:
    if run is None:
        return "missing"
    try:
        info, shown = run.info, _headline(run)
        status = "stale" if stale.of(run) else "done"
        status = status if info["status"] == "finished" else info["status"]
        figures = sorted(run.folder.glob("figures/*.png"))
    except (OSError, ValueError, KeyError):
        return "unreadable"
    folder = f"{run.preset}/{run.name}"
    parts = [f"**{shown}**", f"[{status}]({folder}/{run.path.name})", (info["commit"] or "no commit")[:8]]
    parts += [f"{info['seconds'] / 60:.1f} min"]
    parts += [f"[{figures[0].stem}]({folder}/figures/{figures[0].name})"] if figures else []
    return "<br>".join(parts)


def _headline(run: Committed) -> str:
    measured = run.metrics.get("datasets", {}).get("contests_test", {}).get("accepted_at_1")
    headline = str(run.record["summary"].get("headline", "–")) if measured is None else f"{100 * measured:.1f}"
    return headline.replace("|", "\\|")


def statements(text: str) -> set[str]:
    """The statements of an index about existing runs, whether done or stale: its cells with more than one part."""
    cells = re.split(r"\n| \| ", text.replace("[stale](", "[done]("))
    return {cell.strip("| ") for cell in cells if "<br>" in cell}
