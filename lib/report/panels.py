"""Panels of the report: how programs end, what a problem costs, how the machinery held, how the trainings went.

Every figure is a mean over the runs of an arm, read from their folders; an arm without a run is a row of holes.
"""

from math import nan
from statistics import fmean

import pandas as pd

from lib.evidence.committed import Committed
from lib.evidence.stale import Staleness
from lib.report.comparison import compare
from lib.report.learning import WINDOW
from lib.report.main_table import cost, lineage
from lib.report.runs import MAIN_SET, Runs, by_name, finished, outcomes
from lib.report.tables import HOLE, Stage

GATE = "contests_valid"  # the set whose readings are drawn


def stale_runs(arms: dict[str, Runs]) -> dict[str, str]:
    """run -> why its notebook, modules, parameters or data are no longer those that made it; of the stale ones only."""
    runs = {(one.info["preset"], one.info["run"]): Committed(one.folder) for one in by_name(arms).values()}
    staleness = Staleness(runs)
    return {name: why for (_, name), run in runs.items() if (why := staleness.of(run))}


def state_table(arms: dict[str, Runs], stale: dict[str, str]) -> pd.DataFrame:
    """Which runs stand behind each row: the seeds made and missing, those that are stale, and the commits."""
    rows = {}
    for name, arm in arms.items():
        own = finished(arm)
        rows[name] = {
            "seeds": ", ".join(map(str, own)) or HOLE,
            "missing": ", ".join(str(seed) for seed in arm if seed not in own),
            "stale": ", ".join(str(seed) for seed, stage in own.items() if stage.info["run"] in stale),
            "commits": ", ".join(sorted({str(stage.info["commit"])[:10] for stage in own.values()})),
            "changes in no commit": "yes" if any(stage.info["dirty"] for stage in own.values()) else "",
        }
    return pd.DataFrame(rows).T


def error_shares(arms: dict[str, Runs]) -> pd.DataFrame:
    """Shares of the error types on the main set: a row per arm that has a run, each row adding up to 1."""
    shares = {
        name: pd.concat([outcomes(stage, MAIN_SET) for stage in finished(arm).values()]).mean()
        for name, arm in arms.items()
        if finished(arm)
    }
    return pd.DataFrame(shares).T


def _table(arms: dict[str, Runs], row) -> pd.DataFrame:
    """`row(stage)` of every run, averaged over the runs of an arm; a dash for what a run does not record."""
    shown = {}
    for name, arm in arms.items():
        figures = pd.DataFrame([row(stage) for stage in finished(arm).values()]).mean()
        shown[name] = {key: "–" if pd.isna(value) else f"{value:,.4g}" for key, value in figures.items()}
    table = pd.DataFrame(shown).T
    return table.mask([[not finished(arms[name])] * table.shape[1] for name in table.index], HOLE)


def cost_panel(arms: dict[str, Runs]) -> pd.DataFrame:
    """What the account of the main set cost: problems/s of the evaluation, milliseconds of CPU that the judge took for
    a program, timeouts in percent, tokens and judge milliseconds per solved problem."""

    def row(stage: Stage) -> dict:
        times = stage.metrics.get("times", {})
        judge, spent = times.get("datasets", {}).get(MAIN_SET, {}), cost(stage, {})
        solved = float(outcomes(stage, MAIN_SET).success.mean()) or None
        return {
            "problems/s": times.get("throughput"),
            "judge ms p50": 1000 * judge.get("judge_time_p50", nan),
            "judge ms p95": 1000 * judge.get("judge_time_p95", nan),
            "timeouts %": 100 * float(outcomes(stage, MAIN_SET).timeout.mean()),
            "tokens per solved": solved and spent["tokens"] / solved,
            "judge ms per solved": solved and spent["judge ms"] / solved,
        }

    return _table(arms, row)


