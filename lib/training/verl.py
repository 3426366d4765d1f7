"""This project's problems and judge for verl: rows in its parquet schema, and a `custom_reward_function`.

    python -m lib.training.verl tiny_contests train verl/train.parquet

    python -m verl.trainer.main_ppo data.train_files=verl/train.parquet ... \\
        reward.custom_reward_function.path=pkg://lib.training.verl \\
        +reward.custom_reward_function.reward_kwargs.reward=sparse

The schema is that of verl's documentation ("Prepare Data for Post-Training") and of `RLHFDataset` in verl 0.9.1, which
is not a dependency of this project.

If the judge fails, there is no score. verl 0.9.1 can't represent that: with one None among the scores of a batch, its
agent loop drops the rewards of the whole batch, which causes an error later, and its managers turn their own time-outs
into 0. So `compute_score` raises, and verl leaves the group of that answer out. That does not end the training. The
limit of judge failures, over the answers of all reward workers, is enforced from outside:

    python -m lib.training.verl watch FOLDER python -m verl.trainer.main_ppo ... \\
        +reward.custom_reward_function.reward_kwargs.tally=FOLDER

Every worker counts its answers in FOLDER (an absolute path that all nodes share); `watch` ends the training above the
limit.
"""

import contextlib
import functools
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from lib.judge import Judge, require_self_test
from lib.judge.answers import extract
from lib.metrics import MAX_JUDGE_FAILURES, JudgeFailure
from lib.policy.prompts import messages
from lib.problems import Problem, Problems, RoleError, Test, load_problems, role_of
from lib.problems.manifest import reliable
from lib.rewards import Sample, make_reward
from lib.runs.paths import write_atomically

WINDOW = 64  # answers between two checks of the limit, at least
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
    content = io.BytesIO()
    Dataset.from_list(rows(problems, instruction)).to_parquet(content)
    write_atomically(path, content.getvalue())
    return problems


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict | None = None,
    reward: str | Mapping[str, float] = "dense",
    tally: str | None = None,
    answer_block: str = "last",
) -> dict[str, float]:
    """The reward of one answer: `score`, and its parts under names that are the same for every answer.

    `reward`: what `lib.rewards.make_reward` takes; `tally`: the folder that `watch` reads; `answer_block`: as that of
    `Judge`; verl passes them among the `reward_kwargs`. verl does not say how many tokens an answer has, so that
    `soft_overlong` raises: use verl's own `overlong_buffer`. Raises JudgeFailure when the judge failed, SelfTestError
    when this machine's judge is not fit to give rewards, ValueError for a ground truth that is not from `rows`.
    """
    problem, extraction = _problem(ground_truth), extract(solution_str, answer_block)
    verdict = _judge().judge(extraction.program, problem)
    sample = Sample(solution_str, 0, False, extraction.program, verdict, problem, extraction.format_ok)
    result = make_reward(reward)(sample)
    if tally:
        with open(Path(tally, f"{socket.gethostname()}-{os.getpid()}"), "a") as file:
            file.write("." if result.value is not None else "x")
    if result.value is None:
        raise JudgeFailure(f"{problem.id} of {data_source}: no score, since {verdict.feedback or 'the judge failed'}")
    return {"score": result.value, **result.parts}


def watch(tally: Path, command: list[str], pause: float = 1.0) -> int:
    """Runs verl's trainer and returns its exit code. Ends it and raises JudgeFailure when the judge has failed on more
    than MAX_JUDGE_FAILURES of the answers since the last check, at least WINDOW of them."""
    tally.mkdir(parents=True, exist_ok=True)
    checked = _tallied(tally)  # of an earlier attempt
    trainer = subprocess.Popen(command, start_new_session=True)
    try:
        while trainer.poll() is None:
            time.sleep(pause)
            now = _tallied(tally)
            failed, total = now[0] - checked[0], now[1] - checked[1]
            if total >= WINDOW:
                checked = now
                if failed > MAX_JUDGE_FAILURES * total:
                    raise JudgeFailure(
                        f"the judge failed on {failed} of {total} answers (at most {MAX_JUDGE_FAILURES:.0%} may), and "
                        "the training was ended: repair the judge and resume from the last checkpoint"
                    )
        return trainer.returncode
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(trainer.pid, signal.SIGKILL)
        trainer.wait()


def _tallied(folder: Path) -> tuple[int, int]:
    """How often the judge failed, and the number of answers, over all workers."""
    marks = [file.read_text() for file in folder.iterdir()]
    return sum(text.count("x") for text in marks), sum(map(len, marks))


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
    if len(sys.argv) > 3 and sys.argv[1] == "watch":
        sys.exit(watch(Path(sys.argv[2]), sys.argv[3:]))
    if len(sys.argv) != 4:
        sys.exit("usage: python -m lib.training.verl SET SPLIT FILE.parquet, or watch FOLDER COMMAND ...")
    print(f"{len(export(sys.argv[1], sys.argv[2], Path(sys.argv[3])))} problems")
