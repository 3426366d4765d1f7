"""Our problems and our judge for verl: rows in its parquet schema, and the reward as its `custom_reward_function`.

    python -m lib.training.verl tiny_contests train verl/train.parquet

    python -m verl.trainer.main_ppo data.train_files=verl/train.parquet ... \\
        reward.custom_reward_function.path=pkg://lib.training.verl \\
        +reward.custom_reward_function.reward_kwargs.reward=sparse

The schema is that of verl's documentation ("Prepare Data for Post-Training") and of `RLHFDataset` in verl 0.9.1, which
is no dependency of this project.

A judge that failed has no score. verl 0.9.1 has no word for that: with one None among the scores of a batch its agent
loop leaves the rewards of the whole batch out, which fails later and elsewhere, and its managers turn their own
time-outs into 0. So `compute_score` raises, which ends the training; the judge has tried four times by then.
"""

import functools
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from lib.judge import Judge, require_self_test
from lib.metrics import JudgeFailure
from lib.policy.prompts import extract, messages
from lib.problems import Problem, Problems, Test, load_problems, role_of
from lib.problems.ledger import RoleError
from lib.problems.quality import reliable
from lib.rewards import score

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
    """Writes a frozen set as a parquet file for verl, which appears all at once; returns what is in it.

    Raises RoleError for a test set, since verl would look at it while training; else as `load_problems`.
    """
    from datasets import Dataset  # here: a reward worker of verl needs no more than the judge

    if role_of(name, split) == "test":
        raise RoleError(
            f"{name}, split {split}, is a test set: measure it with lib.evaluation.evaluate when all training is done"
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
    reward: str = "dense",
) -> dict[str, float]:
    """The reward of one answer: `score`, and its parts under names that are the same for every answer.

    `reward` is one of lib.rewards.REWARDS; verl passes it as one of the `reward_kwargs`. Answers of one worker process
    are judged one after the other (verl starts eight of them). Raises JudgeFailure when the judge failed, SelfTestError
    when this machine's judge is not fit to pay rewards, ValueError for a ground truth that is none of `rows`.
    """
    problem = _problem(ground_truth)
    verdict = _judge().judge(extract(solution_str).program, problem)
    found = score(verdict, problem, reward)
    if found.value is None:
        raise JudgeFailure(f"{problem.id} of {data_source}: no score, since {verdict.feedback or 'the judge failed'}")
    return {"score": found.value, **found.parts}


def _to_json(problem: Problem) -> str:
    return json.dumps({name: value for name, value in asdict(problem).items() if name not in _NOT_JUDGED_BY})


@functools.lru_cache(maxsize=256)  # the samples of a group come one by one; the judge knows a problem by identity
def _problem(ground_truth: str) -> Problem:
    try:
        fields = json.loads(ground_truth)
        return Problem(**fields | {"tests": tuple(Test(**test) for test in fields["tests"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"the ground truth is no problem of lib.training.verl.rows ({error!r}): export again"
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
