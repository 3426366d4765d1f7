"""Runs: what start() sets up, what a run leaves behind, what it refuses."""

import json
import os
import random
import sys

import numpy
import pandas
import pytest

from lib.runs import UpstreamError, start
from lib.runs.fingerprint import Fingerprints, read_stamp


@pytest.fixture(autouse=True)
def untouched_process():
    """What start() sets for a whole kernel is put back for the tests that follow."""
    variables = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(variables)
    if "torch" in sys.modules:
        sys.modules["torch"].use_deterministic_algorithms(False)


@pytest.fixture
def sft(repository):
    """A notebook with one parameter of its own, and its params file."""
    repository.notebook("10_sft", parameters='policy: str = "base"  # start\nrate: float = 0.1  # step\n')
    repository.params("10_sft-s0")
    return repository


def values(**changed) -> dict:
    """What globals() holds in a kernel: the parameters, and other names."""
    return {"preset": "tiny", "seed": 0, "policy": "base", "rate": 0.1, "json": json, **changed}


def info(run) -> dict:
    return json.loads((run.folder / "run_info.json").read_text())


def test_a_run_is_named_and_placed_and_says_what_it_runs_on(sft, capsys):
    run = start("10_sft", values(rate=0.2))
    assert run.name == "10_sft-rate=0.2-s0"
    assert run.folder == sft.root / "artifacts/scratch/10_sft-rate=0.2-s0"
    assert run.params == {"preset": "tiny", "seed": 0, "policy": "base", "rate": 0.2}
    assert run.preset == {"max_new_tokens": 8}
    printed = capsys.readouterr().out
    assert printed.startswith("10_sft-rate=0.2-s0: preset tiny, seed 0, ")
    assert str(sft.root) not in printed


def test_papermill_says_where_the_run_is_written(sft, monkeypatch):
    staged = sft.root / "artifacts/tiny/10_sft-s0.partial"
    monkeypatch.setenv("RLVR_RUN_FOLDER", str(staged))
    monkeypatch.setenv("RLVR_RUN_NAME", "10_sft-s0")
    assert start("10_sft", values()).folder == staged


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"rate": "fast"}, "rate: 'fast' is not a valid float"), ({"preset": "huge"}, "no preset 'huge'.*presets: tiny")],
)
def test_wrong_values_end_the_run_before_its_folder_is_made(sft, changed, message):
    with pytest.raises(ValueError, match=message):
        start("10_sft", values(**changed))
    assert not (sft.root / "artifacts/scratch").exists()


def test_a_parameter_changed_behind_papermills_back_is_refused(sft, monkeypatch):
    monkeypatch.setenv("RLVR_RUN_NAME", "10_sft-s0")
    with pytest.raises(ValueError, match="staged the run 10_sft-s0, but the parameters are now those of 10_sft-s7"):
        start("10_sft", values(seed=7))


def test_run_info_says_how_the_run_could_be_repeated(sft):
    sft.write("data/tiny/SHA256SUMS", "abc  valid.jsonl\n")
    run = start("10_sft", values())
    running = info(run)
    inputs = Fingerprints("tiny").of("10_sft-s0")
    assert running["status"] == "running"
    assert running["parameters"] == run.params
    assert (running["run"], running["notebook"], running["preset"], running["seed"]) == (run.name, "10_sft", "tiny", 0)
    assert (running["notebook_hash"], running["lib_hashes"]) == (inputs.notebook, inputs.lib)
    assert running["data"] == {"valid.jsonl": "abc"}
    assert running["packages"]["torch"].startswith("2.")
    assert running["cores"] >= 1
    assert running["machine"]["device"] == "cpu"
    assert {"commit", "dirty", "python", "threads", "phases", "fingerprint"} <= running.keys()
    run.finish({})
    assert info(run)["status"] == "finished"


def test_phases_add_up_and_are_kept_when_the_work_fails(sft):
    run = start("10_sft", values())
    for _ in range(2):
        with run.phase("train"):
            pass
    first = info(run)["phases"]["train"]

    def fail():
        with run.phase("judge"):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert info(run)["phases"].keys() == {"train", "judge"}
    assert 0 <= first < 1


def test_the_seed_reaches_python_and_numpy(sft):
    start("10_sft", values(seed=5))
    drawn = random.random(), numpy.random.rand()
    start("10_sft", values(seed=5))
    assert (random.random(), numpy.random.rand()) == drawn
    start("10_sft", values(seed=6))
    assert (random.random(), numpy.random.rand()) != drawn


