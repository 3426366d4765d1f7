"""The notebooks on the preset smollm135m at the smallest scale, by the commands that readers type: `make test-smollm`.

They need the converted weights and the rows of MBPP and HumanEval: those in ../shared/data beside the project, or those
that RLVR_ROWS names or `python -m lib.problems.freeze fetch` has kept.
"""

import json
import os
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


def test_baseline_sft_grpo_and_report_run_one_after_the_other(environment):
    baseline = papermill(environment, "03_baseline-s0", limit=1)
    assert set(baseline["datasets"]) == {"mbpp_one_valid", "mbpp_one_valid_big", "mbpp_one_test", "humaneval", "mbpp"}
    sft = papermill(environment, "10_sft-s0", limit=1, steps=2, control=baseline["run"])
    assert sft["pairs"]["pairs"] > 300, "the judge accepts the references of MBPP"
    grpo = papermill(environment, "30_grpo-dense-s0", limit=1, steps=1, policy=sft["run"])
    assert grpo["rollout"]["temperature"] == 0.7
    runs = " ".join(one["run"] for one in (baseline, sft, grpo))
    report = papermill(environment, "90_report-s0", runs=runs, pairs=f"{baseline['run']},{sft['run']}")
    assert report["rows"]
