"""What the rows of a report cost: an answer, a training, the judge; and how reliably the judge and early stopping ran.

Values are means over the runs of a row; a row without a run shows "not run".
"""

from collections.abc import Callable
from math import nan
from statistics import fmean

import pandas as pd

from lib.report.comparison import compare
from lib.report.learning import with_costs
from lib.report.outcomes import outcomes, repair_settings
from lib.report.runs import NOT_RUN, RULE, Runs, Stage, by_name, finished, lineage

_TRAINING = ("verify", "sample", "train")  # the phases of a run that make its weights


def cost(stage: Stage) -> dict[str, float]:
    """Per problem of the main set: `tokens` generated and `judge ms` of CPU: of a best of n what choosing takes, of a
    repair its public tests, of other runs the final evaluation."""
    settings = repair_settings(stage)
    best = [row for row in stage.metrics.get("curve", {}).get(stage.main_set, []) if row["rule"] == RULE]
    if settings and not stage.single_round:
        whole = next(iter(settings.values()))
        tokens, judge = (whole["total"][name] / whole["n"] for name in ("tokens", "public_judge_s"))
    elif best:
        tokens, judge = best[-1]["tokens"], best[-1]["judge_s"]
    else:
        tokens = stage.metrics["datasets"][stage.main_set]["avg_gen_tokens"]
        judge = stage.metrics["times"]["datasets"][stage.main_set]["avg_judge_time"]
    return {"tokens": tokens, "judge ms": 1000 * judge}


def training(stage: Stage, per_step: int) -> dict[str, float | None]:
    """A run's training: `tokens` that the policy generated for it (None where it samples none), wall `minutes` of the
    phases that make its weights. `per_step`: programs sampled in a step, for runs that did not record their tokens."""
    tokens = stage.metrics.get("training_cost", {}).get("tokens")
    if tokens is None and stage.curve is not None and "completion_tokens" in stage.curve:
        tokens = float(with_costs(stage.curve, per_step).tokens.iloc[-1])
    return {"tokens": tokens, "minutes": sum(stage.info["phases"].get(phase, 0.0) for phase in _TRAINING) / 60}


def training_table(rows: dict[str, Runs], per_step: int) -> pd.DataFrame:
    """Rollout tokens and wall minutes of each row's training, and in all with the trainings that it started from."""
    runs = by_name(rows)

    def line(stage: Stage) -> dict:
        own = training(stage, per_step)
        trainings = pd.DataFrame([training(one, per_step) for one in lineage(stage, runs)], dtype=float).sum()
        in_all = {"rollout tokens in all": trainings.tokens or None, "minutes in all": trainings.minutes}
        return {"rollout tokens": own["tokens"], "minutes": own["minutes"], **in_all}

    return _table(rows, line)


def cost_table(rows: dict[str, Runs]) -> pd.DataFrame:
    """What the main set cost: tokens and judge CPU milliseconds per problem and per solved problem, the judge's median
    and 95th percentile, timeouts in percent, problems per second of the evaluation."""

    def line(stage: Stage) -> dict:
        times = stage.metrics.get("times", {})
        judge, spent = times.get("datasets", {}).get(stage.main_set, {}), cost(stage)
        solved = float(outcomes(stage, stage.main_set).success.mean()) or None
        return {
            "tokens": spent["tokens"],
            "tokens per solved": solved and spent["tokens"] / solved,
            "judge ms": spent["judge ms"],
            "judge ms per solved": solved and spent["judge ms"] / solved,
            "judge ms p50": 1000 * judge.get("judge_time_p50", nan),
            "judge ms p95": 1000 * judge.get("judge_time_p95", nan),
            "timeouts %": 100 * float(outcomes(stage, stage.main_set).timeout.mean()),
            "problems/s": times.get("throughput"),
        }

    return _table(rows, line)


def reliability_table(rows: dict[str, Runs]) -> pd.DataFrame:
    """Of evaluations the judge's mean queue, retries and cache hits in percent, and its failures; of trainings its
    failures in percent of the samples, evaluations that violated a limit of early stopping, and trainings stopped."""

    def line(stage: Stage) -> dict:
        times, curve, early_stop = stage.metrics.get("times", {}), stage.curve, stage.early_stop
        sampled = curve is not None and "api_error_rate" in curve
        return {
            "queue": times.get("queue_length"),
            "retries %": 100 * times.get("retry_rate", nan),
            "cache hits %": 100 * times.get("cache_hit_rate", nan),
            "judge failures": int((stage.verdicts.error_type == "api_error").sum()),
            "failures in training %": 100 * curve.api_error_rate.mean() if sampled else None,
            "violations": early_stop["fail_count"] if early_stop else None,
            "stopped early": float(early_stop["stopped_at"] is not None) if early_stop else None,
        }

    return _table(rows, line)


def budget_table(rows: dict[str, Runs], best: str, names: list[str], per_step: int, seed: int = 0) -> pd.DataFrame:
    """Trained rows against the best of n of the policy that they began from, on the main set: points for about as many
    tokens as the policy generates (one sample) and for all samples; the smallest n that does as well; the rollout
    tokens of its trainings, and after how many problems they are paid back."""
    lines, samples_of = {}, finished(rows.get(best, {})).values()
    main_set = next((stage.main_set for stage in samples_of), "")
    samples = max([row["n"] for stage in samples_of for row in stage.metrics["curve"][stage.main_set]] + [1])
    sizes = [2**k for k in range(samples.bit_length())]
    for name in names:
        found = [(n, compare(rows, best, name, main_set, seed, samples=n)) for n in sizes]
        compared = {n: pair for n, pair in found if pair}
        if len(compared) < len(sizes):
            lines[name] = {"same tokens": NOT_RUN}
            continue
        reached = next((n for n in sizes if compared[n].points <= 0), None)
        stages = finished(rows[name]).values()
        per_sample = cost(next(iter(samples_of)))["tokens"] / samples
        lines_of = [lineage(stage, by_name(rows)) for stage in stages]
        rollouts = fmean(sum(training(one, per_step)["tokens"] or 0.0 for one in line) for line in lines_of)
        saved = reached and reached * per_sample - fmean(cost(stage)["tokens"] for stage in stages)
        lines[name] = {
            "same tokens": compared[1].difference,
            f"{samples} times the tokens": compared[samples].difference,
            "reached with n": reached or f"more than {samples}",
            "training tokens": f"{rollouts:,.0f}" if rollouts else "–",
            "paid back after": f"{rollouts / saved:,.0f} problems" if saved and rollouts else "–",
        }
    return pd.DataFrame(lines).T.fillna("")


def _table(rows: dict[str, Runs], line: Callable[[Stage], dict]) -> pd.DataFrame:
    """`line(stage)` of every run, averaged over the runs of a row; a dash for what a run does not record."""
    lines = {}
    for name, runs in rows.items():
        means = pd.DataFrame([line(stage) for stage in finished(runs).values()], dtype=float).mean()
        lines[name] = {key: _text(str(key), value) for key, value in means.items()}
    table = pd.DataFrame(lines).T.astype(object)
    table.loc[[name for name in table.index if not finished(rows[name])]] = NOT_RUN
    return table


def _text(column: str, value: float) -> str:
    if pd.isna(value):
        return "–"
    form = ".1f" if "%" in column or "minutes" in column else ",.0f" if value >= 1000 else ".4g"
    return format(value, form)