def in_a_kernel(repository, before: str, after: str) -> str:
    """What a program prints that runs `before`, starts the run of 10_sft, then runs `after`."""
    program = f"{before}\nfrom lib.runs import start\nstart('10_sft', {values(json=None)!r})\n{after}"
    done = repository.python("-c", program)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_a_preset_with_a_local_model_keeps_the_hub_out(sft):
    look = "import huggingface_hub.constants as constants; print(constants.HF_HUB_OFFLINE)"
    sft.write("params/tiny/preset.yaml", "base_model: data/tiny/base_model\n")
    assert in_a_kernel(sft, "", look) == "False"
    sft.write("data/tiny/base_model/config.json", "{}")
    assert in_a_kernel(sft, "", look) == "True"


def test_torch_is_seeded_gets_its_threads_and_stays_out_of_notebooks_without_it(sft):
    look = "print('torch' in sys.modules)"
    assert in_a_kernel(sft, "import sys", look) == "False"
    sft.write("lib/later.py", "def train():\n    import trl\n")
    sft.notebook("10_sft", "from lib import later", parameters='policy: str = "base"  # start\nrate: float = 0.1\n')
    sft.write("params/tiny/preset.yaml", "threads: 1\n")
    look = "print(torch.initial_seed(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())"
    assert in_a_kernel(sft, "", f"import torch\n{look}") == "0 1 True"


def test_a_file_that_can_not_be_written_leaves_nothing(sft):
    run = start("10_sft", values())
    with pytest.raises(TypeError, match="PosixPath can't be saved as JSON"):
        run.save_json("metrics.json", {"folder": run.folder})
    assert {path.name for path in run.folder.iterdir()} == {"run_info.json"}


@pytest.mark.parametrize("name", ["/tmp/metrics.json", "../metrics.json", ""])
def test_files_stay_in_the_runs_folder(sft, name):
    with pytest.raises(ValueError, match="name a file relative to the run's folder"):
        start("10_sft", values()).save_json(name, {})


def test_texts_tables_and_figures(sft, monkeypatch):
    from matplotlib.figure import Figure

    run = start("10_sft", values())
    run.save_text("qa_logs/test.jsonl", '{"ü": 1}\n')
    assert (run.folder / "qa_logs/test.jsonl").read_text(encoding="utf-8") == '{"ü": 1}\n'
    run.save_table("curves.csv", pandas.DataFrame({"step": [1, 2], "loss": [0.5, 0.25]}))
    assert (run.folder / "curves.csv").read_text() == "step,loss\n1,0.5\n2,0.25\n"
    figure = Figure(figsize=(4, 3))
    figure.subplots().plot([1, 2])
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    run.save_figure("curves", figure, alt="A line that rises from 1 to 2.")
    first = (run.folder / "figures/curves.png").read_bytes()
    run.save_figure("curves", figure, alt="A line that rises from 1 to 2.")
    assert (run.folder / "figures/curves.png").read_bytes() == first
    _, metadata = shown[0]._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == "A line that rises from 1 to 2."
    with pytest.raises(ValueError, match="figure curves: alt is empty"):
        run.save_figure("curves", figure, alt=" ")
    assert {path.name for path in (run.folder / "figures").iterdir()} == {"curves.png"}


def test_a_rerun_starts_clean(sft):
    run = start("10_sft", values())
    run.save_json("qa_logs/old.json", {})
    run.finish({})
    (run.folder / "10_sft.ipynb").write_text("{}")
    (run.folder / ".lock").write_text("")
    again = start("10_sft", values())
    assert {path.name for path in again.folder.iterdir()} == {"run_info.json", "10_sft.ipynb", ".lock"}


def test_a_folder_of_other_files_is_never_emptied(sft, monkeypatch):
    sft.write("results/thesis.txt", "dear")
    monkeypatch.setenv("RLVR_RUN_FOLDER", str(sft.root / "results"))
    with pytest.raises(FileExistsError, match=r"folder results .* \(thesis.txt\)"):
        start("10_sft", values())
    assert (sft.root / "results/thesis.txt").read_text() == "dear"


def finished(repository, run: str, weights: bool = True):
    folder = repository.folder(run)
    repository.write(f"artifacts/tiny/{run}/run_info.json", '{"status": "finished"}')
    if weights:
        (folder / "model").mkdir()
    return folder


def test_an_upstream_run_that_a_parameter_names_is_found(sft):
    folder = finished(sft, "03_baseline-s0")
    run = start("10_sft", values(policy="03_baseline-s0"))
    assert run.upstream("03_baseline-s0") == folder
    assert run.model_path("03_baseline-s0") == str(folder / "model")


def test_run_info_says_which_execution_of_an_upstream_run_was_read(sft):
    read = []
    for seconds in (1.0, 2.0):
        sft.write("artifacts/tiny/03_baseline-s0/run_info.json", json.dumps({"status": "finished", "seconds": seconds}))
        run = start("10_sft", values(policy="03_baseline-s0"))
        assert info(run)["read"] == {}
        run.upstream("03_baseline-s0")
        run.finish({})
        read.append(info(run)["read"]["03_baseline-s0"])
    assert read[0] != read[1]


