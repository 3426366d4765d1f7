"""The content of the generated blocks in pages and reports; `lib/evidence/generated.py` describes the mechanism.

A function of BLOCKS takes the runs, the language of the page and the arguments of the call, and returns Markdown. All
but `seeds_table` and `graders` read the record of the report over the whole matrix (REPORT); their sentences are in
`texts.toml`.
"""

import tomllib
from pathlib import Path

from lib.evidence.runs import ExecutedRun, RecordError, Runs, named
from lib.evidence.stale import Staleness
from lib.runs.fingerprint import upstream_names
from lib.runs.record import markdown_table

REPORT = "90_report-matrix-s0"
TEXTS = tomllib.loads(Path(__file__).with_name("texts.toml").read_text())
ROWS, SETS = TEXTS["rows"], TEXTS["sets"]


def results(runs: Runs, language: str) -> str:
    """The table (method, figures, command that makes it), what the figures are, and what methods are."""
    text, rows = TEXTS[language], _report(runs).metrics["rows"]
    method, seeds, command = text["head"]
    lines = []
    for row in sorted(rows, key=_place):
        by_set, runs_of = rows[row], _runs_of(runs, ROWS.get(row, ""))
        link = f"[{row}](artifacts/{runs_of[0].preset}/{runs_of[0].name}/{runs_of[0].path.name})" if runs_of else row
        make = f"`make matrix PATTERN='{ROWS[row]}'`" if row in ROWS else "–"
        most = max(measured["seeds"] for measured in by_set.values())
        lines.append([link, *(_share(by_set.get(name)) for name in SETS), most, make])
    counts = {name: sorted({row[name]["n"] for row in rows.values() if name in row}) for name in SETS}
    listed = [text["count"].format(n=" / ".join(map(str, n)), name=name) for name, n in counts.items()]
    oracle = any(measured.get("oracle") for row in rows.values() for measured in row.values())
    note = text["note"].format(counts=text["comma"].join(listed), oracle=text["oracle"] if oracle else "")
    explained = [f"- {row}: {what}" for row, what in text["methods"].items() if row in rows]
    table = markdown_table([method, *SETS.values(), seeds, command], lines)
    return "\n".join([table, "", note, *([""] if explained else []), *explained])


def conclusions(runs: Runs, language: str) -> str:
    """A list with an item for each planned comparison: the report's sentence, or its figures in Chinese."""
    text, report = TEXTS[language], _report(runs).metrics
    items = []
    for name, sentence in sorted(report["conclusions"].items(), key=lambda item: _place(item[0])):
        compared = report["comparisons"].get(name)
        if language != "en" and compared:
            reading = text["interval"][compared["low"] > 0 or compared["high"] < 0]
            if "verdict" in compared:
                reading += text["verdict"].format(text["verdicts"][compared["verdict"]])
            sentence = text["compared"].format(**compared, seeds=len(compared["by_seed"]), reading=reading)
        elif language != "en":
            sentence = text["quoted"].format(sentence)
        items.append(f"- {sentence}")
    return "\n".join(items)


def state(runs: Runs, language: str) -> str:
    """Whether the report and the runs that it reads were executed with the present code, and by which commits."""
    report = _report(runs)
    read = [run for name in sorted(upstream_names(report.info["parameters"])) for run in _runs_of(runs, name)]
    executed = [report, *read]
    stale = Staleness({(run.preset, run.name): run for run in executed})
    old = [run for run in executed if stale.of(run)]
    commits = ", ".join(sorted({f"`{(run.info['commit'] or 'no commit')[:8]}`" for run in old}))
    return TEXTS[language]["stale" if old else "fresh"].format(stale=len(old), all=len(executed), commits=commits)


def seeds_table(runs: Runs, language: str, metric: str, seeds: str, *rows: str) -> str:
    """A table of single runs with intervals: a column per seed. `metric`: `SET.NAME` of metrics.json. A row:
    `LABEL=RUN,RUN`, with `-` for a missing run and nothing for a seed that is not planned."""
    lines = []
    for row in rows:
        label, _, names = row.rpartition("=")
        lines.append([label, *(_interval(runs, name, metric) for name in names.split(","))])
    return markdown_table(["", *(f"seed {seed}" for seed in seeds.split(","))], lines)


def graders(runs: Runs, language: str) -> str:
    """The conformance suite against graders: a row for each, counts out of the items that it supports."""
    lines = []
    for name, grader in named(runs, "04_graders-s0")[0].metrics["graders"].items():
        columns = ("cheats paid", "wrong answers paid", "honest programs failed", "errors scored as answers")
        counts = [grader[column] for column in columns]
        speeds = ", ".join(f"{speed:.1f}" if speed else "–" for speed in grader["programs_per_second"] or [None])
        lines.append([f"`{name}`", grader["version"], *(f"{count} / {total}" for count, total in counts), speeds])
    return markdown_table(TEXTS[language]["graders"], lines)


BLOCKS = {function.__name__: function for function in (results, conclusions, state, seeds_table, graders)}


def _report(runs: Runs) -> ExecutedRun:
    return named(runs, REPORT)[0]


def _runs_of(runs: Runs, pattern: str) -> list[ExecutedRun]:
    try:
        return named(runs, pattern)
    except RecordError:
        return []


def _place(name: str) -> int:
    """The place of a row, or of "row against control", in the order of the table; the others come last."""
    row = name.partition(" against ")[0]
    return list(ROWS).index(row) if row in ROWS else len(ROWS)


def _share(measured: dict | None) -> str:
    if measured is None:
        return "–"
    deviation = measured.get("accepted_at_1_sd")
    spread = f" ± {100 * deviation:.1f}" if deviation is not None and measured["seeds"] > 1 else ""
    return f"{100 * measured['accepted_at_1']:.1f}{spread}{' †' if measured.get('oracle') else ''}"


def _interval(runs: Runs, name: str, metric: str) -> str:
    """A share of one run in percent with its interval; a dash if the run or the metric is missing."""
    if name in ("", "-"):
        return "not run" if name else ""
    dataset, _, key = metric.rpartition(".")
    try:
        stats = named(runs, name)[0].metrics["datasets"][dataset]
        return "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * x for x in (stats[key], *stats[f"{key}_interval"])))
    except (RecordError, OSError, ValueError, LookupError, TypeError):
        return "–"
