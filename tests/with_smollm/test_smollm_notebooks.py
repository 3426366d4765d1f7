"""The notebooks on the preset smollm135m at the smallest scale, by the commands that readers type: `make test-smollm`.

They need the converted weights and the rows of MBPP and HumanEval: those in ../shared/data beside the project, or those
that RLVR_ROWS names or `python -m lib.problems.freeze fetch` has kept.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lib.problems.missing import missing_data
from lib.runs.params_files import load_preset
from lib.runs.paths import root

pytestmark = pytest.mark.timeout(3600)
ROWS = root().parent / "shared" / "data"
FILES = {"mbpp_one": "mbpp/mbpp.jsonl", "mbpp_reg": "mbpp/mbpp.jsonl", "humaneval": "humaneval/HumanEval.jsonl.gz"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    if not (root() / "data" / "smollm135m" / "base_model" / "config.json").is_file():
        pytest.skip("no weights in data/smollm135m/base_model: make smollm135m could not make them")
    with pytest.MonkeyPatch.context() as patch:
        if "RLVR_ROWS" not in os.environ and ROWS.is_dir():
            patch.setenv("RLVR_ROWS", " ".join(f"{source}='{ROWS / file}'" for source, file in FILES.items()))
        if missing := missing_data(load_preset("smollm135m")):
            pytest.skip("; ".join(missing))
        return {**os.environ, "RLVR_ARTIFACTS": str(tmp_path_factory.mktemp("artifacts"))}


def papermill(environment: dict[str, str], file: str, **parameters: object) -> dict:
    """Executes the run of a params file, with other values for some parameters; returns its metrics.json and `run`."""
    before = set(Path(environment["RLVR_ARTIFACTS"]).glob("smollm135m/*"))
    given = [word for name, value in parameters.items() for word in ("-p", name, str(value))]
    notebook = f"notebooks/{file.partition('-')[0]}.ipynb"
    command = [sys.executable, "-m", "papermill", notebook, "-f", f"params/smollm135m/{file}.yaml", *given]
    done = subprocess.run(
        command, cwd=root(), env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr[-3000:]
    [folder] = set(Path(environment["RLVR_ARTIFACTS"]).glob("smollm135m/*")) - before
    assert json.loads((folder / "run_info.json").read_text())["base_model"] == "data/smollm135m/base_model"
    return {**json.loads((folder / "metrics.json").read_text()), "run": folder.name}


RUNS = {  # file of params -> parameters of the smallest run; @NAME: the run that was made of the file NAME before
    "01_data-s0": {"judged": 2, "pairs": 100},
    "02_judge-s0": {"limit": 4, "verdicts": 20, "busy": 2},
    "03_baseline-s0": {"limit": 1},
    "10_sft-s0": {"limit": 1, "steps": 3, "control": "@03_baseline-s0"},
    "11_checkpoints-s0": {"limit": 1, "policy": "@10_sft-s0"},
    "20_dpo-s0": {"limit": 1, "train_problems": 16, "samples": 4, "policy": "@10_sft-s0"},
    "30_grpo-dense-s0": {"limit": 1, "steps": 1, "policy": "@10_sft-s0"},
    "12_best_of_n-s0": {"limit": 1, "samples": 2, "policy": "@10_sft-s0", "trained": "@30_grpo-dense-s0"},
    "40_repair-s0": {
        "limit": 1,
        "steps": 1,
        "example_steps": 1,
        "policy": "@30_grpo-dense-s0",
        "continued": "@30_grpo-dense-s0",
    },
    "90_report-s0": {
        "runs": "@03_baseline-s0 @10_sft-s0 @12_best_of_n-s0 @20_dpo-s0 @30_grpo-dense-s0",
        "pairs": "@03_baseline-s0,@10_sft-s0 @10_sft-s0,@20_dpo-s0",
    },
    "91_failures-s0": {"policy": "@30_grpo-dense-s0", "before": "@10_sft-s0", "failures": 2},
    "92_case_studies-s0": {"repair": "@40_repair-s0"},
}
MADE: dict[str, dict] = {}  # file of params -> what its run measured


@pytest.mark.parametrize("file", RUNS)
def test_the_notebook_runs(environment, file):
    needed = re.findall(r"@([\w-]+)", " ".join(map(str, RUNS[file].values())))
    if missing := [name for name in needed if name not in MADE]:
        pytest.skip(f"needs the run of {missing[0]}")
    named = {
        name: re.sub(r"@([\w-]+)", lambda match: MADE[match[1]]["run"], value) if isinstance(value, str) else value
        for name, value in RUNS[file].items()
    }
    MADE[file] = papermill(environment, file, **named)


def test_what_was_measured_is_what_the_preset_says():
    if len(MADE) < len(RUNS):
        pytest.skip("a run is missing")
    sets = {"mbpp_one_valid", "mbpp_one_valid_big", "mbpp_one_test", "humaneval", "mbpp"}
    assert set(MADE["03_baseline-s0"]["datasets"]) == sets
    assert MADE["10_sft-s0"]["pairs"]["pairs"] > 300, "the judge accepts the references of MBPP"
    assert MADE["30_grpo-dense-s0"]["rollout"]["temperature"] == 0.7
    assert MADE["90_report-s0"]["rows"]
