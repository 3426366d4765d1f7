"""GRPO on code with TRL's GRPOTrainer: sampled programs, rewards from the judge, a curve with a row per step.

Differences from TRL's defaults:
1. Rollouts come from `lib.policy.generation` through `rollout_func`. Finished sequences are removed from the batch,
   which on two CPU cores is several times faster than `model.generate`. Samples depend only on the seed and the step.
2. Judging starts once sampling ends and overlaps with the reference model's forward pass; otherwise one of two CPU
   cores would be idle for much of the time.
3. A reward of None (the judge failed) never becomes 0; a step with too many of them ends the training.
4. `beta` is above 0, so the reference model is kept and the KL is logged. The logged KL uses the same (k3) estimator as
   `lib.training.greedy_probe`.
"""

import os
import random
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from statistics import fmean
from typing import Any

import pandas as pd
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from trl import GRPOTrainer

from lib.evaluation.evaluate import manifest
from lib.judge import Judge, Verdict
from lib.judge.verdict import ERROR_TYPES
from lib.metrics import MAX_JUDGE_FAILURES, require_judge
from lib.policy.generation import end_tokens, generate
from lib.policy.prompts import extract, messages
from lib.problems import Problem
from lib.rewards import RewardFunction, make_reward
from lib.runs.paths import json_lines, write_atomically
from lib.training.config import TrainingConfig
from lib.training.early_stop import EarlyStop
from lib.training.launch import launched
from lib.training.resume import read_log, train
from lib.training.sampling import judged_sample, over_processes

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # `rollout_func` is called experimental; the version is pinned
LOGGED_STEPS, LOGGED_SAMPLES = 10, 4  # log about 4 completions at about 10 steps of a training

# Columns of TRL's log that are kept, and their names in curves.csv. Rates are shares of a step's programs, times are
# wall seconds; judge_s is how long the step waited for the judge, judging_s how long the judge worked.
POLICY_CURVE = {  # of every online training
    "step": "step",
    "reward": "reward",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "zero_variance_groups",
    "kl": "kl",
    "entropy": "entropy",
    "grad_norm": "grad_norm",
    "completions/mean_length": "completion_tokens",
}
CURVE = POLICY_CURVE | {
    "completions/clipped_ratio": "truncation_rate",
    **{f"{name}_rate": f"{name}_rate" for name in ERROR_TYPES},
    **{f"{part}_s": f"{part}_s" for part in ("generate", "judge", "judging", "update", "step")},
    "minutes": "minutes",
}


