from lib.evaluation.checkpoints import due_sets
from lib.runs.params_files import load_params_file
from lib.runs.paths import root

SETS = {
    "train": {"source": "tiny_contests", "split": "train", "role": "train"},
    "valid": {"source": "tiny_contests", "split": "valid", "role": "select", "every": 500},
    "valid_big": {"source": "tiny_contests", "split": "valid_big", "role": "select", "every": 2000},
    "test": {"source": "tiny_contests", "split": "test", "role": "test"},
}


def test_a_checkpoint_is_measured_on_each_set_at_the_steps_of_the_set_and_at_the_end():
    due = {step: due_sets({"sets": SETS}, step, last=4100) for step in (500, 700, 2000, 2500, 4100)}
    both = ["valid", "valid_big"]
    assert due == {500: ["valid"], 700: [], 2000: both, 2500: ["valid"], 4100: both}


def test_the_schedule_of_the_presets_names_no_test_and_no_train_set():
    for file in (root() / "params").glob("*/preset.yaml"):
        preset = load_params_file(file)
        last = due_sets(preset, 1, last=1)
        assert last == [f"{preset['main']}_valid", f"{preset['main']}_valid_big", "mbpp"]
        assert {preset["sets"][name]["role"] for name in last} == {"select", "monitor"}
