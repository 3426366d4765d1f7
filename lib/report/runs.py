"""The runs that a report is about, a row per recipe and a run per seed; and the verdicts of the programs they submit.

A recipe is a run's name without its seed. Missing seeds appear as "not run": those that are named, and of a recipe that
trains or samples the seeds 0 to SEEDS - 1. The untrained policy decodes greedily and does not depend on the seed.
"""

import json
import math
import re
from functools import cache

import numpy as np
import pandas as pd

from lib.judge.verdict import ERROR_TYPES
from lib.report.tables import Stage
from lib.runs import UpstreamError

MAIN_SET = "contests_test"
SEEDS = 3  # trainings of a recipe that a conclusion wants
RULE = "public tests"  # how a best of n is chosen here, one of RULES of lib.evaluation.best_of_n
BASE, BEST_OF_N, REPAIR = "Base", "SFT, best of n", "GRPO dense → repair"
LABELS = {
    "03_baseline": BASE,
    "10_sft": "SFT",
    "12_best_of_n": BEST_OF_N,
    "20_dpo": "DPO",
    "20_dpo-flywheel": "DPO, flywheel",
    "30_grpo-dense": "GRPO dense",
    "30_grpo-sparse": "GRPO sparse",
    "30_grpo-dense-from-dpo": "DPO → GRPO dense",
    "30_grpo-dense-easy_to_hard": "GRPO dense, easy to hard",
    "40_repair": REPAIR,
}
_RUN = re.compile(r"(?P<recipe>\d\d_.+)-s\d+")

Runs = dict[int, Stage | None]  # seed -> run; None: not run


def read_runs(run, names: str) -> dict[str, Runs]:
    """The rows of a report, label -> Runs, from the names of runs separated by spaces; prints those that are missing.

    `run`: the run of the report, whose parameters name the others.
    """
    rows, missing = {}, []
    for name in names.split():
        seed = name.rpartition("-s")[2]
        runs = rows.setdefault(label(name), dict.fromkeys(() if name.startswith("03_") else range(SEEDS)))
        try:
            runs[int(seed)] = Stage(name, run.upstream(name))
        except UpstreamError:
            runs[int(seed)] = None
            missing.append(name)
    if missing:
        print(f"not run: {', '.join(missing)}; `make matrix` makes them")
    return {name: dict(sorted(runs.items())) for name, runs in rows.items()}


def label(name: str) -> str:
    """The label of a run's row in tables and figures: from LABELS, else the run's name without its seed.

    Raises ValueError for a text that is not a run's name.
    """
    match = _RUN.fullmatch(name)
    if not match:
        raise ValueError(f"{name!r} is not a run's name: <notebook>[-<variant>]-s<seed> is expected")
    return LABELS.get(match["recipe"], match["recipe"])


def finished(runs: Runs) -> dict[int, Stage]:
    """The runs of a row that are there."""
    return {seed: stage for seed, stage in runs.items() if stage}


def row_with(rows: dict[str, Runs], file: str, default: str) -> str:
    """The first row of which a run has written `file`; `default` when none has."""
    labels = (name for name, runs in rows.items() for one in finished(runs).values() if (one.folder / file).is_file())
    return next(labels, default)


def by_name(rows: dict[str, Runs]) -> dict[str, Stage]:
    """The runs of all rows by the name that a parameter `policy` gives them; the untrained policy is also `base`."""
    runs = {stage.info["run"]: stage for row in rows.values() for stage in finished(row).values()}
    untrained = [stage for name, stage in runs.items() if name.startswith("03_")]
    return runs | ({"base": untrained[0]} if untrained else {})


def start_of(stage: Stage, runs: dict[str, Stage]) -> Stage | None:
    """The run whose policy a training began from, or a best of n samples; None when it is not among `runs`."""
    start = runs.get(stage.info.get("parameters", {}).get("policy"))
    return None if start is stage else start


