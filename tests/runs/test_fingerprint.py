"""Fingerprints: what makes a run due again, and what does not."""

import json
import time

import pytest

from lib.runs.fingerprint import Fingerprints, data_versions, upstream_names, write_stamp

REWARDS = '''"""Rewards."""


def dense(verdict):
    """The share of tests passed."""
    # more is better
    return verdict.pass_ratio
'''


@pytest.fixture
def grpo(repository):
    """A training that reads another run: notebook, modules, params."""
    repository.write("lib/rewards.py", REWARDS)
    repository.write("lib/trainer.py", "def train():\n    from lib import rewards\n    return rewards.dense\n")
    repository.write("lib/report/plots.py", "from lib.report import palette\n\n\ndef curve():\n    return 'blue'\n")
    repository.write("lib/report/palette.py", "BLUE = 1\n")
    repository.write("lib/unrelated.py", "X = 1\n")
    cells = (
        "import torch\nfrom lib import trainer\nfrom lib.report import plots\nfrom lib.runs import start",
        "trainer.train()",
    )
    repository.notebook("10_sft", "from lib.runs import start")
    repository.notebook("30_grpo", *cells, parameters='policy: str = "base"  # start\nrate: float = 0.1  # step\n')
    repository.params("10_sft-s0")
    repository.params("30_grpo-s0", "policy: 10_sft-s0\n")
    return repository


def changes(repository, act) -> list[str]:
    """What `act` changes among the inputs of the training."""
    earlier = Fingerprints("tiny").of("30_grpo-s0")
    act()
    now = Fingerprints("tiny").of("30_grpo-s0")
    found = now.changes(vars(earlier))
    assert (now.fingerprint != earlier.fingerprint) == bool(found)
    return found


def test_nothing_changes_by_itself(grpo):
    assert changes(grpo, lambda: None) == []


def test_a_module_imported_inside_a_function_of_an_imported_module_is_an_input(grpo):
    edit = REWARDS.replace("return verdict.pass_ratio", "return 2 * verdict.pass_ratio")
    assert changes(grpo, lambda: grpo.write("lib/rewards.py", edit)) == ["lib.rewards"]


def test_a_module_that_nothing_imports_is_no_input(grpo):
    assert changes(grpo, lambda: grpo.write("lib/unrelated.py", "X = 2\n")) == []


@pytest.mark.parametrize("module", ["plots", "tables", "palette"])
def test_a_plot_does_not_redo_a_training(grpo, module):
    assert changes(grpo, lambda: grpo.write(f"lib/report/{module}.py", "GREEN = 2\n")) == []


def test_a_plot_redoes_a_report(repository):
    repository.write("lib/report/plots.py", "BLUE = 1\n")
    repository.notebook("90_report", "from lib.report import plots")
    repository.params("90_report-s0")
    earlier = Fingerprints("tiny").of("90_report-s0")
    repository.write("lib/report/plots.py", "BLUE = 2\n")
    assert Fingerprints("tiny").of("90_report-s0").changes(vars(earlier)) == ["lib.report.plots"]


@pytest.mark.parametrize(
    "module", ["runs/run", "runs/parameters", "runs/papermill/clean", "evidence/check", "problems/ledger"]
)
def test_the_bookkeeping_does_not_redo_a_training(grpo, module):
    edited = (grpo.root / "lib" / f"{module}.py").read_text() + "\n\nX = 1\n"
    assert changes(grpo, lambda: grpo.write(f"lib/{module}.py", edited)) == []


def test_seeding_is_an_input_although_the_bookkeeping_imports_it(grpo):
    assert changes(grpo, lambda: grpo.write("lib/runs/environment.py", "SEED = 1\n")) == [
        "lib.runs.environment",
        "upstream 10_sft-s0",
    ]


def test_code_of_the_notebook_is_an_input_its_comments_are_not(grpo):
    text = (grpo.root / "notebooks/30_grpo.ipynb").read_text()
    commented = text.replace("trainer.train()", "trainer.train()  # the long part")
    assert changes(grpo, lambda: grpo.write("notebooks/30_grpo.ipynb", commented)) == []
    edited = text.replace("trainer.train()", "trainer.train(), 1")
    assert changes(grpo, lambda: grpo.write("notebooks/30_grpo.ipynb", edited)) == ["notebook"]


