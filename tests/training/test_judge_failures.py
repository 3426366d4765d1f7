"""The limit of judge failures counts over the whole step: over the verdicts of all processes of a training."""

import pytest
import torch
from torch import distributed, multiprocessing

from lib.judge import Verdict
from lib.metrics import JudgeFailure, require_judge
from lib.training.grpo import over_processes


def verdicts(failed: int, of: int = 8) -> list[Verdict]:
    failure = Verdict(False, 0.0, "api_error", 0, 1, 0.0, feedback="no worker left")
    return [failure] * failed + [Verdict(True, 1.0, "success", 1, 1, 0.0)] * (of - failed)


def two_steps(rank: int, folder: str, failures: list[list[int]]) -> None:
    """One of two processes: writes for each step what the check of the limit, 10 %, said."""
    torch.set_num_threads(1)  # a forked process has no other threads
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for number, failed in enumerate(failures):
        try:
            require_judge(verdicts(failed[rank]), 0.1, over_processes)
            text = "goes on"
        except JudgeFailure as error:
            text = str(error)
        with open(f"{folder}/{number}-{rank}.txt", "w") as file:
            file.write(text)
    distributed.destroy_process_group()


def test_all_processes_of_a_step_go_on_together_or_end_together(tmp_path):
    fork = {"nprocs": 2, "start_method": "fork"}  # so that they import nothing
    multiprocessing.start_processes(two_steps, (str(tmp_path), [[0, 1], [0, 2]]), **fork)
    texts = {file.stem: file.read_text() for file in tmp_path.glob("*.txt")}
    assert texts["0-0"] == texts["0-1"] == "goes on", "12.5 % of one process, 6.25 % of the step"
    assert "2 of 16 programs (at most 10% may); the first time: in another process" in texts["1-0"]
    assert "2 of 16 programs (at most 10% may); the first time: no worker left" in texts["1-1"]


def test_a_process_alone_counts_its_own_verdicts():
    with pytest.raises(JudgeFailure, match="1 of 8 programs"):
        require_judge(verdicts(1), 0.1, over_processes)
    require_judge(verdicts(1, of=10), 0.1, over_processes)
