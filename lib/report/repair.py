"""The page of Phase 4: what repair in several rounds is worth, and against which controls, over the seeds.

All of it is read from `repair.json` of the runs of 40_repair. Intervals of a run are over problems; over the seeds the
ends are averaged, as if the seeds erred alike, which makes the interval rather too wide than too narrow.
"""

import json
from statistics import fmean

import pandas as pd

from lib.report.runs import MAIN_SET, SEEDS, Runs, finished, repairs
from lib.statistics import mean_sd

FILE = "repair.json"
RESAMPLING = "b. resampling, trained policy, tokens generated"  # the control that repair has to beat
FIGURES = {  # column -> (what it is in a summary of lib.evaluation.repair_metrics, format)
    "accepted_at_1": (lambda one: one["accepted_at_1"], "{:.1%}"),
    "accepted_at_multi": (lambda one: one["accepted_at_multi"], "{:.1%}"),
    "recovery_rate": (lambda one: one["recovery_rate"], "{:.1%}"),
    "Δ pass_ratio mean": (lambda one: one["delta_pass_ratio"]["mean"], "{:+.2f}"),
    "P50": (lambda one: one["delta_pass_ratio"]["p50"], "{:+.2f}"),
    "P90": (lambda one: one["delta_pass_ratio"]["p90"], "{:+.2f}"),
    "avg_rounds_used": (lambda one: one["avg_rounds_used"], "{:.2f}"),
    "rounds saved": (lambda one: one["saved_rounds"], "{:.0%}"),
    "missed": (lambda one: one["missed"], "{:.1f}"),
    "tokens per solved": (lambda one: one["cost_per_solved_tokens"]["repair"], "{:.0f}"),
    "in one round": (lambda one: one["cost_per_solved_tokens"]["single"], "{:.0f}"),
}


def read_repairs(arm: Runs) -> dict[int, dict]:
    """seed -> what a run of 40_repair has found; the setting with all rounds comes first."""
    return {
        seed: json.loads((stage.folder / FILE).read_text()) | {MAIN_SET: repairs(stage)}
        for seed, stage in finished(arm).items()
    }


def settings_table(found: dict[int, dict]) -> pd.DataFrame:
    """A row per way to repair (rounds, what is said, policy): the figures of Phase 4, mean ± sd over the seeds."""
    settings = list(next(iter(found.values()))[MAIN_SET])
    rows = {
        name: {
            column: _over([figure(one[MAIN_SET][name]) for one in found.values()], form)
            for column, (figure, form) in FIGURES.items()
        }
        for name in settings
    }
    return pd.DataFrame(rows).T


def rounds_table(found: dict[int, dict]) -> pd.DataFrame:
    """What each round of the longest dialogues took, means over the seeds: dialogues, accepted, tokens generated and
    read, CPU seconds of the public tests."""
    wholes = [next(iter(one[MAIN_SET].values())) for one in found.values()]
    parts = [pd.DataFrame([*one["by_round"], one["total"]]) for one in wholes]
    table = sum(parts) / len(parts)
    return table.set_axis([*(f"round {k}" for k in range(1, len(table))), "total"]).round(2)


def controls_table(found: dict[int, dict]) -> pd.DataFrame:
    """A row per control: its share and that of repair, points with interval, sd over seeds, points by seed."""
    return pd.DataFrame({name: _shown(one) for name, one in against(found).items()}).T


def against(found: dict[int, dict]) -> dict[str, dict]:
    """Repair against each control: `points` with `low`, `high`, the shares of both, and the points `by_seed`."""
    compared = {}
    for name in next(iter(found.values()))["controls"] if found else ():
        own = {seed: one["controls"][name] for seed, one in found.items()}
        means = {key: fmean(one[key] for one in own.values()) for key in ("control", "repair", "points", "low", "high")}
        compared[name] = means | {"by_seed": {seed: one["points"] for seed, one in own.items()}}
    return compared


def verdict(found: dict[int, dict], control: str = RESAMPLING) -> str:
    """What the figures allow to be said of repair against a control; it can come out either way, or stay open."""
    if not found:
        return f"Open: repair was not run; {SEEDS} seeds are wanted."
    one = against(found)[control]
    points = [*one["by_seed"].values()]
    figures = f"{one['points']:+.1f} points [{one['low']:+.1f}, {one['high']:+.1f}] against {control[3:]}"
    if len(points) < SEEDS:
        words = f"Open: {len(points)} of {SEEDS} seeds"
    elif one["low"] > 0 and min(points) > 0:
        words = "Repair is better, in every seed"
    elif one["high"] < 0 and max(points) < 0:
        words = "Repair is worse, in every seed"
    else:
        words = "Open: no difference that the problems and the seeds bear out"
    return f"{words}: {figures}, {len(points)} seed{'s' * (len(points) > 1)}."


def moves(found: dict[int, dict]) -> dict[str, pd.DataFrame]:
    """Error types before (rows) and after (columns) each round but the first, dialogues of all seeds added up; types
    that never occur are left out."""
    tables = {}
    for number in next(iter(found.values()))["transitions"] if found else ():
        table = sum(pd.DataFrame(one["transitions"][number]).T for one in found.values())
        tables[f"round {number} to {int(number) + 1}"] = table.loc[table.any(axis=1), table.any(axis=0)].astype(int)
    return tables


def _shown(one: dict) -> dict:
    return {
        "control": f"{one['control']:.1%}",
        "repair": f"{one['repair']:.1%}",
        "points [95 %]": f"{one['points']:+.1f} [{one['low']:+.1f}, {one['high']:+.1f}]",
        "sd": _over([*one["by_seed"].values()], "{:.1f}").partition("± ")[2] or "–",
        "by seed": " · ".join(f"{value:+.1f}" for value in one["by_seed"].values()),
    }


def _over(values: list[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    mean, sd = mean_sd(known)
    return form.format(mean) + ("" if sd is None else f" ± {form.replace('+', '').format(sd)}")
