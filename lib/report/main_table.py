"""The main table of the report: a row per recipe, every set with mean, sd over seeds, and interval, and what it cost.

The interval (95 %, percentile bootstrap) resamples problems and seeds; with one run it is over problems alone.
"""

import pandas as pd

from lib.evaluation.best_of_n import ORACLE
from lib.report.runs import MAIN_SET, RULE, Runs, accepted, by_name, finished, outcomes, repairs
from lib.report.tables import HOLE, Stage
from lib.statistics import crossed_bootstrap, mean_sd

TRAINING = ("verify", "sample", "train")  # the phases of a run that make its weights


def figures(arm: Runs, dataset: str, seed: int = 0) -> dict:
    """Of the runs of an arm, as shares: `accepted_at_1` (the mean) with `_interval`, `_by_seed`, and `_sd` where there
    are two runs or more; `exec_success_rate`; the number of `seeds` and of problems `n`; `oracle` where the rule of a
    best of n sees all tests, so that nobody could reach the figure."""
    runs = [*finished(arm).values()]
    solved = accepted(runs, dataset)
    mean, sd = mean_sd(list(solved.mean(1)))
    ran = [float(outcomes(stage, dataset)[["success", "wrong_answer"]].sum(axis=1).mean()) for stage in runs]
    found = {"accepted_at_1": mean, "accepted_at_1_interval": list(crossed_bootstrap(solved, seed))}
    found |= {"accepted_at_1_by_seed": list(solved.mean(1)), "exec_success_rate": mean_sd(ran)[0]}
    found |= {"seeds": len(runs), "n": solved.shape[1], "oracle": any(_oracle(one, dataset) for one in runs)}
    return found | ({} if sd is None else {"accepted_at_1_sd": sd})


def _oracle(stage: Stage, dataset: str) -> bool:
    rows = stage.metrics.get("curve", {}).get(dataset, [])
    by_rule = {rule: {row["n"]: row["accepted"] for row in rows if row["rule"] == rule} for rule in (RULE, ORACLE)}
    worth = by_rule[RULE]
    return bool(worth) and worth == by_rule[ORACLE] and worth[max(worth)] > worth[1]


def main_table(arms: dict[str, Runs], sets: list[str], seed: int = 0) -> tuple[pd.DataFrame, dict]:
    """The table as it is shown, in percent, and its `figures`: label -> set -> shares, without the arms that have no
    run. In the table these are rows of holes."""
    found = {name: {one: figures(arm, one, seed) for one in sets} for name, arm in arms.items() if finished(arm)}
    n = {one: next((row[one]["n"] for row in found.values()), 0) for one in sets}
    runs, rows = by_name(arms), {}
    for name, arm in arms.items():
        own = found.get(name, {})
        costs = pd.DataFrame([cost(stage, runs) for stage in finished(arm).values()]).mean()
        rows[name] = {"runs": f"{len(finished(arm))} of {len(arm)}"}
        rows[name] |= {f"{one} (n = {n[one]})": _shown(own[one]) if own else HOLE for one in sets}
        rows[name]["ran to the end"] = f"{100 * own[MAIN_SET]['exec_success_rate']:.1f}" if own else HOLE
        for column, digits in (("tokens", 0), ("judge ms", 1), ("training min", 1)):
            rows[name][column] = f"{costs[column]:.{digits}f}" if own else HOLE
    return pd.DataFrame(rows).T, found


def _shown(found: dict) -> str:
    mean, (low, high) = found["accepted_at_1"], found["accepted_at_1_interval"]
    sd = f" ± {100 * found['accepted_at_1_sd']:.1f}" if "accepted_at_1_sd" in found else ""
    return f"{100 * mean:.1f}{sd} [{100 * low:.1f}, {100 * high:.1f}]{'*' * found['oracle']}"


def cost(stage: Stage, runs: dict[str, Stage]) -> dict[str, float]:
    """Of a problem of the main set: `tokens` generated and `judge ms` of CPU (of a best of n what choosing takes, of a
    repair its public tests, of others the account); and `training min`, wall minutes of the phases that made its
    weights and those it began from. `runs`: name -> run, among which the start is looked for."""
    found = repairs(stage)
    best = [row for row in stage.metrics.get("curve", {}).get(MAIN_SET, []) if row["rule"] == RULE]
    if found:
        whole = next(iter(found.values()))
        tokens, judge = (whole["total"][name] / whole["n"] for name in ("tokens", "public_judge_s"))
    elif best:
        tokens, judge = best[-1]["tokens"], best[-1]["judge_s"]
    else:
        tokens = stage.metrics["datasets"][MAIN_SET]["avg_gen_tokens"]
        judge = stage.metrics["times"]["datasets"][MAIN_SET]["avg_judge_time"]
    seconds = sum(one.info["phases"].get(phase, 0.0) for one in lineage(stage, runs) for phase in TRAINING)
    return {"tokens": tokens, "judge ms": 1000 * judge, "training min": seconds / 60}


def lineage(stage: Stage, runs: dict[str, Stage]) -> list[Stage]:
    """A run and those whose weights it began from, or whose failures it learnt from, as far as they are in `runs`."""
    found = [stage]
    for one in found:
        starts = [one.info.get("parameters", {}).get(name) for name in ("policy", "negatives")]
        found += [runs[name] for name in starts if name in runs and runs[name] not in found]
    return found
