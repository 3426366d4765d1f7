"""Ablations: two arms compared over the same problems and several seeds; the words follow from the figures.

A run of one arm is paired with the run of the other arm that has the same seed (the same start, the same order of the
data), and within a pair the problems are paired. One training says nothing about a recipe: below SEEDS pairs there is
no conclusion, whatever the interval over problems says.
"""

from dataclasses import dataclass
from statistics import fmean

import numpy as np
import pandas as pd

from lib.report.runs import SEEDS, Arm, accepted, made, pairs
from lib.report.tables import HOLE, Stage
from lib.statistics import mcnemar_exact, mean_sd

MARGIN = 5.0  # points: a difference within it does not matter here
WINDOW = 10  # steps of the running mean in which a curve passes a threshold


def learning_table(arms: dict[str, Arm], dataset: str, per_step: int, threshold: float = 0.5) -> pd.DataFrame:
    """One row per arm: accepted on `dataset` in percent by seed with `sd` between the seeds; of a recipe that samples
    while it trains the `area` under the learning curve, and the steps and rollouts (`per_step`) until a share of
    `threshold` of the samples is accepted, by seed. A run that has not been made is a hole."""
    rows = {}
    for name, arm in arms.items():
        solved = {seed: 100 * float(accepted([stage], dataset).mean()) for seed, stage in made(arm).items()}
        curves = {seed: stage.curve for seed, stage in made(arm).items() if _learns(stage)}
        steps = {seed: first_reached(curve, threshold) for seed, curve in curves.items()}
        rollouts = {seed: step and step * per_step for seed, step in steps.items()}
        columns = {
            "accepted": (solved, "{:.1f}"),
            "area": ({seed: area(curve) for seed, curve in curves.items()}, "{:.3f}"),
            f"steps to {threshold:.0%}": (steps, "{:.0f}"),
            f"rollouts to {threshold:.0%}": (rollouts, "{:,.0f}"),
        }
        sd = mean_sd(solved.values())[1] if len(solved) > 1 else None
        rows[name] = {"runs": len(solved), "sd": "–" if sd is None else f"{sd:.1f}"}
        rows[name] |= {key: _by_seed(arm, values, form) for key, (values, form) in columns.items()}
    table = pd.DataFrame(rows).T
    return table[["runs", "accepted", "sd", *table.columns.drop(["runs", "accepted", "sd"])]]


def _by_seed(arm: Arm, values: dict[int, float | None], form: str) -> str:
    if not values:
        return "–" if made(arm) else HOLE
    words = {seed: "never" if value is None else form.format(value) for seed, value in values.items()}
    return " · ".join(words.get(seed, HOLE) for seed in arm)


def _learns(stage: Stage) -> bool:
    return stage.curve is not None and "success_rate" in stage.curve


def area(curve: pd.DataFrame) -> float:
    """The area under the share of accepted samples by step, divided by the steps: their mean, in [0, 1]. The rewards of
    two arms are on different scales; this share is on one."""
    return float(curve.success_rate.mean())


def first_reached(curve: pd.DataFrame, threshold: float) -> int | None:
    """The first step at which the running mean over WINDOW steps of the share of accepted samples is at least
    `threshold`; None when it never is."""
    smooth = curve.success_rate.rolling(WINDOW).mean()
    return int(curve.step[smooth >= threshold].min()) if (smooth >= threshold).any() else None


@dataclass(frozen=True)
class Comparison:
    """Arm `b` against arm `a`. `points` (percent of the problems, b - a) with `low` and `high`, a 95 % bootstrap
    interval over seeds and problems; `p`: of `sign_flip`; `by_seed`: points of each pair, with McNemar's exact p where
    both hand in one program; `areas`: b - a of the pairs that both have a learning curve."""

    a: str
    b: str
    dataset: str
    problems: int
    points: float
    low: float
    high: float
    p: float
    by_seed: dict[int, dict]
    areas: dict[int, float]


def compare(
    arms: dict[str, Arm], a: str, b: str, dataset: str, seed: int = 0, samples: int | None = None
) -> Comparison | None:
    """Two arms on the seeds that both have; None when there is none. `samples`: how many programs of a best of n count
    (all). Raises ValueError when the runs were not measured on the same problems."""
    found = pairs(arms.get(a, {}), arms.get(b, {}))
    if not found:
        return None
    solved = accepted([stage for pair in found.values() for stage in pair], dataset, samples)
    before, after = solved[::2], solved[1::2]
    differences = after - before
    low, high = interval(differences, seed)
    by_seed = {one: {"points": 100 * float(row.mean())} for one, row in zip(found, differences, strict=True)}
    if np.isin(solved, (0, 1)).all():
        for row, *pair in zip(by_seed.values(), before, after, strict=True):
            row |= dict(zip(("lost", "won", "McNemar p"), mcnemar_exact(*pair).values(), strict=True))
    return Comparison(
        a,
        b,
        dataset,
        solved.shape[1],
        100 * float(differences.mean()),
        100 * low,
        100 * high,
        sign_flip(differences, seed),
        by_seed,
        {one: area(y.curve) - area(x.curve) for one, (x, y) in found.items() if _learns(x) and _learns(y)},
    )


