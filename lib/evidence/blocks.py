"""The content of the generated blocks in pages and reports; `lib/evidence/generated.py` describes the mechanism.

Each public function of this module is a block: it takes the records, the language of the page and the arguments of the
call, and returns Markdown.
"""

from lib.evidence import values
from lib.evidence.readme import conclusions, results, state

__all__ = ["conclusions", "results", "seeds_table", "state"]


def seeds_table(records: values.Records, language: str, metric: str, seeds: str, *rows: str) -> str:
    """A table of single runs with intervals: a column per seed. A row: `LABEL=RUN,RUN`, with `-` for a missing run."""
    lines = [f"| | {' | '.join(f'seed {seed}' for seed in seeds.split(','))} |", f"|{'---|' * (seeds.count(',') + 2)}"]
    for row in rows:
        label, _, runs = row.rpartition("=")
        lines.append(f"| {label} | {' | '.join(_cell(records, run, metric) for run in runs.split(','))} |")
    return "\n".join(lines)


def _cell(records: values.Records, run: str, metric: str) -> str:
    if run in ("", "-"):
        return "not run" if run else ""
    try:
        return records.show(run, metric, "interval")
    except values.RecordError:
        return "–"
