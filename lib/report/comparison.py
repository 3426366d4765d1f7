"""Compares two recipes, or two runs, on the same problems. Every claim of this project is decided here, by one rule.

1. The unit is a problem. Runs with the same seed are paired, and within a pair of runs the problems are.
2. The interval decides: 95 %, a percentile bootstrap of the paired difference over problems, and over seeds where
   there are several pairs. MARGIN is the region of practical equivalence (Kruschke 2018, "Rejecting or accepting
   parameter values in Bayesian estimation"):

       equal    the interval lies between -MARGIN and +MARGIN: larger differences are ruled out
       better   otherwise, the interval lies above 0 (worse: below 0)
       open     the interval contains 0, but also differences of MARGIN or more; or too few seeds were run

3. Neither p values nor single seeds may contradict the interval silently: where the permutation test's p value,
   adjusted for all planned comparisons (Holm 1979), or the sign of a seed disagrees with it, the verdict is `mixed`
   and the sentence says why.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from lib.report.outcomes import accepted
from lib.report.runs import SEEDS, Runs, Stage, pairs
from lib.runs.paths import artifacts
from lib.runs.run import UpstreamError
from lib.statistics import crossed_bootstrap, mcnemar_exact, mean_sd, sign_flip

MARGIN = 5.0  # points: a smaller difference does not matter here
ALPHA = 0.05
BASELINE = "03_baseline-s0"  # the run that measures the base model


@dataclass(frozen=True)
class Comparison:
    """`b` against its control `a` on a set. `points` (percent of the problems, b - a) with `low` and `high`, the 95 %
    interval; `accepted_a`, `accepted_b` in percent; `by_seed`: the points of each pair of runs, with the problems lost
    and won and McNemar's exact p where both sides have one program per problem; `p` of the permutation test (None where
    only intervals are on record), and `p_holm` after Holm's correction for `family` planned comparisons; `needs`: pairs
    of runs that a verdict requires."""

    a: str
    b: str
    dataset: str
    problems: int
    accepted_a: float
    accepted_b: float
    points: float
    low: float
    high: float
    p: float | None
    by_seed: dict[int, dict]
    p_holm: float | None = None
    family: int = 1
    needs: int = SEEDS

    @property
    def difference(self) -> str:
        """Points with their interval."""
        return f"{self.points:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"

    @property
    def p_value(self) -> float | None:
        """The p value that counts: the adjusted one where there is a family of comparisons."""
        return self.p if self.p_holm is None else self.p_holm

    @property
    def verdict(self) -> str:
        """equal, better, worse, open or mixed, by the rule above."""
        return self._decide()[0]

    @property
    def sentence(self) -> str:
        """The verdict in words with its figures; says what the interval covers."""
        seeds = len(self.by_seed)
        scope = f"problems and {seeds} seeds" if seeds > 1 else "problems alone, since each side has one run"
        where = f"on {self.problems} problems of {self.dataset}, 95 % interval over {scope}"
        short = _short(self.p_value)
        p = "" if self.p_value is None else f", p {short if short[0] == '<' else f'= {short}'}"
        family = f" (Holm, {self.family} comparisons)" if self.family > 1 else ""
        return f"{self._decide()[1]}: {self.difference.replace(' ', ' points ', 1)} {where}{p}{family}."

    def _decide(self) -> tuple[str, str]:
        a, b, n = self.a, self.b, len(self.by_seed)
        if n < self.needs:
            return "open", f"Open ({n} of {self.needs} seeds were run): {b} against {a}"
        if self.low > -MARGIN and self.high < MARGIN:
            return "equal", f"{b} equals {a} within the margin of {MARGIN:.0f} points"
        apart = self.low > 0 or self.high < 0
        contradictions = []
        if apart and any(np.sign(pair["points"]) != np.sign(self.points) for pair in self.by_seed.values()):
            contradictions.append("the interval excludes 0, but the seeds differ in sign")
        if self.p_value is not None and apart != (self.p_value < ALPHA):
            relation = "excludes 0, but p is at least" if apart else "contains 0, but p is below"
            contradictions.append(f"the interval {relation} {ALPHA}")
        if contradictions:
            return "mixed", f"Mixed ({'; '.join(contradictions)}): {b} against {a}"
        if apart:
            word = "better" if self.points > 0 else "worse"
            return word, f"{b} is {word} than {a}"
        reason = f"the 95 % interval contains 0, but also differences of {MARGIN:.0f} points or more"
        return "open", f"Open ({reason}): {b} against {a}"

    def table(self) -> pd.DataFrame:
        """What was accepted on each side, the difference, and the verdict; one value a row."""
        rows = {
            f"accepted, {self.b}": f"{self.accepted_b:.1f} %",
            f"accepted, {self.a} (control)": f"{self.accepted_a:.1f} %",
            "difference, points [95 %]": self.difference,
            "problems, pairs of runs": f"{self.problems}, {len(self.by_seed)}",
            "p, permutation over problems": _short(self.p_value),
            "verdict": self.verdict,
        }
        return pd.DataFrame({self.dataset: rows})


def against_control(run, control_run_name: str, dataset: str = "") -> Comparison:
    """The run under execution against the finished run `control_run_name` (or "base"), by the verdicts.csv of both.

    One run a side: the verdict is about these two policies, its interval over problems alone. A smoke run, which has
    measured fewer problems, is compared on those that both have. `dataset`: by default the main test set. Raises
    UpstreamError for a control that has not been run; ValueError when no problem of the set was measured in both.
    """
    if control_run_name == "base":  # the untrained policy: the same for every seed, and named by no parameter
        folder, control_run_name = artifacts() / run.params["preset"] / BASELINE, BASELINE
        if not (folder / "verdicts.csv").is_file():
            raise UpstreamError(f"no results of the base model: python -m lib.matrix {run.params['preset']} {BASELINE}")
    else:
        folder = run.upstream(control_run_name)
    stages = [Stage(control_run_name, folder), Stage(run.name, run.folder)]
    dataset = dataset or stages[1].main_set
    solved = accepted(stages, dataset, shared=True)
    return _compared(control_run_name, run.name, dataset, {run.params["seed"]: solved}, needs=1)


def compare(
    rows: dict[str, Runs], a: str, b: str, dataset: str, seed: int = 0, samples: int | None = None
) -> Comparison | None:
    """Row `b` against row `a` on the seeds that both have; None when there is none. `samples`: how many programs of a
    best of n count (all). Raises ValueError when the runs were not measured on the same problems."""
    paired = pairs(rows.get(a, {}), rows.get(b, {}))
    if not paired:
        return None
    solved = accepted([stage for pair in paired.values() for stage in pair], dataset, samples)
    by_pair = {number: solved[2 * n : 2 * n + 2] for n, number in enumerate(paired)}
    return _compared(a, b, dataset, by_pair, seed)


def _compared(a: str, b: str, dataset: str, solved: dict[int, np.ndarray], seed: int = 0, needs: int = SEEDS):
    """`solved`: seed -> chances to be accepted [2 (a, b), problems]."""
    before, after = (np.stack([pair[side] for pair in solved.values()]) for side in (0, 1))
    differences = after - before
    low, high = crossed_bootstrap(differences, seed)
    by_seed = {number: {"points": 100 * float(row.mean())} for number, row in zip(solved, differences, strict=True)}
    if np.isin([before, after], (0, 1)).all():
        for number, pair in solved.items():
            by_seed[number] |= dict(zip(("lost", "won", "McNemar p"), mcnemar_exact(*pair).values(), strict=True))
    accepted_a, accepted_b, points = (100 * float(side.mean()) for side in (before, after, differences))
    p, problems = sign_flip(differences, seed), differences.shape[1]
    return Comparison(
        a, b, dataset, problems, accepted_a, accepted_b, points, 100 * low, 100 * high, p, by_seed, needs=needs
    )


def adjusted(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """The comparisons with their p values adjusted for all of them, their family (Holm 1979)."""
    from statsmodels.stats.multitest import multipletests  # takes seconds to import, and few notebooks need it

    family = list(comparisons)
    if not family:
        return []
    holm = multipletests([comparison.p for comparison in family], method="holm")[1]
    n = len(family)
    return [replace(comparison, p_holm=float(p), family=n) for comparison, p in zip(family, holm, strict=True)]


def comparison_table(comparisons: list[Comparison]) -> pd.DataFrame:
    """One row per comparison: points with interval, sd between the seeds, adjusted p, verdict, and points by seed."""
    columns = ["row", "control", "set", "points [95 %]", "sd", "p (Holm)", "by seed", "verdict"]
    rows = []
    for comparison in comparisons:
        points = [pair["points"] for pair in comparison.by_seed.values()]
        sd = "–" if len(points) < 2 else f"{mean_sd(points)[1]:.1f}"
        by_seed = " · ".join(f"{value:+.1f}" for value in points)
        row = (comparison.b, comparison.a, comparison.dataset, comparison.difference, sd)
        rows.append((*row, _short(comparison.p_value), by_seed, comparison.verdict))
    return pd.DataFrame(rows, columns=columns)


def _short(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.2g}"
