"""Comparison of two phases on the same problems: what changed, how sure that is, what to look at when it looks wrong.

    python -m lib.report.changes tiny 03_baseline-s0 10_sft-s0          prints the report as Markdown

Changes are in points (percent of the problems), "after" minus "before", with a 95 % bootstrap interval over problems.
A change whose interval holds 0 is no finding, whatever its sign.
"""

import sys
from collections.abc import Callable

import pandas as pd

from lib.judge.verdict import ERROR_TYPES
from lib.metrics import transitions
from lib.report.tables import Stage
from lib.runs.paths import artifacts
from lib.statistics import mcnemar_exact, paired_bootstrap

UP, DOWN = "up", "down"
# What each figure is of one row of verdicts.csv, and where a phase that did its work moves it. A wrong answer is a
# program that ran: there may be more of them when fewer fail to run.
FIGURES: dict[str, tuple[Callable[[pd.DataFrame], pd.Series], str]] = {
    "accepted_at_1": (lambda rows: rows.error_type == "success", UP),
    "exec_success_rate": (lambda rows: rows.error_type.isin(["success", "wrong_answer"]), UP),
    "pass_ratio_mean": (lambda rows: rows.pass_ratio, UP),
    "zero_reward_rate": (lambda rows: rows.pass_ratio == 0, DOWN),
    "syntax_error_rate": (lambda rows: rows.error_type == "syntax_error", DOWN),
    "runtime_error_rate": (lambda rows: rows.error_type == "runtime_error", DOWN),
    "timeout_rate": (lambda rows: rows.error_type == "timeout", DOWN),
    "wrong_answer_rate": (lambda rows: rows.error_type == "wrong_answer", ""),
}
EXEC_GAIN, HUMANEVAL_LOSS = 10.0, 5.0  # points


def changes(before: Stage, after: Stage, dataset: str, seed: int = 0) -> pd.DataFrame:
    """One row per figure: before, after and `points` in percent, `low`, `high`, `expected` direction, `as_expected`.

    `as_expected`: "yes" or "no" when the interval leaves 0 out, else "unclear". `p`: McNemar's, of accepted_at_1.
    Raises ValueError when the two were not measured on the same problems.
    """
    a, b = same_problems(before, after, dataset)
    rows = {}
    for name, (figure, expected) in FIGURES.items():
        x, y = figure(a).to_numpy(float), figure(b).to_numpy(float)
        found = paired_bootstrap(x, y, seed=seed)
        moved = UP if found["low"] > 0 else DOWN if found["high"] < 0 else ""
        rows[name] = {
            "before": 100 * x.mean(),
            "after": 100 * y.mean(),
            "points": 100 * found["difference"],
            "low": 100 * found["low"],
            "high": 100 * found["high"],
            "expected": expected or "either",
            "as_expected": "" if not expected else "unclear" if not moved else "yes" if moved == expected else "no",
            "p": mcnemar_exact(x > 0, y > 0)["p_value"] if name == "accepted_at_1" else None,
        }
    return pd.DataFrame(rows).T


def error_transitions(before: Stage, after: Stage, dataset: str) -> pd.DataFrame:
    """How many problems went from which error type (rows) to which (columns)."""
    a, b = same_problems(before, after, dataset)
    found = transitions(dict(a.error_type), dict(b.error_type))
    return pd.DataFrame(found).T[list(ERROR_TYPES)]


