"""Tables of one evaluation, for the notebooks that measure a policy; from its metrics.json alone."""

import pandas as pd

from lib.judge.verdict import ERROR_TYPES


def metrics_table(metrics: dict) -> pd.DataFrame:
    """Every metric of an evaluation: a row per metric, a column per set; rates in percent, with their intervals."""
    hidden = ("by_difficulty", "api_errors")
    columns = {
        dataset: {name: shown(stats, name) for name in stats if not name.endswith("_interval") and name not in hidden}
        for dataset, stats in metrics["datasets"].items()
    }
    return pd.DataFrame(columns)


def quality_table(metrics: dict) -> pd.DataFrame:
    """A row per set: n, accepted_at_1 and exec_success_rate with intervals, and other metrics; rates in percent."""
    wide = ("n", "accepted_at_1", "exec_success_rate")
    names = (*wide, "pass_ratio_mean", "zero_reward_rate", "avg_gen_tokens", "truncation_rate")
    sets = metrics["datasets"].items()
    return pd.DataFrame(
        {dataset: {name: shown(stats, name, name in wide) for name in names} for dataset, stats in sets}
    ).T


def cost_table(metrics: dict) -> pd.DataFrame:
    """What the answers of each set cost: a row per set, tokens and CPU seconds of the judge."""
    columns = {"tokens": "avg_gen_tokens", "tokens per solved": "cost_per_solved_tokens"}
    columns |= {"judge s": "avg_judge_time", "p50": "judge_time_p50", "p95": "judge_time_p95"}
    columns["judge s per solved"] = "cost_per_solved_judge_s"
    spent = {name: stats | metrics["times"]["datasets"][name] for name, stats in metrics["datasets"].items()}
    rows = {
        dataset: {name: shown(stats, key, False) for name, key in columns.items()} for dataset, stats in spent.items()
    }
    return pd.DataFrame(rows).T


def time_table(metrics: dict) -> pd.DataFrame:
    """Where the time of an evaluation went and how busy the judge was; overlapping work counts once in wall time."""
    times = {name: value for name, value in metrics["times"].items() if name != "datasets"}
    return pd.DataFrame({"value": {name: "–" if v is None else f"{v:.4g}" for name, v in times.items()}})


def error_shares(metrics: dict) -> pd.DataFrame:
    """Shares of the error types: a row per set, a column per type, each row adding up to 1."""
    rows = {}
    for name, stats in metrics["datasets"].items():
        judged = 1 - stats["api_error_rate"]
        rows[name] = {kind: stats.get(f"{kind}_rate", 0.0) * judged for kind in ERROR_TYPES if kind != "api_error"}
        rows[name] |= {"success": stats["accepted_at_1"] * judged, "api_error": stats["api_error_rate"]}
    return pd.DataFrame(rows).T[list(ERROR_TYPES)]


def shown(stats: dict, name: str, interval: bool = True) -> str:
    """A metric as text: rates in percent, with the 95 % interval where there is one: "12.1 [8.0, 18.0]"."""
    if stats[name] is None:
        return "nothing solved" if name.startswith("cost") else "–"
    rate = name.endswith("_rate") or name.startswith(("accepted", "pass_at", "detectable"))
    values = [stats[name], *(stats.get(f"{name}_interval", []) if interval else [])]
    value, *ends = (f"{100 * x:.1f}" if rate else f"{x:.4g}" for x in values)
    return f"{value} [{', '.join(ends)}]" if ends else value