def reliability_panel(arms: dict[str, Runs]) -> pd.DataFrame:
    """How the judge and the gate held: of evaluations the mean queue, retries and cache hits in percent, and failures
    of the judge; of trainings the judge's failures in percent of the samples, readings of the gate that found
    something, and how many trainings it ended. Sums and means are per run."""

    def row(stage: Stage) -> dict:
        times, curve, gate = stage.metrics.get("times", {}), stage.curve, stage.gate
        sampled = curve is not None and "api_error_rate" in curve
        return {
            "queue": times.get("queue_length"),
            "retries %": 100 * times.get("retry_rate", nan),
            "cache hits %": 100 * times.get("cache_hit_rate", nan),
            "judge failures": int((stage.verdicts.error_type == "api_error").sum()),
            "failures in training %": 100 * curve.api_error_rate.mean() if sampled else None,
            "regressions": gate["fail_count"] if gate else None,
            "ended by the gate": float(gate["stopped_at"] is not None) if gate else None,
        }

    return _table(arms, row)


def learning(arms: dict[str, Runs], window: int = WINDOW) -> pd.DataFrame:
    """What the trainings of the arms that sample logged: a row per `arm`, `seed`, `panel` and `step`, with its `value`.

    Reward and KL are running means over `window` steps; accepted and pass_ratio are the gate's readings, greedy.
    """
    rows = []
    for name, arm in arms.items():
        for seed, stage in finished(arm).items():
            if stage.curve is None or "reward" not in stage.curve:
                continue
            smooth = stage.curve.set_index("step")[["reward", "kl"]].rolling(window, min_periods=1).mean()
            logged = {"reward of the samples": smooth.reward, "KL to the start": smooth.kl}
            read = [(one["step"], one["sets"][GATE]) for one in stage.gate["eval_points"]] if stage.gate else []
            for panel, key in (("accepted, greedy", "accepted_at_1"), ("pass_ratio, greedy", "pass_ratio_mean")):
                logged[panel] = pd.Series({step: found[key] for step, found in read})
            rows += [(name, seed, panel, *one) for panel, values in logged.items() for one in values.items()]
    return pd.DataFrame(rows, columns=["arm", "seed", "panel", "step", "value"])


def budget_table(arms: dict[str, Runs], best: str, names: list[str], per_step: int, seed: int = 0) -> pd.DataFrame:
    """Trained arms against the best of n of the policy that they began from, on the main set: points for about as many
    tokens as the policy generates (one sample) and for all samples; the smallest n that does as well; tokens that the
    rollouts of its trainings took (`per_step` of them a step), and after how many problems they are paid back."""
    rows = {}
    samples = max(
        [row["n"] for one in finished(arms.get(best, {})).values() for row in one.metrics["curve"][MAIN_SET]] + [1]
    )
    sizes = [2**k for k in range(samples.bit_length())]
    for name in names:
        found = {n: compare(arms, best, name, MAIN_SET, seed, samples=n) for n in sizes}
        if None in found.values():
            rows[name] = {"same tokens": HOLE}
            continue
        worth = {n: one.points for n, one in found.items()}
        reached = next((n for n in sizes if worth[n] <= 0), None)
        stages, spent = (
            finished(arms[name]).values(),
            cost(next(iter(finished(arms[best]).values())), {})["tokens"] / samples,
        )
        rollouts = [per_step * sum(map(_sampled, lineage(one, by_name(arms)))) for one in stages]
        saved = reached and reached * spent - fmean(cost(one, {})["tokens"] for one in stages)
        rows[name] = {
            "same tokens": _points(found[1]),
            f"{samples} times the tokens": _points(found[samples]),
            "reached with n": reached or f"more than {samples}",
            "training tokens": f"{fmean(rollouts):,.0f}" if any(rollouts) else "–",
            "paid back after": f"{fmean(rollouts) / saved:,.0f} problems" if saved and any(rollouts) else "–",
        }
    return pd.DataFrame(rows).T.fillna("")


def _points(one) -> str:
    return f"{one.points:+.1f} [{one.low:+.1f}, {one.high:+.1f}]"


def _sampled(stage: Stage) -> float:
    """The mean number of tokens of a rollout, added up over the steps of a training; 0 where none are sampled."""
    sampled = stage.curve is not None and "completion_tokens" in stage.curve
    return float(stage.curve.completion_tokens.sum()) if sampled else 0.0
