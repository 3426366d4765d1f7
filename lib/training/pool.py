"""The pool of GRPO: the train problems on which samples of the starting policy earn different rewards.

A group with equal rewards has no advantages: GRPO pays for its samples and learns nothing. The solve rates are measured
once, before the training; DAPO (arXiv 2503.14476) draws such groups again in every step instead.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from lib.problems import Problem
from lib.rewards import RewardFunction, Sample
from lib.runs.paths import write_atomically


def measured(file: Path, draw: Callable[[], list[list[Sample]]], reward: RewardFunction) -> pd.DataFrame:
    """A row per problem: its id, the share of accepted samples (`solve_rate`), whether their rewards differ (`varies`),
    and the `tokens` and `seconds` that the samples took. `draw` samples and judges; `file` keeps the table, so that an
    interrupted run does not measure again."""
    if not file.is_file():
        began = time.perf_counter()
        rows = [_row(group, reward) for group in draw()]
        table = pd.DataFrame(rows).assign(seconds=(time.perf_counter() - began) / len(rows))
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, table.to_csv(index=False, lineterminator="\n"))
    return pd.read_csv(file)


def varied(problems: Sequence[Problem], table: pd.DataFrame, least: int) -> list[Problem]:
    """The problems whose samples earned different rewards. Raises ValueError if they are fewer than `least`, a step."""
    ids = set(table.problem_id[table.varies])
    chosen = [problem for problem in problems if problem.id in ids]
    if len(chosen) < least:
        raise ValueError(
            f"the samples of {len(chosen)} of {len(problems)} train problems earn different rewards, and a step needs "
            f"{least} problems: raise pool_samples in preset.yaml, or start from a policy that solves more"
        )
    return chosen


def _row(group: list[Sample], reward: RewardFunction) -> dict:
    values = {reward(sample).value for sample in group} - {None}
    accepted = [sample.verdict.accepted for sample in group if sample.verdict.error_type != "api_error"]
    rate = sum(accepted) / len(accepted) if accepted else None
    tokens = sum(sample.tokens for sample in group)
    return {"problem_id": group[0].problem.id, "solve_rate": rate, "varies": len(values) > 1, "tokens": tokens}
