"""How the program that a run submits for a problem ends, whatever the run is: greedy, best of n, or repair."""

import json
import math
from functools import cache

import numpy as np
import pandas as pd

from lib.judge.verdict import ERROR_TYPES
from lib.report.runs import Runs, Stage, finished


@cache
def outcomes(stage: Stage, dataset: str, samples: int | None = None) -> pd.DataFrame:
    """Probabilities of the error types: a row per problem, a column per type; 0 or 1 for a greedy policy.

    Of a best of n they are exact means over all ways to draw `samples` (all) of its programs, submitting the one with
    most public tests passed; see lib.evaluation.best_of_n. Of a repair, the program of the last round counts where
    there are dialogues. Problems on which the judge failed are left out. Raises ValueError for a set that the run was
    not measured on.
    """
    rows = stage.verdicts[stage.verdicts.dataset == dataset]
    if rows.empty:
        raise ValueError(f"{stage.label} has not been measured on {dataset}")
    dialogues = stage.folder / "repair.jsonl"
    if dialogues.is_file() and not stage.single_round:
        rounds = [json.loads(line) for line in dialogues.read_text().splitlines()]
        last = {turn["problem_id"]: turn["error_type"] for turn in rounds if turn["dataset"] == dataset}
        ended = [last.get(*pair) for pair in zip(rows.problem_id, rows.error_type, strict=True)]
        rows = rows.assign(error_type=ended)
    kinds = pd.get_dummies(rows.error_type).reindex(columns=list(ERROR_TYPES), fill_value=False)
    if "public_passed" in rows:
        weights = rows.groupby("problem_id").public_passed.transform(_p_submitted, samples)
        kinds = kinds.mul(weights, axis=0).groupby(rows.problem_id, sort=False).sum()
    else:
        kinds = kinds.set_axis(rows.problem_id)
    return kinds[kinds.api_error == 0].astype(float)


def _p_submitted(passed: pd.Series, samples: int | None) -> np.ndarray:
    """The probability that each sample of a problem is submitted: one of those drawn that passed most public tests."""
    scores = passed.to_numpy()
    up_to, below = (scores <= scores[:, None]).sum(1), (scores < scores[:, None]).sum(1)
    ways = np.array([math.comb(k, samples or len(scores)) for k in range(len(scores) + 1)], dtype=float)
    return (ways[up_to] - ways[below]) / ways[-1] / (up_to - below)


def accepted(stages: list[Stage], dataset: str, samples: int | None = None, *, shared: bool = False) -> np.ndarray:
    """Probabilities to be accepted [runs, problems], on the problems that were judged in every run.

    `shared`: runs that were measured on different numbers of problems are compared on those that all have. Raises
    ValueError when the runs were not measured on the same problems.
    """
    versions = {str(stage.metrics["manifest"].get(dataset)) for stage in stages if "manifest" in stage.metrics}
    ids = [list(stage.verdicts[stage.verdicts.dataset == dataset].problem_id.drop_duplicates()) for stage in stages]
    same = len(versions) <= 1 and all(listed == ids[0] for listed in ids)
    fewer = shared and len({len(listed) for listed in ids}) > 1 and set.intersection(*map(set, ids))
    if not (same or fewer):
        names = ", ".join(stage.label for stage in stages)
        raise ValueError(f"not measured on the same problems of {dataset}: {names}")
    table = pd.DataFrame({n: outcomes(stage, dataset, samples).success for n, stage in enumerate(stages)})
    return table.dropna().T.to_numpy()


def repair_settings(stage: Stage) -> dict | None:
    """What a run of 40_repair measured on the main set, setting -> `lib.evaluation.repair_metrics.summary`; the setting
    with all its rounds comes first. None for other runs."""
    file = stage.folder / "repair.json"
    if not file.is_file():
        return None
    settings = json.loads(file.read_text())[stage.main_set]
    whole = max((name for name in settings if name.endswith("rounds")), key=lambda name: settings[name]["rounds"])
    return {whole: settings[whole]} | settings


def error_shares(rows: dict[str, Runs]) -> pd.DataFrame:
    """Shares of the error types on the main set: a line per row that has a run, each line adding up to 1."""
    shares = {
        name: pd.concat([outcomes(stage, stage.main_set) for stage in finished(runs).values()]).mean()
        for name, runs in rows.items()
        if finished(runs)
    }
    return pd.DataFrame(shares).T
