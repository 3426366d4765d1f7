"""The environment of a run: seeds, quiet libraries, and what is recorded of the machine."""

import random
import subprocess
import sys

import numpy
import pytest

from lib.runs import environment

IMPORT = "import huggingface_hub.constants"  # datasets and transformers look there


def python(*lines: str) -> str:
    """The last line that a fresh interpreter prints."""
    program = "\n".join(["import os", "from lib.runs import environment", *lines])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_the_seed_reaches_python_and_numpy():
    def draw(seed):
        environment.seed_everything(seed, None, set())
        return random.random(), numpy.random.rand()

    assert draw(5) == draw(5)
    assert draw(5) != draw(6)


def test_torch_is_loaded_and_seeded_only_where_it_is_used():
    shown = python(
        "import sys",
        "environment.seed_everything(7, 1, {'numpy', 'pandas'})",
        "before = 'torch' in sys.modules",
        "environment.seed_everything(7, 1, {'trl'})",
        "first = sys.modules['torch'].initial_seed()",
        "environment.seed_everything(8, 1, set())",
        "print(before, first, sys.modules['torch'].initial_seed())",
    )
    assert shown == "False 7 8", "a notebook that has loaded torch itself is seeded, too"


def test_memory_of_freed_tensors_is_used_again():
    """A tensor of 32 MiB, 8,192 pages, after one of 64 MiB costs no page fault: its pages are those of the first."""
    faults = "resource.getrusage(resource.RUSAGE_SELF).ru_minflt"
    count = ["torch.ones(64 << 18)", f"before = {faults}", "torch.ones(32 << 18)", f"counts.append({faults} - before)"]
    seed = "environment.seed_everything(7, 1, {'trl'})"
    fresh, kept = python("import resource, torch", "counts = []", *count, seed, *count, "print(*counts)").split()
    assert int(fresh) > 8_000
    assert int(kept) < 1_000


@pytest.mark.parametrize("early", [True, False], ids=["imported before", "imported after"])
def test_offline_keeps_the_hub_out(early):
    before, after = (IMPORT, "") if early else ("", IMPORT)
    look = "print(huggingface_hub.constants.HF_HUB_OFFLINE)"
    assert python(before, "environment.keep_quiet(offline=True)", after, look) == "True"


def test_offline_gives_way_to_the_user():
    before = "os.environ['HF_HUB_OFFLINE'] = '0'"
    look = "print(huggingface_hub.constants.HF_HUB_OFFLINE)"
    assert python(before, "environment.keep_quiet(offline=True)", IMPORT, look) == "False"


def test_weights_and_biases_is_off_unless_the_user_wants_it():
    quiet, look = "environment.keep_quiet(offline=False)", "print(os.environ['WANDB_MODE'])"
    assert python("os.environ.pop('WANDB_MODE', None)", quiet, look) == "disabled"
    assert python("os.environ['WANDB_MODE'] = 'offline'", quiet, look) == "offline"


def test_the_commit_is_recorded_and_only_what_a_run_reads_makes_it_dirty(repository):
    def git(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", *identity, *arguments], cwd=repository.root, check=True)

    assert environment.describe()["commit"] is None
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    repository.write("artifacts/tiny/x/summary.json", "{}")
    clean = environment.describe()
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    repository.params("10_sft-s1")
    assert environment.describe()["dirty"] is True


def test_versions_and_machine_are_recorded_without_names_and_paths():
    found = environment.describe()
    assert found["packages"].keys() >= {"torch", "transformers", "trl", "datasets", "numpy", "papermill"}
    assert found["machine"].keys() == {"system", "architecture", "device"}
    assert found["cores"] >= 1
    assert "/" not in str(found).replace("None", "")
