"""The validation of a model where vLLM is installed: `make test-vllm`."""

import json
import shutil

import pytest

from lib.evaluation.export import CheckpointError, validate_model
from lib.judge import Judge
from lib.policy.protocols import eval_at_1
from lib.problems import load_problems
from lib.runs.paths import root

pytestmark = pytest.mark.timeout(1200)
PATH = root() / "data" / "tiny" / "base_model"
PROBLEMS = load_problems("tiny_contests", "valid")[:6]


def test_a_checkpoint_is_valid_if_vllm_loads_it_too():
    with Judge(workers=1) as judge:
        found = validate_model(PATH, judge, PROBLEMS, eval_at_1(128))
    assert found["vllm"] == "loads; 6 of 6 answers are those of transformers, token for token"


def test_a_checkpoint_that_vllm_can_not_load_is_refused(tmp_path):
    """Transformers goes by the model's type, vLLM by the architecture that the config names."""
    folder = shutil.copytree(PATH, tmp_path / "checkpoint-1")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["Qwen2ForPoetry"]}))
    with Judge(workers=1) as judge, pytest.raises(CheckpointError, match=r"checkpoint-1 does not load in vLLM"):
        validate_model(folder, judge, PROBLEMS, eval_at_1(128))