def interval(values: np.ndarray, seed: int = 0, resamples: int = 10_000) -> tuple[float, float]:
    """95 % percentile interval of the mean of `values` [seeds, problems], resampling both (a crossed bootstrap:
    Owen 2007, "The pigeonhole bootstrap"). Over three seeds it is rather too narrow than too wide, which is why
    `conclusion` also asks whether the seeds agree."""
    random, (n, problems) = np.random.default_rng(seed), values.shape
    seeds = random.multinomial(n, np.full(n, 1 / n), resamples) / n
    drawn = random.integers(0, problems, (resamples, problems))
    means = (seeds * np.stack([row[drawn].mean(1) for row in values], axis=1)).sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def sign_flip(differences: np.ndarray, seed: int = 0, draws: int = 10_000) -> float:
    """Two-sided p of a paired permutation test over problems: the mean over seeds of each problem's difference might as
    well have had the other sign. `differences`: [seeds, problems]. What it says is of these trainings, not of others.
    The drawn one counts too, so that p is never 0 (Phipson and Smyth 2010)."""
    by_problem = differences.mean(0)
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), (draws, len(by_problem)))
    return float((1 + (abs(signs @ by_problem) >= abs(by_problem.sum()) - 1e-9).sum()) / (draws + 1))


def comparison_table(found: list[Comparison]) -> pd.DataFrame:
    """One row per comparison: points with interval, sd between the seeds, p as found and after Holm's correction (1979)
    for all of them; by seed the points and McNemar's p."""
    ordered, adjusted, worst = sorted(found, key=lambda one: one.p), {}, 0.0
    for n, one in enumerate(ordered):
        worst = adjusted[id(one)] = max(worst, min(1.0, one.p * (len(ordered) - n)))
    rows = []
    for one in found:
        points = [row["points"] for row in one.by_seed.values()]
        exact = [f"{row['McNemar p']:.2g}" for row in one.by_seed.values() if "McNemar p" in row]
        rows.append(
            {
                "of": one.b,
                "against": one.a,
                "set": one.dataset,
                "n": one.problems,
                "points [95 %]": f"{one.points:+.1f} [{one.low:+.1f}, {one.high:+.1f}]",
                "sd": "–" if len(points) < 2 else f"{mean_sd(points)[1]:.1f}",
                "p": float(f"{one.p:.2g}"),
                "p (Holm)": float(f"{adjusted[id(one)]:.2g}"),
                "by seed": " · ".join(f"{value:+.1f}" for value in points),
                "McNemar p": " · ".join(exact) or "–",
            }
        )
    return pd.DataFrame(rows)


def conclusion(found: Comparison | None, a: str, b: str) -> str:
    """What the figures allow to be said of arm `b` against arm `a`, and no more.

    A winner wants SEEDS pairs, an interval without 0, and every seed on its side. "No difference that matters" wants
    an interval within MARGIN. All else is open.
    """
    if found is None:
        return f"{b} against {a}: nothing to compare, no seed has a run of both (of {SEEDS} that a conclusion wants)."
    n, signs = len(found.by_seed), {float(np.sign(one["points"])) for one in found.by_seed.values()}
    figures = f"{b} against {a}: {found.points:+.1f} points [{found.low:+.1f}, {found.high:+.1f}]"
    figures += f" on {found.problems} problems of {found.dataset}, {n} seed{'s' * (n > 1)}."
    if found.areas:
        more = sum(one > 0 for one in found.areas.values())
        figures += f" While learning, {b} had more accepted samples in {more} of {len(found.areas)}"
        figures += f" ({fmean(found.areas.values()):+.3f})."
    if n < SEEDS:
        words = f"Open: {n} of {SEEDS} seeds; a difference between so few trainings is no finding."
    elif (found.low > 0 or found.high < 0) and signs in ({1.0}, {-1.0}):
        winner, loser = (b, a) if found.points > 0 else (a, b)
        words = f"{winner} is better than {loser}, in every seed."
    elif found.low > -MARGIN and found.high < MARGIN:
        words = f"No difference that matters: one of more than {MARGIN:.0f} points is ruled out."
    elif found.low > 0 or found.high < 0:
        words = "Open: the interval leaves 0 out, but the seeds do not agree."
    else:
        words = "Open: the interval holds 0, and differences that would matter."
    return f"{words} {figures}"
