"""What changed between two phases on the same problems: every metric, error types, and four warnings.

Changes are in points (percent of the problems), "after" minus "before", with a 95 % bootstrap interval over problems.
A change whose interval holds 0 is not a result, whatever its sign.
"""

from collections.abc import Callable

import pandas as pd

from lib.judge.verdict import ERROR_TYPES
from lib.report.runs import Stage
from lib.runs.record import markdown_table
from lib.statistics import paired_bootstrap

UP, DOWN = "up", "down"
# Each metric of a row of verdicts.csv, and the direction in which training should move it. A wrong answer is a program
# that ran: there may be more of them when fewer fail to run.
METRICS: dict[str, tuple[Callable[[pd.DataFrame], pd.Series], str]] = {
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
_WARNINGS = {  # name -> meaning, likely causes, what to look at
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
        "more answers do not compile",
        "answers cut off by max_new_tokens; Python 2 or damaged solutions among the pairs; a lost end token",
        "truncation_rate and format_rate, the syntax errors in qa_logs, the tokenizer's round trip in model_check.json",
    ),
    "nothing moved": (
        "the two models behave alike",
        "the same weights were measured twice; weights that were not saved; a learning rate of almost zero",
        "the weights' checksums, the loss curve, `model` and `checkpoint` in both metrics.json",
    ),
}


def changes(before: Stage, after: Stage, dataset: str, seed: int = 0) -> pd.DataFrame:
    """A row per metric: before, after and `points` in percent, `low`, `high`, `expected` direction, `as_expected`.

    `as_expected`: "yes" or "no" when the interval excludes 0, else "unclear". Raises ValueError when the two were not
    measured on the same problems.
    """
    a, b = same_problems(before, after, dataset)
    rows = {}
    for name, (metric, expected) in METRICS.items():
        x, y = metric(a).to_numpy(float), metric(b).to_numpy(float)
        points, low, high = (100 * value for value in paired_bootstrap(x, y, seed=seed).values())
        moved = UP if low > 0 else DOWN if high < 0 else ""
        as_expected = "" if not expected else "unclear" if not moved else "yes" if moved == expected else "no"
        rows[name] = {"before": 100 * x.mean(), "after": 100 * y.mean(), "points": points, "low": low, "high": high}
        rows[name] |= {"expected": expected or "either", "as_expected": as_expected}
    return pd.DataFrame(rows).T


def changes_table(table: pd.DataFrame) -> pd.DataFrame:
    """The result of `changes` as it is shown, with one decimal."""
    shown = table[["before", "after"]].map("{:.1f}".format)
    shown["points [95 %]"] = [f"{row.points:+.1f} [{row.low:+.1f}, {row.high:+.1f}]" for _, row in table.iterrows()]
    return shown.assign(expected=table.expected, **{"as expected": table.as_expected})


def error_transitions(before: Stage, after: Stage, dataset: str) -> pd.DataFrame:
    """How many problems went from which error type (rows) to which (columns)."""
    a, b = same_problems(before, after, dataset)
    return pd.crosstab(a.error_type, b.error_type).reindex(index=ERROR_TYPES, columns=ERROR_TYPES, fill_value=0)


def same_problems(before: Stage, after: Stage, dataset: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The verdicts of both by problem, without the problems on which the judge failed in either."""
    versions = [stage.metrics.get("manifest", {}).get(dataset) for stage in (before, after)]
    a, b = (stage.verdicts[stage.verdicts.dataset == dataset].set_index("problem_id") for stage in (before, after))
    if list(a.index) != list(b.index) or a.empty or (all(versions) and versions[0] != versions[1]):
        raise ValueError(f"{before.label} and {after.label} were not measured on the same problems of {dataset}")
    judged = (a.error_type != "api_error") & (b.error_type != "api_error")
    return a[judged], b[judged]


def warnings(tables: dict[str, pd.DataFrame], supervised: bool) -> dict[str, str]:
    """What looks wrong: warning -> what was seen. `tables`: set -> `changes`.

    Of the main sets the test set counts where it was measured, else valid. The gain in programs that run is asked of
    a `supervised` phase only: RL starts from programs that run already.
    """
    main = sorted(name for name in tables if name.endswith(("_test", "_valid")))
    seen = {}
    for name in main[:1]:  # ..._test comes before ..._valid
        gain, syntax = tables[name].loc["exec_success_rate"], tables[name].loc["syntax_error_rate"]
        if supervised and gain.points < EXEC_GAIN:
            seen["exec gain"] = f"{name}: {gain.points:+.1f} points, under {EXEC_GAIN:.0f}"
        if syntax.points > 0:
            unsure = "" if syntax.low > 0 else ", an interval that holds 0"
            seen["syntax errors"] = f"{name}: {syntax.points:+.1f} points{unsure}"
    if "humaneval" in tables and tables["humaneval"].loc["accepted_at_1"].points < -HUMANEVAL_LOSS:
        seen["humaneval"] = f"{tables['humaneval'].loc['accepted_at_1'].points:+.1f} points"
    rows = [row for table in tables.values() for _, row in table.iterrows()]
    if rows and all(row.low <= 0 <= row.high for row in rows):
        seen["nothing moved"] = f"the interval of every change on {', '.join(tables)} holds 0"
    return seen


def warning_text(name: str, seen: str) -> str:
    """A warning with its meaning, likely causes, and what to look at."""
    meaning, causes, look_at = _WARNINGS[name]
    return f"**{name}**: {meaning} ({seen}). Likely causes: {causes}. Look at: {look_at}."


def all_changes(before: Stage, after: Stage, seed: int = 0) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """`changes` of every set that both were measured on, by its name, and the `warnings`."""
    sets = [name for name in before.metrics["datasets"] if name in after.metrics["datasets"]]
    tables = {name: changes(before, after, name, seed) for name in sets}
    return tables, warnings(tables, supervised=after.info["run"].startswith("1"))


def as_markdown(before: Stage, after: Stage, seed: int = 0) -> str:
    """The whole report: metrics and error types of every set that both were measured on, then the warnings."""
    tables, seen = all_changes(before, after, seed)
    parts = [f"# From {before.label} to {after.label}"]
    for name, table in tables.items():
        parts.append(f"## {name} (n = {len(same_problems(before, after, name)[0])})")
        shown, moved = changes_table(table), error_transitions(before, after, name)
        for title, frame in (("", shown), ("Error types, before (rows) to after (columns):", moved)):
            parts += [title] * bool(title) + [markdown_table(["", *frame.columns], frame.itertuples())]
    texts = [f"- {warning_text(name, text)}" for name, text in seen.items()]
    return "\n\n".join([*parts, "## Warnings", *(texts or ["None of the four."])]) + "\n"
