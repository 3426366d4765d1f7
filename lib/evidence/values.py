"""Values from the records of runs, formatted for a page.

    records.show("10_sft-s*", "contests_test.accepted_at_1", "mean_sd")       42.2 ± 0.3

1. Runs: a run, several between commas, or all seeds of a variant (`10_sft-s*`); `qwen7b/10_sft-s0` names the preset,
   which is `tiny` otherwise.
2. Metric: a path in metrics.json, whose data sets need no `datasets.` before them; `summary.…` is a path in the record
   of the notebook, `info.…` a path in run_info.json.
3. Format: a template for str.format with the fields value, low, high (of one run: the interval that the record has
   beside the metric), mean, sd, min, max and runs (their number), or just the format of the value, or a name in NAMED.
   `.1p` shows a share in percent, `.1m` seconds in minutes.
"""

import re
from collections.abc import Mapping
from statistics import mean, stdev

from lib.evidence.committed import Committed

NAMED = {"interval": "{value:.1p} [{low:.1p}, {high:.1p}]", "mean_sd": "{mean:.1p} ± {sd:.1p}"}


class RecordError(ValueError):
    """No record has what a page asks for; the message says what is missing."""


class Number(float):
    """A float with three more formats: p percent, m minutes from seconds, and no format, which shows 3.0 as 3."""

    def __format__(self, spec: str) -> str:
        if spec.endswith("p"):
            return format(100 * self, f"{spec[:-1]}f")
        if spec.endswith("m"):
            return format(self / 60, f"{spec[:-1]}f")
        whole = self.is_integer() and (not spec or spec.endswith("d"))
        return format(int(self) if whole else float(self), spec)


class Records:
    """The records that pages read. `runs`: (preset, name) -> run, from `lib.evidence.committed`."""

    def __init__(self, runs: dict[tuple[str, str], Committed]):
        self._runs = runs

    def show(self, runs: str, metric: str, form: str = ".1p", minus: str = "") -> str:
        """The formatted value of a metric. `minus`: runs to subtract, seed by seed. Raises RecordError."""
        values, form = self.values(runs, metric), NAMED.get(form, form)
        if minus:
            others = self.values(minus, metric)
            if values.keys() != others.keys():
                raise RecordError(f"{runs} has the seeds {sorted(values)}, but {minus} has {sorted(others)}")
            if not all(isinstance(value, float) for value in (*values.values(), *others.values())):
                raise RecordError(f"{metric} is no number, so it cannot be subtracted")
            values = {seed: Number(value - others[seed]) for seed, value in values.items()}
        fields = _fields(list(values.values()))
        if len(values) == 1 and not minus:
            ends = look_up(_namespace(self.named(runs)[0]), f"{metric}_interval")
            if isinstance(ends, list) and len(ends) == 2 and None not in ends:
                fields |= {"low": Number(ends[0]), "high": Number(ends[1])}
        try:
            return (form if "{" in form else f"{{value:{form}}}").format(**fields)
        except KeyError as error:
            raise RecordError(f"{metric} of {runs} has no {error.args[0]}, only {', '.join(fields)}") from None
        except (ValueError, IndexError) as error:
            raise RecordError(f"{metric} of {runs} cannot be shown as {form}: {error}") from None

    def values(self, runs: str, metric: str) -> dict:
        """Seed -> value of a metric; numbers as Number. Raises RecordError."""
        named = self.named(runs)
        if len({run.seed for run in named}) < len(named):
            raise RecordError(f"two runs have the same seed: {', '.join(run.name for run in named)}")
        values = {}
        for run in named:
            try:
                value = look_up(_namespace(run), metric)
            except (OSError, ValueError, KeyError, AttributeError) as error:
                raise RecordError(f"the record of {run.name} cannot be read ({error})") from None
            if value is None:
                raise RecordError(f"{run.name} has no value {metric}")
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            values[run.seed] = Number(value) if is_number else value
        return values

    def named(self, runs: str) -> list[Committed]:
        """The runs that a text names. Raises RecordError for a run that does not exist."""
        named = []
        for name in runs.split(","):
            preset, _, run = name.rpartition("/")
            pattern = re.escape(run).replace(r"\*", r"\d+")
            wanted = preset or "tiny"
            matches = [r for (of, other), r in self._runs.items() if of == wanted and re.fullmatch(pattern, other)]
            if not matches:
                raise RecordError(f"there is no run {name}")
            named += matches
        return named


def look_up(value: object, path: str) -> object:
    """The value at a dotted path; keys may contain dots, and numbers index lists. None: there is none."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if path == str(key):
            return item
        if path.startswith(f"{key}.") and (below := look_up(item, path[len(str(key)) + 1 :])) is not None:
            return below
    return None


def _namespace(run: Committed) -> dict:
    return {**run.metrics.get("datasets", {}), **run.metrics, "summary": run.record["summary"], "info": run.info}


def _fields(values: list) -> dict:
    fields: dict = {"runs": len(values)}
    if len(values) == 1:
        fields["value"] = values[0]
    if all(isinstance(value, float) for value in values):
        fields |= {"mean": Number(mean(values)), "min": min(values), "max": max(values)}
        fields |= {"sd": Number(stdev(values))} if len(values) > 1 else {}
    return fields