def same_problems(before: Stage, after: Stage, dataset: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The verdicts of both by problem, without those that the judge failed on in either."""
    versions = [stage.metrics.get("manifest", {}).get(dataset) for stage in (before, after)]
    a, b = (stage.verdicts[stage.verdicts.dataset == dataset].set_index("problem_id") for stage in (before, after))
    if list(a.index) != list(b.index) or a.empty or (all(versions) and versions[0] != versions[1]):
        raise ValueError(f"{before.label} and {after.label} were not measured on the same problems of {dataset}")
    judged = (a.error_type != "api_error") & (b.error_type != "api_error")
    return a[judged], b[judged]


def warnings(tables: dict[str, pd.DataFrame], supervised: bool) -> list[dict]:
    """What looks wrong; each with what was seen, what it means, likely causes, and what to look at.

    `tables`: set -> `changes`. Contests are the sets whose name holds "contests"; of them the test set counts, where it
    was measured, else valid. The gain in programs that run is asked of a `supervised` phase only: RL starts from
    programs that run already.
    """
    contests = sorted(name for name in tables if "contests" in name and "big" not in name)
    found = []
    if contests:
        name = contests[0]  # ..._test comes before ..._valid
        gain = tables[name].loc["exec_success_rate"]
        if supervised and gain.points < EXEC_GAIN:
            found.append(_warning("exec gain", f"{name}: {gain.points:+.1f} points, under {EXEC_GAIN:.0f}"))
        syntax = tables[name].loc["syntax_error_rate"]
        if syntax.points > 0:
            sure = "" if syntax.low > 0 else ", within its interval of no change"
            found.append(_warning("syntax errors", f"{name}: {syntax.points:+.1f} points{sure}"))
    if "humaneval" in tables and tables["humaneval"].loc["accepted_at_1"].points < -HUMANEVAL_LOSS:
        found.append(_warning("humaneval", f"{tables['humaneval'].loc['accepted_at_1'].points:+.1f} points"))
    rows = [row for table in tables.values() for _, row in table.iterrows()]
    if rows and all(row.low <= 0 <= row.high for row in rows):
        found.append(_warning("nothing moved", f"no figure of {', '.join(tables)} left its interval of no change"))
    return found


_WARNINGS = {
    "exec gain": (
        "hardly more programs run to their end than before",
        "too few steps or too small a learning rate; solutions that were not verified; truncated pairs; a prompt that "
        "differs between training and evaluation",
        "the loss curve, the count of verified pairs, truncation_rate, a prompt of qa_logs beside a pair",
    ),
    "humaneval": (
        "function problems were lost while contest programs were learnt",
        "over-training on one form of program; answers that read input instead of defining the function",
        "humaneval.jsonl in qa_logs (does the function exist?), earlier checkpoints, the mix of training sets",
    ),
    "syntax errors": (
        "more answers are no Python at all",
        "answers cut off by max_new_tokens; Python 2 or damaged solutions among the pairs; a lost end token",
        "truncation_rate and format_rate, the syntax errors in qa_logs, the tokenizer's round trip in model_check.json",
    ),
    "nothing moved": (
        "the two models behave alike",
        "the same weights were measured twice; weights that were not saved; a learning rate of almost zero",
        "the weights' checksums, the loss curve, `model` and `checkpoint` in both metrics.json",
    ),
}


def _warning(name: str, seen: str) -> dict[str, str]:
    meaning, causes, look_at = _WARNINGS[name]
    return {"warning": name, "seen": seen, "meaning": meaning, "likely causes": causes, "look at": look_at}


def all_changes(before: Stage, after: Stage, seed: int = 0) -> tuple[dict[str, pd.DataFrame], list[dict]]:
    """`changes` of every set that both were measured on, by its name, and the `warnings`."""
    sets = [name for name in before.metrics["datasets"] if name in after.metrics["datasets"]]
    tables = {name: changes(before, after, name, seed) for name in sets}
    return tables, warnings(tables, supervised=after.info["run"].startswith("1"))


def as_markdown(before: Stage, after: Stage, seed: int = 0) -> str:
    """The whole report: figures and error types of every set that both were measured on, then the warnings."""
    tables, found = all_changes(before, after, seed)
    parts = [f"# From {before.label} to {after.label}"]
    for name, table in tables.items():
        n = len(same_problems(before, after, name)[0])
        parts += [f"## {name} (n = {n})", _figures(table), "Error types, before (rows) to after (columns):"]
        parts.append(_table(error_transitions(before, after, name)))
    parts.append("## Warnings")
    parts += [
        f"- **{one['warning']}**: {one['meaning']} ({one['seen']}). Likely causes: {one['likely causes']}. "
        f"Look at: {one['look at']}."
        for one in found
    ]
    return "\n\n".join(parts if found else [*parts, "None of the four."]) + "\n"


def _figures(table: pd.DataFrame) -> str:
    shown = pd.DataFrame(
        {
            "before": table.before.map("{:.1f}".format),
            "after": table.after.map("{:.1f}".format),
            "points [95 %]": [f"{row.points:+.1f} [{row.low:+.1f}, {row.high:+.1f}]" for _, row in table.iterrows()],
            "expected": table.expected,
            "as expected": table.as_expected,
            "McNemar p": ["" if pd.isna(p) else f"{p:.2g}" for p in table.p],
        },
        index=table.index,
    )
    return _table(shown)


def _table(frame: pd.DataFrame) -> str:
    rows = [["", *frame.columns], ["---"] * (len(frame.columns) + 1)]
    rows += [[name, *map(str, row)] for name, row in zip(frame.index, frame.to_numpy(), strict=True)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    preset, *runs = sys.argv[1:]
    print(as_markdown(*(Stage(name, artifacts() / preset / name) for name in runs)), end="")
