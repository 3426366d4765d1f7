"""Markers: figures in a page that name the record they are from, and can't be seen when the page is shown.

    SFT solves <!--n 10_sft-s* contests_test.accepted_at_1 mean_sd-->54.9 ± 4.5<!--/n--> percent.

`python -m lib.evidence fill` writes what stands between the two comments. The first one reads
`n RUNS [- RUNS] METRIC [FORMAT]`:

1. RUNS is a run, several between commas, or all seeds of one (`10_sft-s*`); `qwen7b/10_sft-s0` is one of that preset.
2. `- RUNS` subtracts another run, seed by seed.
3. METRIC is a path in metrics.json, whose data sets need no `datasets.` before them; `summary.…` is a path in the
   record of the notebook, `info.…` one in run_info.json. With spaces in it, it stands in quotes.
4. FORMAT is for Python's str.format with the fields value, low, high (of one run; the interval that the record has
   beside the metric), mean, sd, min, max and runs (how many). `.1p` shows a share in percent, `.1m` seconds in minutes.
   Without braces it is the format of the value, or one of the two names `interval` and `mean_sd` (NAMED); without a
   FORMAT it is .1p.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean, stdev

from lib.evidence.committed import Committed

MARKER = re.compile(r"<!--n (?P<asked>[^\n]*?)-->(?P<shown>[^\n]*?)<!--/n-->")
ASKED = re.compile(
    r"(?P<runs>\S+) (?:- (?P<minus>\S+) )?(?:\"(?P<quoted>[^\"]+)\"|(?P<metric>[^\s\"]+))(?: (?P<format>.+))?"
)
NAMED = {"interval": "{value:.1p} [{low:.1p}, {high:.1p}]", "mean_sd": "{mean:.1p} ± {sd:.1p}"}


class MarkerError(ValueError):
    """A marker that asks for what no record has; the message says what."""


class Number(float):
    """A float with three more formats: p percent, m minutes of seconds, and nothing, which shows 3.0 as 3."""

    def __format__(self, spec: str) -> str:
        if spec.endswith("p"):
            return format(100 * self, f"{spec[:-1]}f")
        if spec.endswith("m"):
            return format(self / 60, f"{spec[:-1]}f")
        whole = self.is_integer() and (not spec or spec.endswith("d"))
        return format(int(self) if whole else float(self), spec)


class Records:
    """The records that markers name. `runs`: all that there are, as `lib.evidence.committed` gives them."""

    def __init__(self, runs: dict[tuple[str, str], Committed]):
        self._runs = runs

    def text(self, asked: str) -> str:
        """What a marker that asks so must show. Raises MarkerError."""
        parts = ASKED.fullmatch(asked.strip())
        if not parts or "--" in asked:
            raise MarkerError("reads not `n RUNS [- RUNS] METRIC [FORMAT]`, or has -- in it, which ends a comment")
        metric, shown = parts["quoted"] or parts["metric"], NAMED.get(parts["format"], parts["format"] or ".1p")
        fields = self._fields(parts["runs"], parts["minus"], metric)
        try:
            return (shown if "{" in shown else f"{{value:{shown}}}").format(**fields)
        except KeyError as error:
            raise MarkerError(f"has no {error.args[0]} to show, only {', '.join(fields)}") from None
        except (ValueError, IndexError) as error:
            raise MarkerError(f"can't be shown as {shown}: {error}") from None

    def _fields(self, runs: str, minus: str | None, metric: str) -> dict:
        found = self._by_seed(runs, metric)
        if minus:
            less = self._by_seed(minus, metric)
            if found.keys() != less.keys():
                raise MarkerError(f"subtracts seeds {sorted(less)} from seeds {sorted(found)}")
            if not all(isinstance(value, float) for value in (*found.values(), *less.values())):
                raise MarkerError(f"subtracts {metric}, which is no number")
            found = {seed: Number(value - less[seed]) for seed, value in found.items()}
        values = list(found.values())
        fields = {"runs": len(values)}
        if len(values) == 1:
            fields["value"] = values[0]
            ends = None if minus else _look_up(_namespace(self._named(runs)[0]), f"{metric}_interval")
            if isinstance(ends, list) and len(ends) == 2 and None not in ends:
                fields |= {"low": Number(ends[0]), "high": Number(ends[1])}
        if all(isinstance(value, float) for value in values):
            fields |= {"mean": Number(mean(values)), "min": min(values), "max": max(values)}
            fields |= {"sd": Number(stdev(values))} if len(values) > 1 else {}
        return fields

    def _by_seed(self, runs: str, metric: str) -> dict[int, object]:
        named = self._named(runs)
        if len({run.seed for run in named}) < len(named):
            raise MarkerError(f"names two runs of one seed: {', '.join(run.name for run in named)}")
        return {run.seed: self._value(run, metric) for run in named}

    def _named(self, runs: str) -> list[Committed]:
        found = []
        for name in runs.split(","):
            preset, _, run = name.rpartition("/")
            pattern = re.escape(run).replace(r"\*", r"\d+")
            matching = [
                one
                for (of, other), one in self._runs.items()
                if of == (preset or "tiny") and re.fullmatch(pattern, other)
            ]
            if not matching:
                raise MarkerError(f"names the run {name}, which is not there")
            found += matching
        return found

    def _value(self, run: Committed, metric: str) -> object:
        try:
            value = _look_up(_namespace(run), metric)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise MarkerError(f"names {run.name}, whose record can't be read ({error})") from None
        if value is None:
            raise MarkerError(f"names {metric}, for which {run.name} has no figure")
        return Number(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


@dataclass(frozen=True)
class Marked:
    """A marker in a page: what it shows, what the record says, and what is wrong with it itself, if anything."""

    line: int
    asked: str
    shown: str
    said: str
    wrong: str = ""


def fill(text: str, records: Records) -> tuple[str, list[Marked]]:
    """The text with the figures of the records, and its markers. One that can't be filled keeps what it shows."""
    marked = []

    def line(at: re.Match) -> int:
        return text.count("\n", 0, at.start()) + 1

    def one(at: re.Match) -> str:
        asked, shown = at.groups()
        try:
            said, wrong = records.text(asked), ""
        except MarkerError as error:
            said, wrong = shown, f"the marker `{asked}` {error}"
        marked.append(Marked(line(at), asked, shown, said, wrong))
        return f"<!--n {asked}-->{said}<!--/n-->"

    filled = MARKER.sub(one, text)
    ended = {at.start() for at in MARKER.finditer(text)}
    for at in re.finditer(r"<!--n ", text):
        if at.start() not in ended:
            marked.append(Marked(line(at), "", "", "", "a marker without its end <!--/n-->"))
    # GitHub takes a line that begins with a comment for HTML, and shows what follows in it as it stands
    for at in re.finditer(r"^ {0,3}<!--n ", text, re.MULTILINE):
        marked.append(Marked(line(at), "", "", "", "a line begins with a marker: begin it with a word"))
    return filled, sorted(marked, key=lambda one: one.line)


