"""The notebooks of efficiency through the real papermill command, at a smoke scale, in a copy of the repository."""

import json
import shutil
import sys

import pandas as pd
import pytest
from copies import copy_repository, type_command

pytestmark = [
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed"),
    pytest.mark.timeout(1200),
]
SMOKE = {"policy": "base", "steps": 2, "limit": 8}


@pytest.fixture(scope="module")
def execute(tmp_path_factory):
    """Executes a notebook; returns the folder of its run."""
    folder = tmp_path_factory.mktemp("efficiency")
    copy_repository(folder / "copy", "lib", "notebooks", "params", "data")

    def papermill(notebook: str, **parameters):
        options = [word for name, value in parameters.items() for word in ("-p", name, str(value))]
        command = [sys.executable, "-m", "papermill", f"notebooks/{notebook}.ipynb", *options, "--no-progress-bar"]
        before = set((folder / "artifacts").glob("tiny/*"))
        type_command(command, folder / "copy", RLVR_ARTIFACTS=str(folder / "artifacts"))
        [run] = set((folder / "artifacts").glob("tiny/*")) - before
        return run

    return papermill


@pytest.mark.parametrize(("algorithm", "inputs"), [("rloo", "heavy"), ("grpo", "light")])
def test_an_arm_trains_and_is_measured(execute, algorithm, inputs):
    run = execute("31_efficiency", algorithm=algorithm, inputs=inputs, **SMOKE)
    curve = pd.read_csv(run / "curves.csv")
    assert list(curve.step) == [1, 2]
    assert {"measuring_s", "measured", "cost_over_best", "reward/accepted"} <= set(curve)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["efficiency"]["after"]["all"]["n"] == 8
    assert metrics["efficiency"]["hidden"]["wrong"] == 0
    assert metrics["meter"]["measured"] > 0
    assert len(pd.read_csv(run / "costs.csv")) == 8


def test_the_gallery_of_hacks_is_measured(execute):
    run = execute("32_efficiency_hacks", tiers="superblocks")
    assert "honest_slow" in set(pd.read_csv(run / "hacks.csv").program)
