"""Training by two processes of `accelerate launch`, on CPUs: the same as by one, and gone when their caller is."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_early_stop import good, point
from tiny_policy import make_tokenizer
from trainings import PROBLEMS, dpo, grpo, search_path, sft

from lib.policy.models import load_policy
from lib.rewards import dense
from lib.runs.paths import root
from lib.runs.processes import call_in_processes
from lib.training.early_stop import EarlyStop
from lib.training.grpo import Rollouts
from lib.training.launch import _share
from lib.training.resume import complete_checkpoints

# accelerate starts several processes for GPUs alone; where there are none they find each other by gloo.
TWO = """
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_GPU
use_cpu: true
num_machines: 1
machine_rank: 0
num_processes: 2
mixed_precision: "no"
"""
# accelerate shards weights on GPUs alone, and leaves them whole on CPUs without a word. FSDP itself can do it there.
SHARD_ON_CPU = """
import os
if os.environ.get("ACCELERATE_USE_FSDP") == "true" and "RANK" in os.environ:
    from accelerate import PartialState
    from accelerate.utils import DistributedType
    made = PartialState.__init__
    def as_of_gpus(state, *given, **named):
        made(state, *given, **named)
        if state.distributed_type == DistributedType.MULTI_CPU:
            state.distributed_type = DistributedType.MULTI_GPU
    PartialState.__init__ = as_of_gpus
"""
LONG = {"steps": 12, "batch": 2, "save_steps": 2}


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> str:
    """The configuration of two processes."""
    path = tmp_path_factory.mktemp("accelerate") / "two.yaml"
    path.write_text(TWO)
    return str(path)


@pytest.fixture
def sharded(tmp_path_factory, monkeypatch) -> str:
    """The preset's configuration for FSDP, but of two processes, and in the precision of the tests."""
    folder = tmp_path_factory.mktemp("sharded")
    (folder / "sitecustomize.py").write_text(SHARD_ON_CPU)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    text = (root() / "params" / "qwen7b" / "accelerate" / "fsdp.yaml").read_text()
    for line, other in (("num_processes: 8", "num_processes: 2"), ("mixed_precision: bf16", 'mixed_precision: "no"')):
        assert line in text
        text = text.replace(line, other)
    (folder / "fsdp.yaml").write_text(text)
    return str(folder / "fsdp.yaml")


