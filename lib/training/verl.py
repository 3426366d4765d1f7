"""This project's problems and judge for verl: rows in its parquet schema, and a `custom_reward_function`.

    python -m lib.training.verl tiny_contests train verl/train.parquet

    python -m verl.trainer.main_ppo data.train_files=verl/train.parquet ... \\
        reward.custom_reward_function.path=pkg://lib.training.verl \\
        +reward.custom_reward_function.reward_kwargs.reward=sparse

The schema is that of verl's documentation ("Prepare Data for Post-Training") and of `RLHFDataset` in verl 0.9.1, which
is not a dependency of this project.

If the judge fails, there is no score. verl 0.9.1 can't represent that: with one None among the scores of a batch, its
agent loop drops the rewards of the whole batch, which causes an error later, and its managers turn their own time-outs
into 0. So `compute_score` raises, which ends the training; the judge has tried four times by then.
"""

import functools
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from lib.judge import Judge, require_self_test
from lib.metrics import JudgeFailure
from lib.policy.prompts import extract, messages
from lib.problems import Problem, Problems, RoleError, Test, load_problems, role_of
from lib.problems.quality import reliable
from lib.rewards import Sample, make_reward

_NOT_JUDGED_BY = ("solutions", "incorrect_solutions", "tags")


def rows(problems: list[Problem], instruction: str = "") -> list[dict]:
    """One row of verl's schema per problem. `ground_truth` is a string, as verl's rewards for code expect: the problem
    as the judge needs it, in JSON, without any solution."""
    return [
        {
            "data_source": problem.dataset,
            "prompt": messages(problem, instruction),
            "ability": "code",
            "reward_model": {"style": "rule", "ground_truth": _to_json(problem)},
            "extra_info": {
                "split": problem.split,
                "index": index,
                "problem_id": problem.id,
                "difficulty": problem.difficulty,
            },
        }
        for index, problem in enumerate(problems)
    ]


def export(name: str, split: str, path: Path, instruction: str = "") -> Problems:
    """Writes a frozen set as a parquet file for verl, atomically; returns its problems.

    Raises RoleError for a test set, since verl would train on it, and what `load_problems` raises.
    """
    from datasets import Dataset  # here: a reward worker of verl needs no more than the judge

    if role_of(name, split) == "test":
        raise RoleError(
            f"{name}, split {split}, is a test set: evaluate it with lib.evaluation.evaluate when all training is done"
        )
    problems = load_problems(name, split)
    if role_of(name, split) == "train":
        problems = reliable(problems, name, split)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        whole = Path(folder) / path.name
        Dataset.from_list(rows(problems, instruction)).to_parquet(whole)
        whole.replace(path)
    return problems


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict | None = None,
    reward: str | Mapping[str, float] = "dense",
) -> dict[str, float]:
    """The reward of one answer: `score`, and its parts under names that are the same for every answer.

    `reward`: what `lib.rewards.make_reward` takes; verl passes it among the `reward_kwargs`. verl does not say how many
    tokens an answer has, so that `soft_overlong` raises: use verl's own `overlong_buffer`. The answers of one worker
    process are judged one after the other (verl starts eight of them). Raises JudgeFailure when the judge failed,
    SelfTestError when this machine's judge is not fit to give rewards, ValueError for a ground truth that is not from
    `rows`.
    """
    problem, extraction = _problem(ground_truth), extract(solution_str)
    verdict = _judge().judge(extraction.program, problem)
    sample = Sample(solution_str, 0, False, extraction.program, verdict, problem, extraction.format_ok)
    result = make_reward(reward)(sample)
    if result.value is None:
        raise JudgeFailure(f"{problem.id} of {data_source}: no score, since {verdict.feedback or 'the judge failed'}")
    return {"score": result.value, **result.parts}


def _to_json(problem: Problem) -> str:
    return json.dumps({name: value for name, value in asdict(problem).items() if name not in _NOT_JUDGED_BY})


@functools.lru_cache(maxsize=256)  # the samples of a group come one by one; the judge knows a problem by identity
def _problem(ground_truth: str) -> Problem:
    try:
        fields = json.loads(ground_truth)
        return Problem(**fields | {"tests": tuple(Test(**test) for test in fields["tests"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"the ground truth was not written by lib.training.verl.rows ({error!r}): export again"
        ) from None


@functools.cache
def _judge() -> Judge:
    judge = Judge(workers=1)
    require_self_test(judge)
    return judge


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python -m lib.training.verl SET SPLIT FILE.parquet")
    print(f"{len(export(sys.argv[1], sys.argv[2], Path(sys.argv[3])))} problems")