def test_parameters_count_as_resolved(grpo):
    assert changes(grpo, lambda: grpo.params("30_grpo-s0", "policy: 10_sft-s0\nrate: 0.2\n")) == ["params"]
    assert changes(grpo, lambda: grpo.params("30_grpo-s0", "rate: 0.2  # as before\npolicy: 10_sft-s0\n")) == []


def test_a_default_that_the_params_file_overrides_is_no_input(grpo):
    text = (grpo.root / "notebooks/30_grpo.ipynb").read_text()
    edited = text.replace('policy: str = \\"base\\"', 'policy: str = \\"other\\"')
    assert edited != text
    assert changes(grpo, lambda: grpo.write("notebooks/30_grpo.ipynb", edited)) == []


def test_a_part_of_the_preset_is_an_input_of_the_runs_whose_code_names_it(grpo):
    grpo.write("lib/trainer.py", "def train(run):\n    from lib import rewards\n    return run.preset['steps']\n")
    preset = "max_new_tokens: 8\nsteps: 1\nthreads: 1\n"
    grpo.write("params/tiny/preset.yaml", preset)
    edit = preset.replace("steps: 1", "steps: 2")
    assert changes(grpo, lambda: grpo.write("params/tiny/preset.yaml", edit)) == ["preset steps"]
    edit = edit.replace("threads: 1", "threads: 2")  # lib.runs.run itself asks for these
    named = ["preset threads", "upstream 10_sft-s0"]
    assert changes(grpo, lambda: grpo.write("params/tiny/preset.yaml", edit)) == named
    edit += "judge: {}\nanother_notebook: 1\n"
    assert changes(grpo, lambda: grpo.write("params/tiny/preset.yaml", edit)) == []


def test_an_upstream_run_passes_its_changes_on(grpo):
    assert changes(grpo, lambda: grpo.notebook("10_sft", "x = 1")) == ["upstream 10_sft-s0"]


def test_data_count_by_their_checksums_except_for_the_notebook_that_makes_them(grpo):
    grpo.notebook("00_tiny_world", "x = 1")
    grpo.params("00_tiny_world-s0")
    world = Fingerprints("tiny").of("00_tiny_world-s0")
    assert changes(grpo, lambda: grpo.write("data/tiny/valid.jsonl", "{}\n")) == ["data", "upstream 10_sft-s0"]
    assert Fingerprints("tiny").of("00_tiny_world-s0") == world


def test_data_versions_come_from_the_checksum_file_and_from_the_files_it_does_not_list(repository):
    assert data_versions("tiny") == data_versions("nowhere") == {}
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for name in ("contests/valid.jsonl.xz", "base_model/config.json", "README.md"):
        repository.write(f"data/tiny/{name}", "")
    assert data_versions("tiny") == {"contests/valid.jsonl.xz": empty, "base_model/config.json": empty}
    repository.write("data/tiny/SHA256SUMS", "abc  contests/valid.jsonl\n")
    assert data_versions("tiny") == {"contests/valid.jsonl": "abc", "base_model/config.json": empty}


def test_the_manifests_of_the_sets_that_a_preset_names_are_data_of_it(repository):
    sets = "  contests_test: {source: tiny_contests, split: test}\n  mbpp_train: {source: tiny_mbpp, split: train}\n"
    repository.write("params/tiny/preset.yaml", f"sets:\n{sets}")
    names = ("tiny_contests-test", "tiny_mbpp-train", "tiny_mbpp-train.unreliable", "mbpp-train", "tiny_humaneval-test")
    index = {f"{name}.jsonl": {"sha256": name} for name in names}
    repository.write("data/manifests/index.json", json.dumps(index))
    assert data_versions("tiny") == {f"manifests/{name}.jsonl": name for name in names[:3]}


def test_runs_are_recognised_alone_and_in_lists():
    parameters = {"policy": "10_sft-s0", "runs": "03_baseline-s0, 30_grpo-dense-rate=0.1-s12", "preset": "tiny", "k": 3}
    assert upstream_names(parameters) == ["03_baseline-s0", "10_sft-s0", "30_grpo-dense-rate=0.1-s12"]
    assert upstream_names({"policy": "base", "note": "seed-s0", "file": "10_sft"}) == []


