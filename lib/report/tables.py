"""Tables of the report, made from metrics and run folders only; what is missing stays visible as a hole."""

import json
from pathlib import Path

import pandas as pd

from lib.judge.verdict import ERROR_TYPES
from lib.runs import UpstreamError

HOLE = "not run"


def quality_table(metrics: dict) -> pd.DataFrame:
    """One row per set of an evaluation: n, accepted_at_1 with its interval, and the other headline figures."""
    rows = {}
    for name, found in metrics["datasets"].items():
        rows[name] = {
            "n": found["n"],
            "accepted_at_1": with_interval(found, "accepted_at_1"),
            "exec_success_rate": with_interval(found, "exec_success_rate"),
            "pass_ratio_mean": round(found["pass_ratio_mean"], 3),
            "zero_reward_rate": round(found["zero_reward_rate"], 3),
            "avg_gen_tokens": round(found["avg_gen_tokens"], 1),
            "truncation_rate": round(found["truncation_rate"], 3),
        }
    return pd.DataFrame(rows).T


def metrics_table(metrics: dict) -> pd.DataFrame:
    """Every figure of an evaluation: one row per metric, one column per set; rates in percent, with their intervals."""
    columns = {}
    for dataset, found in metrics["datasets"].items():
        names = [name for name in found if not name.endswith("_interval") and name != "by_difficulty"]
        columns[dataset] = {name: _figure(found, name) for name in names}
    return pd.DataFrame(columns)


def cost_panel(metrics: dict) -> pd.DataFrame:
    """What the answers of each set cost: one row per set, tokens and CPU seconds of the judge."""
    rows = {}
    for dataset, found in metrics["datasets"].items():
        times = metrics["times"]["datasets"][dataset]
        rows[dataset] = {
            "tokens": round(found["avg_gen_tokens"], 1),
            "tokens per solved": _rounded(found["cost_per_solved_tokens"], 0),
            "judge s": round(times["avg_judge_time"], 4),
            "judge s p50": round(times["judge_time_p50"], 4),
            "judge s p95": round(times["judge_time_p95"], 4),
            "judge s per solved": _rounded(times["cost_per_solved_judge_s"], 3),
        }
    return pd.DataFrame(rows).T


def time_panel(metrics: dict) -> pd.DataFrame:
    """Where the time of an evaluation went and how busy the judge was; the wall clock sees what overlaps once."""
    times = {name: value for name, value in metrics["times"].items() if name != "datasets"}
    return pd.DataFrame({"value": {name: "–" if v is None else round(v, 3) for name, v in times.items()}})


def error_shares(metrics: dict) -> pd.DataFrame:
    """Shares of the error types: one row per set, one column per type, each row adding up to 1."""
    return pd.DataFrame({name: _shares(found) for name, found in metrics["datasets"].items()}).T[list(ERROR_TYPES)]


def with_interval(found: dict, metric: str) -> str:
    """A rate with its 95 % interval, in percent: "12.1 [8.0, 18.0]"."""
    low, high = found[f"{metric}_interval"]
    return f"{found[metric]:.1%} [{low:.1%}, {high:.1%}]".replace("%", "")


class Stage:
    """A finished run as the report reads it; `curve` and `gate` are None for a run that trains nothing, or has no gate.

    A folder inside a run, to which another policy was measured for comparison, is one too; its `info` is empty.
    """

    def __init__(self, label: str, folder: Path):
        self.label, self.folder = label, folder
        info = folder / "run_info.json"
        self.info = json.loads(info.read_text()) if info.is_file() else {}
        metrics = folder / "metrics.json"  # an unfinished run may have its verdicts and not yet its metrics
        self.metrics = json.loads(metrics.read_text()) if metrics.is_file() else {}
        self.verdicts = pd.read_csv(folder / "verdicts.csv", keep_default_na=False, dtype={"problem_id": str})
        curve = folder / "curves.csv"
        self.curve = pd.read_csv(curve) if curve.is_file() else None
        gate = folder / "early_stop.json"
        self.gate = json.loads(gate.read_text()) if gate.is_file() else None


def read_stages(run, names: dict[str, str]) -> dict[str, Stage | None]:
    """label -> Stage for the runs `names` (label -> run), None and a printed reason for one that has not been made."""
    stages = {}
    for label, name in names.items():
        try:
            stages[label] = Stage(label, run.upstream(name))
        except UpstreamError as missing:
            print(f"{label}: {missing}")
            stages[label] = None
    return stages


def _shares(found: dict) -> dict[str, float]:
    judged = 1 - found["api_error_rate"]
    shares = {kind: found.get(f"{kind}_rate", 0.0) * judged for kind in ERROR_TYPES if kind != "api_error"}
    return shares | {"success": found["accepted_at_1"] * judged, "api_error": found["api_error_rate"]}


def _figure(found: dict, name: str) -> str:
    value, ends = found[name], found.get(f"{name}_interval", [None])
    percent = name.endswith("_rate") or name.startswith(("accepted", "pass_at", "detectable"))
    if value is None:
        return "nothing solved" if name.startswith("cost") else "–"
    if percent:
        return f"{value:.1%}".replace("%", "") if None in ends else with_interval(found, name)
    shown = f"{value:.4g}"
    return shown if None in ends else f"{shown} [{ends[0]:.4g}, {ends[1]:.4g}]"


def _rounded(value: float | None, digits: int) -> float | str:
    return "nothing solved" if value is None else round(value, digits)
