"""Ablations: two ways to train, compared over the same problems and several seeds; the words follow from the figures.

A run of one arm is paired with the run of the other arm that has the same seed (the same start, the same order of the
data), and within a pair the problems are paired. One training says nothing about a recipe: below SEEDS pairs there is
no conclusion, whatever the interval over problems says.
"""

import re
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import pandas as pd

from lib.comparison import same_problems
from lib.report import HOLE, Stage, read_stages
from lib.statistics import mcnemar_exact, mean_sd

SEEDS = 3  # pairs of trainings that a conclusion wants
MARGIN = 5.0  # points: a difference within it does not matter here
WINDOW = 10  # steps of the running mean in which a curve passes a threshold
_RUN = re.compile(r"\d\d_[a-z0-9_]+?(?:-(?P<arm>.+))?-s(?P<seed>\d+)")

Arm = dict[int, Stage | None]  # seed -> run; None: it has not been made


def read_arms(run, names: str) -> dict[str, Arm]:
    """The runs of an ablation, from their names separated by spaces: variant -> seed -> Stage. One that has not been
    made, and each of the seeds 0 to SEEDS - 1 that is not named, is None."""
    stages, arms = read_stages(run, {name: name for name in names.split()}), {}
    for name, stage in stages.items():
        found = _RUN.fullmatch(name)
        arm = arms.setdefault(found["arm"] or name, dict.fromkeys(range(SEEDS)))
        arm[int(found["seed"])] = stage
    return arms


def arm_table(arms: dict[str, Arm], dataset: str, per_step: int, threshold: float = 0.5) -> pd.DataFrame:
    """One row per arm and seed: accepted on `dataset` in percent, `area` under the learning curve, steps and rollouts
    (`per_step`) until half of the samples (`threshold`) are accepted; then mean and standard deviation over the seeds.
    """
    rows = {}
    for label, arm in arms.items():
        made = {seed: _figures(stage, dataset, per_step, threshold) for seed, stage in sorted(arm.items()) if stage}
        for seed in sorted(arm):
            rows[label, f"seed {seed}"] = made.get(seed, {"accepted": HOLE})
        for name, n in (("mean", 0), ("sd over seeds", 1)):
            columns = pd.DataFrame(made.values())
            rows[label, name] = {
                key: mean_sd(columns[key].dropna())[n] for key in columns if columns[key].notna().any()
            }
    table = pd.DataFrame(rows).T
    return table.astype(object).map(_shown)


def _shown(value: float | str) -> float | str:
    return value if isinstance(value, str) else "–" if pd.isna(value) else round(value, 3)


def _figures(stage: Stage, dataset: str, per_step: int, threshold: float) -> dict:
    steps = first_reached(stage.curve, threshold)
    rows = stage.verdicts[stage.verdicts.dataset == dataset]
    judged = rows[rows.error_type != "api_error"]
    return {
        "accepted": 100 * float((judged.error_type == "success").mean()),
        "area": area(stage.curve),
        f"steps to {threshold:.0%}": steps,
        f"rollouts to {threshold:.0%}": steps and steps * per_step,
    }


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
    interval over seeds and problems; `by_seed`: points and McNemar's exact p of each pair; `areas`: b - a of each."""

    a: str
    b: str
    dataset: str
    problems: int
    points: float
    low: float
    high: float
    by_seed: dict[int, dict]
    areas: dict[int, float]

    def table(self) -> pd.DataFrame:
        """One row per pair of trainings."""
        return pd.DataFrame(self.by_seed).T.rename_axis("seed").assign(area=pd.Series(self.areas))


def compare(arms: dict[str, Arm], a: str, b: str, dataset: str, seed: int = 0) -> Comparison | None:
    """Two arms on the seeds that both have; None when there is none. Raises ValueError when the runs of a pair were not
    measured on the same problems."""
    seeds = sorted(one for one in arms[a] if arms[a][one] and arms[b].get(one))
    if not seeds:
        return None
    pairs = {one: same_problems(arms[a][one], arms[b][one], dataset) for one in seeds}
    judged = sorted(set.intersection(*(set(x.index) for x, _ in pairs.values())))  # by the judge in every run
    solved = {one: [x.error_type.loc[judged] == "success" for x in both] for one, both in pairs.items()}
    differences = np.array([y.to_numpy(float) - x.to_numpy(float) for x, y in solved.values()])
    low, high = interval(differences, seed)
    return Comparison(
        a,
        b,
        dataset,
        len(judged),
        100 * float(differences.mean()),
        100 * low,
        100 * high,
        {
            one: {"points": 100 * float(row.mean()), "McNemar p": mcnemar_exact(*solved[one])["p_value"]}
            for one, row in zip(seeds, differences, strict=True)
        },
        {one: area(arms[b][one].curve) - area(arms[a][one].curve) for one in seeds},
    )


def interval(differences: np.ndarray, seed: int = 0, resamples: int = 10_000) -> tuple[float, float]:
    """95 % percentile interval of the mean of `differences` [seeds, problems], resampling both (a crossed bootstrap:
    Owen 2007, "The pigeonhole bootstrap"). Over three seeds it is rather too narrow than too wide, which is why
    `conclusion` also asks whether the seeds agree."""
    random = np.random.default_rng(seed)
    seeds, problems = (random.multinomial(n, np.full(n, 1 / n), resamples) / n for n in differences.shape)
    means = np.einsum("rs,rs->r", seeds, problems @ differences.T)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def conclusion(found: Comparison | None) -> str:
    """What the figures allow to be said, and no more.

    A winner wants SEEDS pairs, an interval without 0, and every seed on its side. "No difference that matters" wants
    an interval within MARGIN. All else is open.
    """
    if found is None:
        return f"Nothing to compare: no seed has a run of both arms (of {SEEDS} that a conclusion wants)."
    n, signs = len(found.by_seed), {float(np.sign(one["points"])) for one in found.by_seed.values()}
    figures = f"{found.b} against {found.a}: {found.points:+.1f} points [{found.low:+.1f}, {found.high:+.1f}]"
    figures += f" on {found.problems} problems of {found.dataset}, {n} seed{'s' * (n > 1)}."
    faster = sum(one > 0 for one in found.areas.values())
    curve = (
        f" While learning, {found.b} had more accepted samples in {faster} of {n} ({fmean(found.areas.values()):+.3f})."
    )
    if n < SEEDS:
        words = f"Open: {n} of {SEEDS} seeds; a difference between so few trainings is no finding."
    elif (found.low > 0 or found.high < 0) and signs in ({1.0}, {-1.0}):
        winner, loser = (found.b, found.a) if found.points > 0 else (found.a, found.b)
        words = f"{winner} is better than {loser}, in every seed."
    elif found.low > -MARGIN and found.high < MARGIN:
        words = f"No difference that matters: one of more than {MARGIN:.0f} points is ruled out."
    elif found.low > 0 or found.high < 0:
        words = "Open: the interval leaves 0 out, but the seeds do not agree."
    else:
        words = "Open: the interval holds 0, and differences that would matter."
    return f"{words} {figures}{curve}"
