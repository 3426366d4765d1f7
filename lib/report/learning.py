"""How fast the recipes learn: curves against steps, tokens and minutes; area and threshold, by seed."""

import pandas as pd

from lib.report.outcomes import accepted
from lib.report.runs import NOT_RUN, Runs, finished
from lib.statistics import mean_sd

WINDOW = 10  # steps of the running mean in which a curve passes a threshold
LOGGED = {
    "success_rate": "samples accepted",
    "reward": "reward of the samples",
    "kl": "KL to the start",
    "completion_tokens": "tokens of a sample",
}
GREEDY = {"accepted_at_1": "accepted on valid, greedy", "pass_ratio_mean": "pass_ratio on valid, greedy"}


def programs_per_step(preset: dict) -> int:
    """How many programs a step of online RL samples. `preset`: what preset.yaml holds."""
    block = preset["grpo"]
    return block["per_device_train_batch_size"] * block.get("gradient_accumulation_steps", 1)


def with_costs(curve: pd.DataFrame, per_step: int) -> pd.DataFrame:
    """The curve with cumulative `tokens` and `minutes`; computed from the steps for runs that did not record them."""
    tokens = (curve.completion_tokens * per_step).cumsum()
    seconds = curve[[name for name in ("step_s", "rollout_s") if name in curve]].sum(axis=1)
    return pd.DataFrame({"tokens": tokens, "minutes": seconds.cumsum() / 60}).assign(**curve.to_dict("series"))


def learning(rows: dict[str, Runs], per_step: int, window: int = WINDOW) -> pd.DataFrame:
    """What the trainings that sample logged: a line per `row`, `seed`, `panel` and `step`, with `tokens` and `minutes`
    spent up to it, and `value`. Logged values are running means over `window` steps; evaluations during the training
    are greedy. `per_step`: programs sampled in a step."""
    parts = []
    for name, runs in rows.items():
        for seed, stage in finished(runs).items():
            if stage.curve is None or not {"reward", "completion_tokens"} <= {*stage.curve}:
                continue
            curve = with_costs(stage.curve, per_step).set_index("step")
            values = {
                panel: curve[key].rolling(window, min_periods=1).mean() for key, panel in LOGGED.items() if key in curve
            }
            points = (stage.early_stop or {}).get("eval_points", [])
            valid = stage.main_set.replace("_test", "_valid")  # evaluated during the training
            for key, panel in GREEDY.items():
                values[panel] = pd.Series({one["step"]: one["sets"][valid][key] for one in points}, dtype=float)
            spent = curve[["tokens", "minutes"]].reindex([0, *curve.index], fill_value=0.0)
            for panel, series in values.items():
                part = spent.join(series.rename("value"), how="inner").rename_axis("step").reset_index()
                parts.append(part.assign(row=name, seed=seed, panel=panel))
    columns = ["row", "seed", "panel", "step", "tokens", "minutes", "value"]
    return pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)


def learning_table(rows: dict[str, Runs], dataset: str, per_step: int, threshold: float = 0.5) -> pd.DataFrame:
    """A line per row: accepted on `dataset` in percent by seed with `sd` between the seeds; of a recipe that samples
    while it trains the `area` under the learning curve, and the steps and rollouts (`per_step`) until a share of
    `threshold` of the samples is accepted, by seed. A missing run shows as "not run"."""
    lines = {}
    for name, runs in rows.items():
        solved = {seed: 100 * float(accepted([stage], dataset).mean()) for seed, stage in finished(runs).items()}
        logged = {seed: stage.curve for seed, stage in finished(runs).items()}
        curves = {seed: curve for seed, curve in logged.items() if curve is not None and "success_rate" in curve}
        steps = {seed: first_reached(curve, threshold) for seed, curve in curves.items()}
        rollouts = {seed: step and step * per_step for seed, step in steps.items()}
        sd = mean_sd([*solved.values()])[1] if len(solved) > 1 else None
        lines[name] = {
            "runs": len(solved),
            "accepted": _by_seed(runs, solved, "{:.1f}"),
            "sd": "–" if sd is None else f"{sd:.1f}",
            "area": _by_seed(runs, {seed: area(curve) for seed, curve in curves.items()}, "{:.3f}"),
            f"steps to {threshold:.0%}": _by_seed(runs, steps, "{:.0f}"),
            f"rollouts to {threshold:.0%}": _by_seed(runs, rollouts, "{:,.0f}"),
        }
    return pd.DataFrame(lines).T


def _by_seed(runs: Runs, values: dict, form: str) -> str:
    if not values:
        return "–" if finished(runs) else NOT_RUN
    texts = {seed: "never" if value is None else form.format(value) for seed, value in values.items()}
    return " · ".join(texts.get(seed, NOT_RUN) for seed in runs)


def area(curve: pd.DataFrame) -> float:
    """The area under the share of accepted samples by step, divided by the steps: their mean, in [0, 1]. Rewards of two
    recipes may be on different scales; this share is on one."""
    return float(curve.success_rate.mean())


def first_reached(curve: pd.DataFrame, threshold: float) -> int | None:
    """The first step at which the running mean over WINDOW steps of the share of accepted samples is at least
    `threshold`; None when it never is."""
    smooth = curve.success_rate.rolling(WINDOW).mean()
    return int(curve.step[smooth >= threshold].min()) if (smooth >= threshold).any() else None