def processes(folder: Path) -> list[str]:
    """The command lines of all processes that name a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_text().replace("\0", " ")
        except OSError:  # it ended just now
            continue
        found += [command] if "lib.runs.processes" in command and str(folder) in command else []
    return found


def until(condition, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def close(weights: dict, other: dict) -> bool:
    return all(torch.allclose(tensor, other[name], atol=1e-4) for name, tensor in weights.items())


def test_kill_9_of_the_caller_ends_all_processes_and_the_resumed_training_equals_that_of_one_process(
    sharded, start, tmp_path, capsys
):
    run, scratch = tmp_path / "run", tmp_path / "scratch"
    folders = ", ".join(f"Path({str(path)!r})" for path in (start, run, scratch))
    code = "import test_launch; from pathlib import Path; "
    code += f"test_launch.sft({folders}, launch={sharded!r}, **test_launch.LONG)"
    search = search_path(str(root()), os.environ.get("PYTHONPATH", ""))
    caller = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": search})
    until(lambda: complete_checkpoints(scratch) or caller.poll() is not None)
    assert len(processes(run)) == 3, "who starts them, and two that train"
    caller.kill()
    caller.wait()
    until(lambda: not processes(run), seconds=20)

    whole_curve, whole = sft(start, tmp_path / "whole", None, **LONG | {"batch": 4})
    capsys.readouterr()
    curve, weights = sft(start, tmp_path / "again", scratch, launch=sharded, **LONG)
    printed = capsys.readouterr().out
    assert re.match(r"resuming an interrupted training after step \d+\n", printed)
    assert printed.count("resuming") == printed.count("step 12 of 12: loss") == 1, "one of them prints"
    assert list(curve.step) == list(range(1, 13))
    assert curve.loss.to_numpy() == pytest.approx(whole_curve.loss.to_numpy(), abs=1e-4)
    assert close(weights, whole)
    assert not processes(tmp_path)
    steps = range(2, 13, 2)
    assert {path.name for path in (tmp_path / "again").iterdir()} == {f"checkpoint-{step}" for step in steps}
    for name in ("optimizer.bin", "pytorch_model_fsdp.bin"):
        assert not list(tmp_path.glob(f"again/*/{name}"))
        assert [path.parent.name for path in tmp_path.glob(f"scratch/*/{name}")] == ["checkpoint-12"]


def test_after_an_interruption_dpo_resumes_and_early_stopping_evaluates_every_checkpoint_afterwards(
    start, two, tmp_path, capsys
):
    """Ctrl-C after the first checkpoint; then a planted violation at the end restores the weights of the evaluation
    before it, which are those of a training by one process.
    """
    planted = {step: good(step) for step in range(0, 12, 2)} | {12: point(step=12, success=5, wrong_answer=35)}
    seen = {}

    def probe(model, step):
        seen[step] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        return planted[step]

    def interrupt():
        until(lambda: complete_checkpoints(scratch))
        started.append(len(processes(tmp_path)))
        os.kill(os.getpid(), signal.SIGINT)

    run, scratch, started = tmp_path / "run", tmp_path / "scratch", []
    training = {"steps": 12, "batch": 1, "launch": two}
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        dpo(start, run, scratch, **training)
    thread.join()
    assert started == [3], "who starts them, and two that train"
    assert not processes(tmp_path)
    assert {path.name.partition("-")[0] for path in run.iterdir()} <= {"checkpoint"}

    early_stop = EarlyStop(probe, tmp_path, every=2)
    whole_curve, whole = dpo(start, tmp_path / "whole", None, steps=10, batch=2)
    capsys.readouterr()
    curve, weights = dpo(start, run, scratch, early_stop=early_stop, **training)
    printed = capsys.readouterr().out
    assert "resuming an interrupted training after step" in printed
    assert "restored the weights of step 10" in printed
    assert (early_stop.stopped_at, early_stop.last_good_step) == (12, 10)
    assert [point.step for point in early_stop.points] == list(planted)
    assert list(curve.step) == list(range(1, 13))
    for name in ("loss", "margin", "entropy", "grad_norm"):
        assert curve[name][:10].to_numpy() == pytest.approx(whole_curve[name].to_numpy(), abs=1e-3)
    assert close(weights, whole)
    assert close(seen[10], whole)
    assert not close(seen[12], whole)
    assert [path.parent.name for path in tmp_path.glob("scratch/*/optimizer.pt")] == ["checkpoint-12"]


def test_grpo_samples_in_every_process_and_logs_means_over_them(start, two, tmp_path):
    before = load_policy(start, device="cpu").state_dict()
    curve, weights = grpo(start, tmp_path / "run", None, steps=3, batch=4, save_steps=3, launch=two, learning_rate=1e-3)
    assert list(curve.step) == [1, 2, 3]
    assert not curve.isna().any().any()
    rates = curve[[name for name in curve if name.endswith("_rate") and name != "truncation_rate"]]
    assert rates.sum(axis=1).to_numpy() == pytest.approx(1), "shares of all programs of the step"
    assert curve.success_rate.to_numpy() == pytest.approx(curve.reward.to_numpy()), "a problem here has one test"
    assert curve.kl.iloc[0] == pytest.approx(0, abs=1e-6)
    assert not close(weights, before)
    trained = load_policy(tmp_path / "run" / "checkpoint-3", device="cpu").state_dict()
    assert all(torch.equal(tensor, trained[name]) for name, tensor in weights.items())


def test_no_two_processes_and_steps_sample_by_one_seed(start):
    """Else two groups of one problem would be the same programs twice."""
    tokenizer, model = make_tokenizer(), load_policy(start, device="cpu")
    prompts = [[{"role": "user", "content": "print 0"}]] * 8
    written = []
    for rank, step in ((0, 0), (1, 0), (0, 1), (1, 1)):
        trainer = SimpleNamespace(
            processing_class=tokenizer,
            use_vllm=False,
            model=model,
            accelerator=SimpleNamespace(unwrap_model=lambda model: model),
            state=SimpleNamespace(global_step=step, max_steps=2),
            args=SimpleNamespace(world_size=2, process_index=rank),
        )
        judge = SimpleNamespace(judge_many=lambda pairs, progress: [], answer_block="last")
        args = SimpleNamespace(max_completion_length=24, temperature=1.0, seed=0, bf16=False)
        rollouts = Rollouts(PROBLEMS, judge, dense, args, "", ends=[])
        written.append(rollouts.sample(prompts, trainer)["completion_ids"])
    assert all(one != other for n, one in enumerate(written) for other in written[:n])


def test_a_process_that_fails_is_an_error_with_its_reason(two, tmp_path):
    with pytest.raises(RuntimeError, match=r"two\.yaml failed .*(?s:.*)JSONDecodeError: Expecting value"):
        call_in_processes(Path(two), tmp_path, json.loads, {"s": "["})
    assert not processes(tmp_path)


def test_the_judges_of_all_processes_have_together_what_one_was_allowed():
    allowed = {"workers": 16, "strict": True}
    assert _share(allowed, 8) == {"workers": 2, "strict": True}
    assert _share(allowed | {"workers": 2}, 8)["workers"] == 1, "none is without a worker"


def test_what_such_a_training_cannot_do_is_an_error_before_anything_is_started(start, two, tmp_path):
    sharded = tmp_path / "sharded.yaml"
    sharded.write_text(TWO.replace("MULTI_GPU", "FSDP"))
    with pytest.raises(ValueError, match="set save_steps above 0"):
        sft(start, tmp_path / "run", None, launch=two, save_steps=0)
    with pytest.raises(ValueError, match="leave out lora"):
        sft(start, tmp_path / "run", None, launch=two, lora={"r": 4})
    with pytest.raises(ValueError, match="set use_vllm"):
        grpo(start, tmp_path / "run", None, launch=str(sharded))
    with pytest.raises(FileNotFoundError, match=r"no accelerate configuration at .*nowhere\.yaml"):
        sft(start, tmp_path / "run", None, launch="nowhere.yaml")
    assert not (tmp_path / "run").exists()