class JudgedReward:
    """A TRL reward function: completions -> programs -> verdicts -> rewards, one float or None each.

    Raises lib.metrics.JudgeFailure above MAX_JUDGE_FAILURES. Use it as a context manager: it owns a thread. `ends`: the
    end tokens; a completion without one was truncated at `max_tokens`.
    """

    def __init__(
        self, judge: Judge, problems: list[Problem], reward: RewardFunction, *, max_tokens: int, ends: list[int]
    ):
        self.judge, self.reward, self.max_tokens, self.ends = judge, reward, max_tokens, ends
        self.problems = {problem.id: problem for problem in problems}
        self.__name__ = getattr(reward, "__name__", "reward")
        # In this step: seconds spent waiting for the judge, and seconds the judge worked.
        self.seconds = self.judging = 0.0
        self.completions: list[dict] = []  # some of the latest step, for the log
        self._thread = ThreadPoolExecutor(1)
        self._pending: tuple[list[tuple[str, str]], Any] = [], None

    def __enter__(self) -> "JudgedReward":
        return self

    def __exit__(self, *_) -> None:
        self._thread.shutdown()

    def begin(self, texts: list[str], problem_ids: list[str]) -> None:
        """Starts judging the completions in the background; computing their rewards waits for it."""
        submissions = [(extract(text).program, problem) for text, problem in zip(texts, problem_ids, strict=True)]
        self._pending = submissions, self._thread.submit(self._judge, submissions)

    def __call__(self, completions, completion_ids, problem_id, log_metric, **_) -> list[float | None]:
        started = time.perf_counter()
        texts = [completion[-1]["content"] for completion in completions]
        submissions = [(extract(text).program, problem) for text, problem in zip(texts, problem_id, strict=True)]
        if self._pending[0] != submissions:
            self.begin(texts, problem_id)
        verdicts, self._pending = self._pending[1].result(), ([], None)
        for name in ERROR_TYPES:
            log_metric(f"{name}_rate", fmean(verdict.error_type == name for verdict in verdicts))
        require_judge(verdicts, MAX_JUDGE_FAILURES, over_processes)
        samples = [
            judged_sample(self.problems[problem], text, len(ids), verdict, self.max_tokens, ids[-1] not in self.ends)
            for problem, text, ids, verdict in zip(problem_id, texts, completion_ids, verdicts, strict=True)
        ]
        rewards = [self.reward(sample) for sample in samples]
        for name in sorted({name for reward in rewards for name in reward.parts}):
            log_metric(f"reward/{name}", fmean(reward.parts[name] for reward in rewards if name in reward.parts))
        chosen = range(0, len(samples), max(1, len(samples) // LOGGED_SAMPLES))
        self.completions = [
            {
                "problem_id": samples[n].problem.id,
                "completion": samples[n].completion,
                "reward": rewards[n].value,
                "parts": rewards[n].parts,
                "error_type": samples[n].verdict.error_type,
                "pass_ratio": samples[n].verdict.pass_ratio,
                "tokens": samples[n].tokens,
            }
            for n in chosen
        ]
        self.seconds += time.perf_counter() - started
        return [reward.value for reward in rewards]

    def _judge(self, submissions: list[tuple[str, str]]) -> list[Verdict]:
        started = time.perf_counter()
        pairs = [(program, self.problems[problem]) for program, problem in submissions]
        verdicts = self.judge.judge_many(pairs, progress=False)
        self.judging += time.perf_counter() - started
        return verdicts


class Rollout:
    """TRL's `rollout_func`: one sampled completion per prompt entry (prompts arrive already repeated).

    Samples with `lib.policy.generation`, or with the trainer's vLLM, whose random state is independent of `seed`.
    """

    def __init__(self, judged: JudgedReward, rows: list[dict], max_new_tokens: int, temperature: float, seed: int):
        self.judged, self.max_new_tokens, self.temperature, self.seed = judged, max_new_tokens, temperature, seed
        # TRL passes prompts without their columns. If two problems have the same prompt, early judging may pick the
        # wrong problem; those completions are judged again with the right one.
        self.problem_ids = {row["prompt"][-1]["content"]: row["problem_id"] for row in rows}
        self.seconds = 0.0

    def __call__(self, prompts: list, trainer: GRPOTrainer) -> dict:
        started = time.perf_counter()
        tokenizer: Any = trainer.processing_class
        ids: list[Any] = [
            tokenizer.apply_chat_template(p, add_generation_prompt=True, return_dict=False) for p in prompts
        ]
        logprobs = None
        if trainer.use_vllm:
            _, written, scores, _ = trainer.vllm_generation.generate(ids, None, trainer.num_generations)  # ty: ignore[invalid-argument-type]  # set for every trainer
            texts = tokenizer.batch_decode(written, skip_special_tokens=True)
            logprobs = [[candidates[0] for candidates in row] for row in scores]  # of the token that was sampled
        else:
            seed = self.seed * 1_000_003 + trainer.state.global_step
            groups = generate(
                trainer.accelerator.unwrap_model(trainer.model),
                tokenizer,
                prompts,
                max_new_tokens=self.max_new_tokens,
                temperature=self.temperature,
                seed=seed * trainer.args.world_size + trainer.args.process_index,  # a different seed in each process
            )
            written, texts = [list(answer.ids) for [answer] in groups], [answer.text for [answer] in groups]
        self.judged.begin(texts, [self.problem_ids[prompt[-1]["content"]] for prompt in prompts])
        self.seconds += time.perf_counter() - started
        return {"prompt_ids": ids, "completion_ids": written, "logprobs": logprobs}


class _StepLog(TrainerCallback):
    """Logs the seconds that each part of a step took (update: the rest of the step) and, at some steps, a few
    completions. They are part of the trainer state and are restored from the checkpoint."""

    def __init__(self, rollout: Rollout, judged: JudgedReward):
        self.rollout, self.judged = rollout, judged

    def on_step_begin(self, args, state, control, **_):
        self.started = time.perf_counter()
        self.rollout.seconds = self.judged.seconds = self.judged.judging = 0.0

    def on_step_end(self, args, state, control, **_):
        self.step = time.perf_counter() - self.started  # without the evaluation of early stopping, which follows

    def on_log(self, args, state, control, logs: Any = None, **_):
        if "reward" not in logs:
            return
        generated, waited = self.rollout.seconds, self.judged.seconds
        parts = {"generate": generated, "judge": waited, "judging": self.judged.judging}
        for name, seconds in {**parts, "update": self.step - generated - waited, "step": self.step}.items():
            logs[f"{name}_s"] = state.log_history[-1][f"{name}_s"] = round(seconds, 3)
        if state.global_step == 1 or state.global_step % max(1, state.max_steps // LOGGED_STEPS) == 0:
            state.log_history[-1]["sampled"] = self.judged.completions


CURRICULA = ("none", "easy_to_hard")
_RANKS = {
    name: rank
    for scale in (("easy", "medium", "hard", "harder", "hardest"), "ABCDEFGHIJKLMNOPQRSTUV")
    for rank, name in enumerate(scale)
}


def order_problems(problems: list[Problem], per_step: int, steps: int, curriculum: str, seed: int) -> list[Problem]:
    """Orders the problems for `steps` steps of `per_step` problems each.

    Batches contain only stdio or only function problems, in random order; an incomplete last batch of each kind is
    dropped. TRL starts another epoch when they run out. With the curriculum `easy_to_hard`, problems with a known
    difficulty are sorted among their positions; the others keep theirs.
    """
    if curriculum not in CURRICULA:
        raise ValueError(f"curriculum must be one of {', '.join(CURRICULA)}, not {curriculum!r}")
    rng = random.Random(seed)
    batches = []
    for kind in sorted({problem.kind for problem in problems}):
        same_kind = [problem for problem in problems if problem.kind == kind]
        rng.shuffle(same_kind)
        batches += [same_kind[i : i + per_step] for i in range(0, len(same_kind) - per_step + 1, per_step)]
    rng.shuffle(batches)
    drawn = [problem for batch in batches[:steps] for problem in batch]
    if curriculum == "easy_to_hard":
        places = [place for place, problem in enumerate(drawn) if problem.difficulty in _RANKS]
        ranked = sorted((drawn[place] for place in places), key=lambda problem: _RANKS[problem.difficulty])
        for place, problem in zip(places, ranked, strict=True):
            drawn[place] = problem
    return drawn


def train_grpo(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: list[Problem],
    judge: Judge,
    reward: str | Mapping[str, float] | RewardFunction,
    config: TrainingConfig,
    *,
    instruction: str = "",
    curriculum: str = "none",
    early_stop: EarlyStop | None = None,
) -> pd.DataFrame:
    """Trains `model` in place; returns the curve, one row per step.

    Columns: reward and its parts, KL, verdict rates, timings. `reward`: what `lib.rewards.make_reward` takes, or a
    reward function. `curriculum`: one of CURRICULA. `early_stop` evaluates during the training and may end it; with
    `launch` in the config it evaluates the saved checkpoints afterwards. With `launch`, each process samples and judges
    its part of the batch, and judge failures count over all of them; times are those of the main process. With sharded
    weights, vLLM must generate the samples (`use_vllm`).
    """
    if config.launch:
        arguments = {"problems": problems, "judge": judge, "reward": reward}
        arguments |= {"instruction": instruction, "curriculum": curriculum}
        return launched(train_grpo, model, tokenizer, config, arguments, early_stop)
    args = config.build()
    per_step = args.generation_batch_size // args.num_generations
    ordered = order_problems(problems, per_step, args.max_steps, curriculum, args.seed)
    rows = [{"prompt": messages(problem, instruction), "problem_id": problem.id} for problem in ordered]
    function: Any = reward if callable(reward) else make_reward(reward)
    ends = end_tokens(model.generation_config, tokenizer) if model else []
    with JudgedReward(judge, problems, function, max_tokens=args.max_completion_length, ends=ends) as judged:
        rollout = Rollout(judged, rows, args.max_completion_length, args.temperature, args.seed)
        trainer = GRPOTrainer(
            model=model,
            args=args,
            reward_funcs=judged,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            rollout_func=rollout,
            peft_config=config.adapters(),
            callbacks=[_StepLog(rollout, judged), *([early_stop] if early_stop else [])],
        )
        if early_stop:
            early_stop.start(trainer.model, config.scratch if config.save_steps else None)
        train(trainer, ("reward", "kl"), config.scratch, (rows, manifest(problems), judged.__name__))
    log: list[dict[str, Any]] = trainer.state.log_history
    if config.completions and trainer.accelerator.is_main_process:
        sampled = [{"step": entry["step"], **row} for entry in log for row in entry.get("sampled", ())]
        write_atomically(config.completions, json_lines(sampled))
    return with_tokens(read_log(trainer, CURVE | part_columns(log)), args.generation_batch_size)


def part_columns(log: list[dict]) -> dict[str, str]:
    """The columns of a trainer's log that contain parts of rewards."""
    return {name: name for entry in log for name in entry if name.startswith("reward/")}


def with_tokens(curve: pd.DataFrame, completions_per_step: int) -> pd.DataFrame:
    """Adds `tokens` to the curve: the number generated up to each step, over all processes."""
    return curve.assign(tokens=(curve.completion_tokens * completions_per_step).round().cumsum().astype(int))
