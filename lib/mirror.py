"""Weights & Biases as a mirror: what stands in a finished run's files, shown there too. Off unless this is called.

    python -m lib.mirror tiny 10_sft-s0             an offline run in wandb/: no account, nothing leaves the machine
    python -m lib.mirror tiny 10_sft-s0 online      the same to the account of `wandb login`

Keys: `eval/<dataset>/<metric>`, of a run that measured checkpoints at each of their steps, and `train/<column>` for the
columns of curves.csv. Nothing is computed here: every number is in the run's folder first.
"""

import json
import sys
from pathlib import Path

import pandas as pd
import wandb

from lib.paths import artifacts, root

MODES = ("offline", "online")


def mirror(folder: Path, mode: str = "offline", place: Path | None = None) -> Path:
    """Shows a finished run in W&B; returns the folder that the client wrote, under `place`/wandb (default: the root).

    Raises ValueError for an unknown mode or a run that has not finished.
    """
    info = json.loads((folder / "run_info.json").read_text())
    if mode not in MODES or info["status"] != "finished":
        raise ValueError(f"{info['run']} ({info['status']}) can be mirrored when finished, {' or '.join(MODES)}")
    metrics = json.loads((folder / "metrics.json").read_text())
    config = {key: info[key] for key in ("run", "preset", "seed", "commit", "fingerprint", "parameters")}
    settings = wandb.Settings(console="off", silent=True, disable_git=True, x_disable_stats=True)
    with wandb.init(
        project="rlvr-code-lab",
        name=info["run"],
        group=info["notebook"],
        config=config,
        mode=mode,
        dir=place or root(),
        settings=settings,
    ) as run:
        # Two axes: W&B's own step may only grow, and an evaluation comes after the training it belongs to.
        run.define_metric("train/*", step_metric="train/step")
        run.define_metric("eval/*", step_metric="eval/step")
        if (folder / "curves.csv").is_file():
            for row in pd.read_csv(folder / "curves.csv").to_dict("records"):
                run.log({f"train/{name}": value for name, value in row.items()})
        for step, measured in _evaluations(metrics):
            run.log({"eval/step": step} | _figures(measured))
        written = Path(run.dir).parent
    wandb.teardown()  # waits for the client's service, which on a busy machine writes the last rows after `finish`
    return written


def _evaluations(metrics: dict) -> list[tuple[int, dict]]:
    """(step, figures) of the evaluations of a run; a run that measured its end alone did so at step 0."""
    several = metrics.get("checkpoints", {})
    found = sorted((int(step), one) for step, one in several.items())
    return found or ([(0, metrics)] if "datasets" in metrics else [])


def _figures(measured: dict) -> dict[str, float]:
    return {
        f"eval/{dataset}/{name}": value
        for dataset, found in measured["datasets"].items()
        for name, value in found.items()
        if isinstance(value, int | float)
    }


if __name__ == "__main__":
    preset, name, *mode = sys.argv[1:]
    print(mirror(artifacts() / preset / name, *mode))