def test_runs_that_name_each_other_are_an_error_that_shows_the_circle(grpo):
    grpo.notebook("10_sft", parameters='policy: str = "base"  # start\n')
    grpo.params("10_sft-s0", "policy: 30_grpo-s0\n")
    with pytest.raises(ValueError, match="10_sft-s0 -> 30_grpo-s0 -> 10_sft-s0"):
        Fingerprints("tiny").of("10_sft-s0")


def test_other_packages_are_told_however_deep_they_are_imported(grpo):
    grpo.write("lib/rewards.py", "def f():\n    import numpy.linalg\n")
    assert {"torch", "numpy"} <= Fingerprints("tiny").packages("30_grpo")
    assert not {"torch", "numpy"} & Fingerprints("tiny").packages("10_sft")


def finish(repository, run, upstream=None):
    """As run.finish leaves it: results and a stamp."""
    folder = repository.folder(run)
    (folder / "model").mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text("{}")
    write_stamp(folder, Fingerprints("tiny").of(run), upstream or {})
    return folder


def reasons(run):
    return Fingerprints("tiny").reasons(run)


def test_a_run_is_due_until_it_has_finished_on_this_machine(grpo):
    assert reasons("10_sft-s0") == ["never run here"]
    grpo.write("artifacts/tiny/10_sft-s0/summary.json", "{}")  # evidence from a clone, without a stamp
    assert reasons("10_sft-s0") == ["never run here"]
    finish(grpo, "10_sft-s0")
    assert reasons("10_sft-s0") == []


def test_a_notebook_that_only_starts_a_run_depends_on_seeding_alone(repository):
    repository.notebook("90_report", "from lib.runs import start")
    repository.params("90_report-s0")
    assert set(Fingerprints("tiny").of("90_report-s0").lib) == {"lib", "lib.runs.environment"}


def test_the_whole_judge_is_an_input_of_whoever_uses_it(repository):
    repository.notebook("02_judge", "from lib.judge import Judge")
    repository.params("02_judge-s0")
    files = (path.relative_to(repository.root) for path in (repository.root / "lib/judge").rglob("[a-z]*.py"))
    modules = {".".join(path.with_suffix("").parts) for path in files}
    unused = ("lib.judge.cost.", "lib.judge.conformance.", "lib.judge.answers", "lib.judge.fences")
    modules = {name for name in modules if not name.startswith(unused)}  # no verdict depends on these
    selftest = {"lib.judge.conformance.selftest", "lib/judge/conformance/gallery.toml"}
    assert modules | selftest <= Fingerprints("tiny").of("02_judge-s0").lib.keys()


def test_the_reason_names_what_changed(grpo):
    finish(grpo, "10_sft-s0")
    finish(grpo, "30_grpo-s0")
    grpo.write("lib/rewards.py", "dense = None\n")
    grpo.write("params/tiny/preset.yaml", "max_new_tokens: 8\nthreads: 1\n")
    assert reasons("30_grpo-s0") == ["changed: preset threads, lib.rewards, upstream 10_sft-s0"]


def test_lost_weights_make_a_run_due(grpo):
    (finish(grpo, "10_sft-s0") / "model").rmdir()
    assert reasons("10_sft-s0") == ["missing: model"]


def test_an_upstream_run_that_ran_again_makes_a_run_due_although_its_inputs_are_the_same(grpo):
    folder = finish(grpo, "10_sft-s0")
    mark = json.loads((folder / ".local.json").read_text())["finished"]
    finish(grpo, "30_grpo-s0", upstream={"10_sft-s0": mark})
    assert reasons("30_grpo-s0") == []
    finish(grpo, "10_sft-s0")
    assert reasons("30_grpo-s0") == ["upstream 10_sft-s0 ran again"]


def test_looking_at_forty_runs_takes_less_than_a_second(grpo):
    for seed in range(40):
        grpo.params(f"30_grpo-s{seed}", f"policy: 10_sft-s0\nseed: {seed}\n")
    began = time.process_time()
    fingerprints = Fingerprints("tiny")
    for seed in range(40):
        assert fingerprints.reasons(f"30_grpo-s{seed}")
        fingerprints.of(f"30_grpo-s{seed}")
    assert time.process_time() - began < 1.0