def pairs(a: Runs, b: Runs) -> dict[int, tuple[Stage, Stage]]:
    """seed -> the runs of both rows with this seed; the untrained policy is paired with every seed."""
    [*only] = finished(a).values()
    fixed = only[0] if len(only) == 1 and only[0].info["run"].startswith("03_") else None
    paired = {seed: (finished(a).get(seed, fixed), stage) for seed, stage in finished(b).items()}
    return {seed: (first, second) for seed, (first, second) in paired.items() if first}


@cache
def outcomes(stage: Stage, dataset: str, samples: int | None = None) -> pd.DataFrame:
    """How the program that a run hands in for a problem ends: a row per problem, a column per error type, the chances.

    Of a greedy policy they are 0 or 1. Of a best of n they are exact means over all ways to draw `samples` (all) of the
    programs that there are, the one with most public tests passed handed in; see lib.evaluation.best_of_n. Of a repair it is the
    program of the last round, where there are dialogues. Problems that the judge failed on are left out. Raises
    ValueError for a set that the run has not measured.
    """
    rows = stage.verdicts[stage.verdicts.dataset == dataset]
    if rows.empty:
        raise ValueError(f"{stage.label} has not been measured on {dataset}")
    dialogues = stage.folder / "repair.jsonl"
    if dialogues.is_file():
        rounds = [json.loads(line) for line in dialogues.read_text().splitlines()]
        last = {one["problem_id"]: one["error_type"] for one in rounds if one["dataset"] == dataset}
        rows = rows.assign(error_type=[last.get(*one) for one in zip(rows.problem_id, rows.error_type, strict=True)])
    kinds = pd.get_dummies(rows.error_type).reindex(columns=list(ERROR_TYPES), fill_value=False)
    if "public_passed" in rows:
        weights = rows.groupby("problem_id").public_passed.transform(_handed_in, samples)
        kinds = kinds.mul(weights, axis=0).groupby(rows.problem_id, sort=False).sum()
    else:
        kinds = kinds.set_axis(rows.problem_id)
    return kinds[kinds.api_error == 0].astype(float)


def _handed_in(passed: pd.Series, samples: int | None) -> np.ndarray:
    """The chance of each sample of a problem to be handed in: of those drawn, one of which most public tests passed."""
    scores = passed.to_numpy()
    up_to, below = (scores <= scores[:, None]).sum(1), (scores < scores[:, None]).sum(1)
    ways = np.array([math.comb(k, samples or len(scores)) for k in range(len(scores) + 1)], dtype=float)
    return (ways[up_to] - ways[below]) / ways[-1] / (up_to - below)


def repairs(stage: Stage) -> dict | None:
    """What a run of 40_repair has found of the main set, setting -> figures (`lib.evaluation.repair_metrics.summary`); the setting
    with all its rounds comes first. None for other runs."""
    file = stage.folder / "repair.json"
    if not file.is_file():
        return None
    found = json.loads(file.read_text())[MAIN_SET]
    whole = max((name for name in found if name.endswith("rounds")), key=lambda name: found[name]["rounds"])
    return {whole: found[whole]} | found


def accepted(stages: list[Stage], dataset: str, samples: int | None = None, *, shared: bool = False) -> np.ndarray:
    """The chances to be accepted [runs, problems], on the problems that were judged in every run.

    `shared`: runs that were measured on different numbers of problems are compared on those that all have. Raises
    ValueError when the runs were not measured on the same problems.
    """
    versions = {str(stage.metrics["manifest"].get(dataset)) for stage in stages if "manifest" in stage.metrics}
    ids = [list(stage.verdicts[stage.verdicts.dataset == dataset].problem_id.drop_duplicates()) for stage in stages]
    same = len(versions) <= 1 and all(one == ids[0] for one in ids)
    fewer = shared and len({len(one) for one in ids}) > 1 and set.intersection(*map(set, ids))
    if not (same or fewer):
        names = ", ".join(stage.label for stage in stages)
        raise ValueError(f"not measured on the same problems of {dataset}: {names}")
    table = pd.DataFrame({n: outcomes(stage, dataset, samples).success for n, stage in enumerate(stages)})
    return table.dropna().T.to_numpy()