def seeds_table(arms: Mapping[str, Mapping], metric: str) -> str:
    """A Markdown table of every run alone: a row per recipe, a column per seed, each figure in a marker.

    `arms`: label -> seed -> a run with its `folder`, or None for one that has not been made (lib.report.runs). A run whose
    record has no such metric shows a dash.
    """
    seeds = sorted({seed for arm in arms.values() for seed in arm})
    lines = [f"| | {' | '.join(f'seed {seed}' for seed in seeds)} |", f"|{'---|' * (len(seeds) + 1)}"]
    for label, arm in arms.items():
        cells = [_marked(arm[seed], metric) if seed in arm else "" for seed in seeds]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _marked(stage, metric: str) -> str:
    if stage is None:
        return "not run"
    run = Committed(stage.folder)
    asked = f"{run.preset}/{run.name} {metric} interval"
    try:
        return f"<!--n {asked}-->{Records({(run.preset, run.name): run}).text(asked)}<!--/n-->"
    except MarkerError:
        return "–"


def differences(marked: list[Marked]) -> list[tuple[int, str]]:
    """(line, what is wrong) for markers that are wrong or show something else than their record says."""
    return [
        (one.line, one.wrong or f"`{one.asked}` shows {one.shown!r}, the record says {one.said!r}")
        for one in marked
        if one.wrong or one.shown != one.said
    ]


def _namespace(run: Committed) -> dict:
    return {**run.metrics.get("datasets", {}), **run.metrics, "summary": run.record["summary"], "info": run.info}


def _look_up(value: object, path: str) -> object:
    """The value at a dotted path; keys may have dots in them, and numbers count through lists. None: not there."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if path == str(key):
            return item
        if path.startswith(f"{key}.") and (found := _look_up(item, path[len(str(key)) + 1 :])) is not None:
            return found
    return None
