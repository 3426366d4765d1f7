"""The main table of the report: a line per row, every set with mean, sd over seeds, and interval.

The interval (95 %, percentile bootstrap) resamples problems and seeds; with one run it is over problems alone.
"""

import pandas as pd

from lib.evaluation.best_of_n import ORACLE
from lib.report.outcomes import accepted, outcomes
from lib.report.runs import NOT_RUN, RULE, Runs, Stage, finished
from lib.statistics import crossed_bootstrap, mean_sd


def stats(runs: Runs, dataset: str, seed: int = 0) -> dict:
    """Shares over the runs of a row: `accepted_at_1` (the mean) with `_interval`, `_by_seed`, and `_sd` where there are
    two runs or more; `exec_success_rate`; the number of `seeds` and of problems `n`; `oracle` where the rule of a best
    of n sees all tests, so that no user could reach the value."""
    stages = [*finished(runs).values()]
    solved = accepted(stages, dataset)
    mean, sd = mean_sd(list(solved.mean(1)))
    ran = [float(outcomes(stage, dataset)[["success", "wrong_answer"]].sum(axis=1).mean()) for stage in stages]
    values = {"accepted_at_1": mean, "accepted_at_1_interval": list(crossed_bootstrap(solved, seed))}
    values |= {"accepted_at_1_by_seed": list(solved.mean(1)), "exec_success_rate": mean_sd(ran)[0]}
    values |= {"seeds": len(stages), "n": solved.shape[1], "oracle": any(_oracle(stage, dataset) for stage in stages)}
    return values | ({} if sd is None else {"accepted_at_1_sd": sd})


def _oracle(stage: Stage, dataset: str) -> bool:
    rows = stage.metrics.get("curve", {}).get(dataset, [])
    by_rule = {rule: {row["n"]: row["accepted"] for row in rows if row["rule"] == rule} for rule in (RULE, ORACLE)}
    chosen = by_rule[RULE]
    return bool(chosen) and chosen == by_rule[ORACLE] and chosen[max(chosen)] > chosen[1]


def main_table(rows: dict[str, Runs], sets: list[str], seed: int = 0) -> tuple[pd.DataFrame, dict]:
    """The table of `sets`, the main test set first, as shown, in percent, and its `stats`: label -> set -> shares,
    without the rows that have no run. In the table these show as "not run"."""
    values = {name: {one: stats(runs, one, seed) for one in sets} for name, runs in rows.items() if finished(runs)}
    n = {one: next((row[one]["n"] for row in values.values()), 0) for one in sets}
    lines = {}
    for name, runs in rows.items():
        lines[name] = {"runs": f"{len(finished(runs))} of {len(runs)}"}
        lines[name] |= {f"{one} (n = {n[one]})": _shown(values.get(name, {}).get(one)) for one in sets}
        ran = f"{100 * values[name][sets[0]]['exec_success_rate']:.1f}" if name in values else NOT_RUN
        lines[name]["ran to the end"] = ran
    return pd.DataFrame(lines).T, values


def _shown(values: dict | None) -> str:
    if values is None:
        return NOT_RUN
    mean, (low, high) = values["accepted_at_1"], values["accepted_at_1_interval"]
    sd = f" ± {100 * values['accepted_at_1_sd']:.1f}" if "accepted_at_1_sd" in values else ""
    return f"{100 * mean:.1f}{sd} [{100 * low:.1f}, {100 * high:.1f}]{'*' * values['oracle']}"
