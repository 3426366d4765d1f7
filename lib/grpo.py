"""GRPO on code with TRL's GRPOTrainer: sampled programs, rewards from the judge, the curve of every step.

How it departs from TRL's defaults:
1. Rollouts come from `lib.generate` through `rollout_func`: a row leaves the batch when it ends, which on two CPU cores
   is several times faster than `model.generate`, and the samples depend on the seed and the step alone.
2. A reward of None (the judge failed) never becomes 0; a step with too many of them ends the training.
3. `beta` > 0 keeps the reference model and with it the KL in the log; advantages are scaled per group or not at all.
"""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from lib.generate import generate
from lib.judge import Judge, Verdict
from lib.judge.verdict import ERROR_TYPES
from lib.metrics import require_judge
from lib.problems import Problem
from lib.progress import report_quietly
from lib.prompts import extract, messages

MAX_JUDGE_FAILURES = 0.1  # share of a step's verdicts; more than this and the rewards of the step mean little

# What is kept of TRL's log, and its name in curves.csv. Rates are shares of a step's programs, times are wall seconds.
CURVE = {
    "step": "step",
    "reward": "reward",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "zero_variance_groups",
    "kl": "kl",
    "entropy": "entropy",
    "grad_norm": "grad_norm",
    "completions/mean_length": "completion_tokens",
    "completions/clipped_ratio": "truncation_rate",
    **{f"{name}_rate": f"{name}_rate" for name in ERROR_TYPES},
    **{f"{part}_s": f"{part}_s" for part in ("generate", "judge", "update", "step")},
}


class JudgedReward:
    """A TRL reward function: completions -> programs -> verdicts -> rewards, one float or None each.

    `reward` is one of `lib.rewards.REWARDS`. Raises lib.metrics.JudgeFailure above MAX_JUDGE_FAILURES.
    """

    def __init__(self, judge: Judge, problems: list[Problem], reward: Callable[[Verdict], float | None]):
        self.judge, self.reward = judge, reward
        self.problems = {problem.id: problem for problem in problems}
        self.__name__ = reward.__name__
        self.seconds = 0.0  # wall time spent judging since the last step's end

    def __call__(self, completions, problem_id, log_metric, **_) -> list[float | None]:
        started = time.perf_counter()
        programs = [extract(completion[-1]["content"]).program for completion in completions]
        verdicts = self.judge.judge_many(
            [(program, self.problems[one]) for program, one in zip(programs, problem_id, strict=True)], progress=False
        )
        for name in ERROR_TYPES:
            log_metric(f"{name}_rate", sum(v.error_type == name for v in verdicts) / len(verdicts))
        require_judge(verdicts, MAX_JUDGE_FAILURES)
        rewards = [self.reward(verdict) for verdict in verdicts]
        self.seconds += time.perf_counter() - started
        return rewards


class Rollout:
    """TRL's `rollout_func`: one sampled completion per prompt entry (prompts arrive already repeated)."""

    def __init__(self, max_new_tokens: int, temperature: float, seed: int):
        self.max_new_tokens, self.temperature, self.seed = max_new_tokens, temperature, seed
        self.seconds = 0.0

    def __call__(self, prompts: list, trainer: GRPOTrainer) -> dict:
        started = time.perf_counter()
        tokenizer = trainer.processing_class
        completions = generate(
            trainer.accelerator.unwrap_model(trainer.model),
            tokenizer,
            prompts,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            seed=self.seed * 1_000_003 + trainer.state.global_step,
        )
        self.seconds += time.perf_counter() - started
        return {
            "prompt_ids": [
                tokenizer.apply_chat_template(p, add_generation_prompt=True, return_dict=False) for p in prompts
            ],
            "completion_ids": [list(one.ids) for (one,) in completions],
            "logprobs": None,
        }


class _StepTimes(TrainerCallback):
    """Adds to each log entry where the time of a step went: generate, judge, update (the rest), in seconds."""

    def __init__(self, rollout: Rollout, reward: JudgedReward):
        self.parts = {"generate": rollout, "judge": reward}

    def on_step_begin(self, args, state, control, **_):
        self.started = time.perf_counter()
        for part in self.parts.values():
            part.seconds = 0.0

    def on_log(self, args, state, control, logs=None, **_):
        if "reward" in logs:
            total = time.perf_counter() - self.started
            spent = {name: part.seconds for name, part in self.parts.items()}
            for name, seconds in {**spent, "update": total - sum(spent.values()), "step": total}.items():
                logs[f"{name}_s"] = state.log_history[-1][f"{name}_s"] = round(seconds, 3)


def _in_steps(problems: list[Problem], per_step: int, seed: int) -> list[Problem]:
    """The problems in random order, those of a step all of one kind: statements of like length need little padding."""
    rng = random.Random(seed)
    steps = []
    for kind in sorted({problem.kind for problem in problems}):
        own = [problem for problem in problems if problem.kind == kind]
        rng.shuffle(own)
        steps += [own[i : i + per_step] for i in range(0, len(own) - per_step + 1, per_step)]
    rng.shuffle(steps)
    return [problem for step in steps for problem in step]


def train_grpo(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: list[Problem],
    judge: Judge,
    reward: Callable[[Verdict], float | None],
    folder: Path,
    *,
    steps: int,
    prompts_per_step: int = 8,
    samples: int = 8,
    learning_rate: float = 1e-4,
    beta: float = 0.01,
    max_new_tokens: int = 160,
    temperature: float = 1.0,
    scale_rewards: str = "group",
    instruction: str = "",
    seed: int = 0,
) -> pd.DataFrame:
    """Trains `model` in place; returns the curve, one row per step: rewards, KL, the judge's rates, times."""
    ordered = _in_steps(problems, prompts_per_step, seed)
    rows = [{"prompt": messages(problem, instruction), "problem_id": problem.id} for problem in ordered]
    config = GRPOConfig(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=prompts_per_step * samples,
        num_generations=samples,
        shuffle_dataset=False,
        max_completion_length=max_new_tokens,
        temperature=temperature,
        learning_rate=learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=max(1, steps // 20),
        beta=beta,
        scale_rewards=scale_rewards,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        seed=seed,
        bf16=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
    )
    judged = JudgedReward(judge, problems, reward)
    rollout = Rollout(max_new_tokens, temperature, seed)
    trainer = GRPOTrainer(
        model=model,
        args=config,
        reward_funcs=judged,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        rollout_func=rollout,
        callbacks=[_StepTimes(rollout, judged)],
    )
    report_quietly(trainer, ("reward", "kl"))
    trainer.train()
    log = pd.DataFrame([entry for entry in trainer.state.log_history if "reward" in entry])
    return log[list(CURVE)].rename(columns=CURVE)
