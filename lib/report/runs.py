"""Arms: the runs that a report is about, a row per recipe and a run per seed; and what each hands in for a problem.

A recipe is a run's name without its seed. A run that is named and has not been made is a hole; so is, of a recipe that
trains or samples, each of the seeds 0 to SEEDS - 1 that nobody names. The untrained policy decodes greedily: whatever
the seed, it is one and the same.
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

Arm = dict[int, Stage | None]  # seed -> run; None: it has not been made


def read_arms(run, names: str) -> dict[str, Arm]:
    """The runs of a report, from their names separated by spaces: label -> Arm; prints the names of those that have not
    been made. `run`: the report's own."""
    arms, missing = {}, []
    for name in names.split():
        row, seed = row_of(name), name.rpartition("-s")[2]
        arm = arms.setdefault(row, dict.fromkeys(() if name.startswith("03_") else range(SEEDS)))
        try:
            arm[int(seed)] = Stage(name, run.upstream(name))
        except UpstreamError:
            arm[int(seed)] = None
            missing.append(name)
    if missing:
        print(f"not run: {', '.join(missing)}; `make matrix` makes them")
    return {name: dict(sorted(arm.items())) for name, arm in arms.items()}


def row_of(name: str) -> str:
    """What the row of a run is called in tables and figures; a recipe without a name of its own keeps that of its runs.

    Raises ValueError for what is no run's name.
    """
    found = _RUN.fullmatch(name)
    if not found:
        raise ValueError(f"{name!r} is no run: <notebook>[-<variant>]-s<seed> is expected")
    return LABELS.get(found["recipe"], found["recipe"])


def made(arm: Arm) -> dict[int, Stage]:
    """The runs of an arm that have been made."""
    return {seed: stage for seed, stage in arm.items() if stage}


def row_with(arms: dict[str, Arm], file: str, default: str) -> str:
    """The first row of which a run has written `file`; `default` when none has."""
    found = (name for name, arm in arms.items() for stage in made(arm).values() if (stage.folder / file).is_file())
    return next(found, default)


def by_name(arms: dict[str, Arm]) -> dict[str, Stage]:
    """The runs of all arms by what a parameter `policy` calls them; the untrained policy is also `base`."""
    runs = {stage.info["run"]: stage for arm in arms.values() for stage in made(arm).values()}
    untrained = [stage for name, stage in runs.items() if name.startswith("03_")]
    return runs | ({"base": untrained[0]} if untrained else {})


def start_of(stage: Stage, runs: dict[str, Stage]) -> Stage | None:
    """The run whose policy a training began from, or a best of n samples; None when it is not among `runs`."""
    found = runs.get(stage.info.get("parameters", {}).get("policy"))
    return None if found is stage else found


def pairs(a: Arm, b: Arm) -> dict[int, tuple[Stage, Stage]]:
    """seed -> the runs of both arms with this seed; the untrained policy is a pair to every seed."""
    [*only] = made(a).values()
    fixed = only[0] if len(only) == 1 and only[0].info["run"].startswith("03_") else None
    found = {seed: (made(a).get(seed, fixed), stage) for seed, stage in made(b).items()}
    return {seed: pair for seed, pair in found.items() if pair[0]}


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


def accepted(stages: list[Stage], dataset: str, samples: int | None = None) -> np.ndarray:
    """The chances to be accepted [runs, problems], on the problems that the judge judged in every run.

    Raises ValueError when the runs were not measured on the same problems.
    """
    versions = {str(stage.metrics["manifest"][dataset]) for stage in stages if "manifest" in stage.metrics}
    listed = [stage.verdicts[stage.verdicts.dataset == dataset].problem_id.drop_duplicates() for stage in stages]
    if len(versions) > 1 or any(list(one) != list(listed[0]) for one in listed):
        names = ", ".join(stage.label for stage in stages)
        raise ValueError(f"not measured on the same problems of {dataset}: {names}")
    table = pd.DataFrame({n: outcomes(stage, dataset, samples).success for n, stage in enumerate(stages)})
    return table.dropna().T.to_numpy()
