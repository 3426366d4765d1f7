"""How fast the recipes learn: area under the learning curve, steps and rollouts to a threshold, by seed."""

import pandas as pd

from lib.report.runs import Runs, accepted, finished
from lib.report.tables import HOLE, Stage
from lib.statistics import mean_sd

WINDOW = 10  # steps of the running mean in which a curve passes a threshold


def learning_table(rows: dict[str, Runs], dataset: str, per_step: int, threshold: float = 0.5) -> pd.DataFrame:
    """One line per row: accepted on `dataset` in percent by seed with `sd` between the seeds; of a recipe that samples
    while it trains the `area` under the learning curve, and the steps and rollouts (`per_step`) until a share of
    `threshold` of the samples is accepted, by seed. A missing run shows as "not run"."""
    lines = {}
    for name, runs in rows.items():
        solved = {seed: 100 * float(accepted([stage], dataset).mean()) for seed, stage in finished(runs).items()}
        curves = {seed: stage.curve for seed, stage in finished(runs).items() if _learns(stage)}
        steps = {seed: first_reached(curve, threshold) for seed, curve in curves.items()}
        rollouts = {seed: step and step * per_step for seed, step in steps.items()}
        columns = {
            "accepted": (solved, "{:.1f}"),
            "area": ({seed: area(curve) for seed, curve in curves.items()}, "{:.3f}"),
            f"steps to {threshold:.0%}": (steps, "{:.0f}"),
            f"rollouts to {threshold:.0%}": (rollouts, "{:,.0f}"),
        }
        sd = mean_sd(solved.values())[1] if len(solved) > 1 else None
        lines[name] = {"runs": len(solved), "sd": "–" if sd is None else f"{sd:.1f}"}
        lines[name] |= {key: _by_seed(runs, values, form) for key, (values, form) in columns.items()}
    table = pd.DataFrame(lines).T
    return table[["runs", "accepted", "sd", *table.columns.drop(["runs", "accepted", "sd"])]]


def _by_seed(runs: Runs, values: dict[int, float | None], form: str) -> str:
    if not values:
        return "–" if finished(runs) else HOLE
    words = {seed: "never" if value is None else form.format(value) for seed, value in values.items()}
    return " · ".join(words.get(seed, HOLE) for seed in runs)


def _learns(stage: Stage) -> bool:
    return stage.curve is not None and "success_rate" in stage.curve


def area(curve: pd.DataFrame) -> float:
    """The area under the share of accepted samples by step, divided by the steps: their mean, in [0, 1]. The rewards of
    two recipes are on different scales; this share is on one."""
    return float(curve.success_rate.mean())


def first_reached(curve: pd.DataFrame, threshold: float) -> int | None:
    """The first step at which the running mean over WINDOW steps of the share of accepted samples is at least
    `threshold`; None when it never is."""
    smooth = curve.success_rate.rolling(WINDOW).mean()
    return int(curve.step[smooth >= threshold].min()) if (smooth >= threshold).any() else None
