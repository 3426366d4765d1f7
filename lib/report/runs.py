"""The runs that a report is about: a row per recipe, a run per seed.

A recipe is a run's name without its seed. Missing seeds appear as "not run": those that are named, and of a recipe that
trains or samples the seeds 0 to SEEDS - 1. The untrained policy decodes greedily and does not depend on the seed.
"""

import json
from pathlib import Path

import pandas as pd

from lib.runs import UpstreamError
from lib.runs.fingerprint import notebook_of

SEEDS = 3  # trainings of a recipe that a verdict requires
NOT_RUN, NOT_RECORDED = "not run", "not recorded"
RULE = "public tests"  # chooses the program of a best of n here, one of RULES of lib.evaluation.best_of_n
BASE, BEST_OF_N, REPAIR = "Base", "SFT, best of n", "GRPO dense → repair"
CONTINUED = "GRPO dense, continued"  # the control of repair: as many more tokens and minutes of training
FIRST_ROUND = f"{REPAIR}, round 1"
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
    "30_grpo-dense-continued": CONTINUED,
    "40_repair": REPAIR,
}


class Stage:
    """A run as the report reads it. `curve` and `early_stop` are None where the run has none; `metrics` is empty before
    the run has saved them, `info` for a folder inside a run to which another policy was measured. `main_set`: the name
    of the main test set; `single_round`: of a repair, the program of the first round counts and not that of the last.
    """

    def __init__(self, label: str, folder: Path, single_round: bool = False):
        self.label, self.folder, self.single_round = label, folder, single_round
        self.info, self.metrics = self._json("run_info.json") or {}, self._json("metrics.json") or {}
        self.verdicts = pd.read_csv(folder / "verdicts.csv", keep_default_na=False, dtype={"problem_id": str})
        self.main_set = next((name for name in self.verdicts.dataset.unique() if name.endswith("_test")), "")
        curve = folder / "curves.csv"
        self.curve = pd.read_csv(curve) if curve.is_file() else None
        self.early_stop = self._json("early_stop.json")

    def _json(self, name: str) -> dict | None:
        file = self.folder / name
        return json.loads(file.read_text()) if file.is_file() else None


Runs = dict[int, Stage | None]  # seed -> run; None: not run


def read_stages(run, names: dict[str, str]) -> dict[str, Stage | None]:
    """label -> Stage for the runs `names` (label -> run); None, and the reason printed, for a missing run."""
    stages: dict[str, Stage | None] = {}
    for name, upstream in names.items():
        try:
            stages[name] = Stage(name, run.upstream(upstream))
        except UpstreamError as missing:
            print(f"{name}: {missing}")
            stages[name] = None
    return stages


def read_runs(run, names: str) -> dict[str, Runs]:
    """The rows of a report, label -> Runs, from the names of runs separated by spaces; prints those that are missing.

    `run`: the run of the report, whose parameters name the others.
    """
    rows: dict[str, Runs] = {}
    missing = []
    for name in names.split():
        seed = int(name.rpartition("-s")[2])
        runs = rows.setdefault(label(name), dict.fromkeys(() if name.startswith("03_") else range(SEEDS)))
        try:
            runs[seed] = Stage(name, run.upstream(name))
        except UpstreamError:
            runs[seed] = None
            missing.append(name)
    if missing:
        print(f"not run: {', '.join(missing)}; `make matrix` runs them")
    return {name: dict(sorted(runs.items())) for name, runs in rows.items()}


def label(name: str) -> str:
    """The label of a run's row in tables and figures: from LABELS, else the run's name without its seed.

    Raises ValueError for a text that is not a run's name.
    """
    notebook_of(name)
    recipe = name.rpartition("-s")[0]
    return LABELS.get(recipe, recipe)


def finished(runs: Runs) -> dict[int, Stage]:
    """The runs of a row that are there."""
    return {seed: stage for seed, stage in runs.items() if stage}


def row_with(rows: dict[str, Runs], file: str, default: str) -> str:
    """The first row of which a run has written `file`; `default` when none has."""
    labels = (name for name, runs in rows.items() for one in finished(runs).values() if (one.folder / file).is_file())
    return next(labels, default)


def first_rounds(runs: Runs) -> Runs:
    """The runs of a repair, each with the programs of its first round."""
    return {seed: stage and Stage(stage.label, stage.folder, single_round=True) for seed, stage in runs.items()}


def by_name(rows: dict[str, Runs]) -> dict[str, Stage]:
    """The runs of all rows by the name that a parameter `policy` gives them; the untrained policy is also `base`."""
    runs = {stage.info["run"]: stage for row in rows.values() for stage in finished(row).values()}
    untrained = [stage for name, stage in runs.items() if name.startswith("03_")]
    return runs | ({"base": untrained[0]} if untrained else {})


def start_of(stage: Stage, runs: dict[str, Stage]) -> Stage | None:
    """The run whose policy a training began from, or a best of n samples; None when it is not among `runs`."""
    start = runs.get(stage.info.get("parameters", {}).get("policy"))
    return None if start is stage else start


def lineage(stage: Stage, runs: dict[str, Stage]) -> list[Stage]:
    """A run and those whose weights or failures it was trained from, as far as they are in `runs` (name -> run)."""
    line = [stage]
    for one in line:
        starts = [one.info.get("parameters", {}).get(name) for name in ("policy", "negatives")]
        line += [runs[name] for name in starts if name in runs and runs[name] not in line]
    return line


def pairs(a: Runs, b: Runs) -> dict[int, tuple[Stage, Stage]]:
    """seed -> the runs of both rows with this seed; the untrained policy is paired with every seed."""
    only = list(finished(a).values())
    fixed = only[0] if len(only) == 1 and only[0].info["run"].startswith("03_") else None
    paired = {seed: (finished(a).get(seed, fixed), stage) for seed, stage in finished(b).items()}
    return {seed: (first, second) for seed, (first, second) in paired.items() if first}
