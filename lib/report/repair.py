"""The page of Phase 4: what repair in several rounds is worth, and against which controls, over the seeds.

Read from `repair.json` of the runs of 40_repair. Intervals of a run are over problems; over the seeds their ends are
averaged, as if the seeds erred alike, which makes the interval rather too wide than too narrow.
"""

import json
from collections.abc import Callable, Sequence
from statistics import fmean

import pandas as pd

from lib.evaluation.repair_metrics import Retries
from lib.metrics import RESAMPLES
from lib.report.comparison import Comparison
from lib.report.outcomes import repair_settings
from lib.report.runs import NOT_RUN, REPAIR, Runs, finished
from lib.statistics import bootstrap, mcnemar_exact, mean_sd, paired_points

RESAMPLING = "b. resampling, trained policy, tokens generated"  # the control that repair has to beat
COLUMNS: dict[str, tuple[Callable[[dict], float | None], str]] = {  # of lib.evaluation.repair_metrics.summary
    "accepted_at_1, %": (lambda row: 100 * row["accepted_at_1"], "{:.1f}"),
    "accepted_at_multi, %": (lambda row: 100 * row["accepted_at_multi"], "{:.1f}"),
    "recovery_rate, %": (lambda row: None if row["recovery_rate"] is None else 100 * row["recovery_rate"], "{:.1f}"),
    "Δ pass_ratio mean": (lambda row: row["delta_pass_ratio"]["mean"], "{:+.2f}"),
    "P50": (lambda row: row["delta_pass_ratio"]["p50"], "{:+.2f}"),
    "P90": (lambda row: row["delta_pass_ratio"]["p90"], "{:+.2f}"),
    "avg_rounds_used": (lambda row: row["avg_rounds_used"], "{:.2f}"),
    "rounds saved, %": (lambda row: 100 * row["saved_rounds"], "{:.1f}"),
    "missed": (lambda row: row["missed"], "{:.1f}"),
    "tokens per solved": (lambda row: row["cost_per_solved_tokens"]["repair"], "{:.0f}"),
    "in one round": (lambda row: row["cost_per_solved_tokens"]["single"], "{:.0f}"),
}


def by_retries(retries: Retries, seed: int = 0) -> list[dict]:
    """The curve of resampling: per number of retries the `tokens` generated per problem and the share `accepted`, with
    its 95 % bootstrap interval over problems (`low`, `high`)."""
    rows = []
    for k, (tokens, values) in enumerate(zip(retries.tokens.T, retries.accepted.T, strict=True)):
        low, high = bootstrap(values, resamples=RESAMPLES, seed=seed)
        rows.append({"retries": k, "tokens": fmean(tokens), "accepted": fmean(values), "low": low, "high": high})
    return rows


def compare(control: Sequence[float], treated: Sequence[float], seed: int = 0) -> dict:
    """Repair compared with a control on the same problems: both shares, the difference in `points` with a 95 % paired
    bootstrap interval, and McNemar's exact `p` if both are verdicts and not probabilities."""
    exact = all(value in (0, 1) for value in (*control, *treated))
    return {
        "control": fmean(control),
        "repair": fmean(treated),
        **paired_points(control, treated, resamples=RESAMPLES, seed=seed),
        "p": mcnemar_exact(control, treated)["p_value"] if exact else None,
    }


def read_repairs(runs: Runs) -> dict[int, dict]:
    """seed -> the repair.json of a run of 40_repair; the setting with all rounds comes first."""
    return {
        seed: json.loads((stage.folder / "repair.json").read_text())
        | {"settings": repair_settings(stage), "set": stage.main_set}
        for seed, stage in finished(runs).items()
    }


def settings_table(repairs: dict[int, dict]) -> pd.DataFrame:
    """A row per way to repair (rounds, feedback, policy): the metrics of Phase 4, mean ± sd over the seeds."""
    rows = {
        name: {
            column: _mean_sd([value(run["settings"][name]) for run in repairs.values()], form)
            for column, (value, form) in COLUMNS.items()
        }
        for name in next(iter(repairs.values()))["settings"]
    }
    return pd.DataFrame(rows).T


def rounds_table(repairs: dict[int, dict]) -> pd.DataFrame:
    """What each round of the longest dialogues took, means over the seeds: dialogues, accepted, tokens generated and
    read, CPU seconds of the public tests."""
    wholes = [next(iter(run["settings"].values())) for run in repairs.values()]
    parts = [pd.DataFrame([*run["by_round"], run["total"]]) for run in wholes]
    table = sum(parts[1:], parts[0]) / len(parts)
    return table.set_axis([*(f"round {k}" for k in range(1, len(table))), "total"]).round(2)


def versus_controls(repairs: dict[int, dict]) -> dict[str, Comparison]:
    """Repair against each of its controls on the main set; by the record, without a p value over the seeds."""
    compared = {}
    for name in next(iter(repairs.values()))["controls"] if repairs else ():
        by_seed = {seed: run["controls"][name] for seed, run in repairs.items()}
        keys = ("control", "repair", "points", "low", "high")
        control, repair, points, low, high = (fmean(pair[key] for pair in by_seed.values()) for key in keys)
        first = next(iter(repairs.values()))
        problems = next(iter(first["settings"].values()))["n"]
        seeds = {seed: {"points": pair["points"]} for seed, pair in by_seed.items()}
        compared[name] = Comparison(
            name, REPAIR, first["set"], problems, 100 * control, 100 * repair, points, low, high, p=None, by_seed=seeds
        )
    return compared


def feedback_credit(controls: dict[str, Comparison], continued: Comparison | None) -> str:
    """Whether a gain of repair may be credited to feedback: only if repair is better than each control that spends the
    same without feedback. `controls`: of `versus_controls`; `continued`: repair against GRPO continued."""
    needed = {"GRPO continued": continued, "resampling at equal tokens": controls.get(RESAMPLING)}
    needed["feedback without information"] = next((test for name, test in controls.items() if name[:2] == "d."), None)
    verdicts = {name: test.verdict if test else NOT_RUN for name, test in needed.items()}
    credited = all(verdict == "better" for verdict in verdicts.values())
    details = ", ".join(f"{verdict} ({name})" for name, verdict in verdicts.items())
    return f"{'Credited' if credited else 'Nothing is credited'} to feedback: repair against its controls: {details}."


def moves(repairs: dict[int, dict]) -> dict[str, pd.DataFrame]:
    """Error types before (rows) and after (columns) each round but the first, dialogues of all seeds added up; types
    that never occur are left out."""
    tables = {}
    for number in next(iter(repairs.values()))["transitions"] if repairs else ():
        parts = [pd.DataFrame(run["transitions"][number]).T for run in repairs.values()]
        table = sum(parts[1:], parts[0])
        tables[f"round {number} to {int(number) + 1}"] = table.loc[table.any(axis=1), table.any(axis=0)].astype(int)
    return tables


def _mean_sd(values: list[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    mean, sd = mean_sd(known)
    return form.format(mean) + ("" if sd is None else f" ± {form.replace('+', '').format(sd)}")