def test_run_info_has_a_hash_of_every_file_that_git_would_take_but_the_two_being_written(sft):
    run = start("10_sft", values())
    run.save_json("metrics.json", {"a": 1})
    run.save_text("qa_logs/test.jsonl", "")
    for private in ("model/weights", "eval/model/weights", "checkpoints/1", "train.log", "10_sft.ipynb", ".hidden/x"):
        run.save_text(private, "x")
    run.finish({})
    files = info(run)["files"]
    assert set(files) == {"metrics.json", "qa_logs/test.jsonl", "summary.json"}
    assert files["qa_logs/test.jsonl"] == "e3b0c44298fc1c14"  # of nothing


def test_a_run_that_no_parameter_names_is_refused_because_the_matrix_could_not_know(sft):
    finished(sft, "03_baseline-s0")
    with pytest.raises(ValueError, match="no parameter of 10_sft-s0 names the run '03_baseline-s0'"):
        start("10_sft", values()).upstream("03_baseline-s0")


def test_a_missing_upstream_run_names_the_commands_that_make_it(sft):
    sft.notebook("03_baseline")
    sft.params("03_baseline-s0")
    run = start("10_sft", values(policy="03_baseline-s0"))
    with pytest.raises(UpstreamError) as error:
        run.upstream("03_baseline-s0")
    assert "has not finished on this machine" in str(error.value)
    assert "python -m lib.matrix tiny 03_baseline-s0" in str(error.value)
    assert "papermill notebooks/03_baseline.ipynb -f params/tiny/03_baseline-s0.yaml" in str(error.value)


def test_an_upstream_run_that_did_not_finish_counts_as_missing(sft):
    sft.write("artifacts/tiny/03_baseline-s0/run_info.json", '{"status": "running"}')
    run = start("10_sft", values(policy="03_baseline-s0"))
    with pytest.raises(UpstreamError, match="has not finished on this machine"):
        run.upstream("03_baseline-s0")


def test_evidence_without_weights_says_so(sft):
    finished(sft, "03_baseline-s0", weights=False)
    run = start("10_sft", values(policy="03_baseline-s0"))
    assert run.upstream("03_baseline-s0").name == "03_baseline-s0"
    with pytest.raises(UpstreamError, match=r"needs model of the run 03_baseline-s0; only its results are here"):
        run.model_path("03_baseline-s0")


def test_the_base_model_is_a_folder_of_the_repository_or_a_name_on_the_hub(sft):
    sft.write("params/tiny/preset.yaml", "base_model: data/tiny/base_model\n")
    sft.write("data/tiny/base_model/config.json", "{}")
    assert start("10_sft", values()).model_path("base") == str(sft.root / "data/tiny/base_model")
    sft.write("params/tiny/preset.yaml", "base_model: Qwen/Qwen2.5-Coder-7B-Instruct\n")
    assert start("10_sft", values()).model_path("base") == "Qwen/Qwen2.5-Coder-7B-Instruct"


def test_finish_leaves_summary_stamp_and_an_evidence_record(sft):
    finished(sft, "03_baseline-s0")
    run = start("10_sft", values(policy="03_baseline-s0"))
    evidence = run.finish({"headline": "12 % solved", "test": {"accepted_at_1": 0.123456}, "judge": None})
    assert json.loads((run.folder / "summary.json").read_text())["headline"] == "12 % solved"
    stamp = read_stamp(run.folder)
    assert stamp["fingerprint"] == info(run)["fingerprint"]
    assert stamp["upstream"] == {"03_baseline-s0": None}

    shown = evidence._repr_mimebundle_()
    record = shown["application/vnd.rlvr.evidence+json"]
    assert (record["run"], record["parameters"]) == (run.name, run.params)
    assert record["summary"]["test"]["accepted_at_1"] == 0.123456
    assert str(sft.root) not in json.dumps(shown)


def test_the_stamp_holds_the_inputs_at_the_start_not_at_the_end(sft):
    run = start("10_sft", values())
    before = Fingerprints("tiny").of("10_sft-s0")
    sft.write("params/tiny/preset.yaml", "max_new_tokens: 9\n")
    run.finish({})
    assert read_stamp(run.folder)["fingerprint"] == before.fingerprint


def test_what_an_interrupted_run_left_for_the_next_attempt_goes_when_one_finishes(sft):
    run = start("10_sft", values())
    (run.scratch / "checkpoint-20").mkdir(parents=True)
    again = start("10_sft", values())
    assert (again.scratch / "checkpoint-20").is_dir(), "a new attempt empties its own folder, not this one"
    assert start("10_sft", values(rate=0.2)).scratch != again.scratch
    sft.notebook("10_sft", "other = 'code'", parameters='policy: str = "base"  # start\nrate: float = 0.1  # step\n')
    changed = start("10_sft", values())
    assert not changed.scratch.exists(), "what other code left is not gone on from"
    changed.finish({})
    assert not again.scratch.exists()
