"""GRPO on code with TRL's GRPOTrainer: sampled programs, rewards from the judge, a curve with a row per step.

Differences from TRL's defaults:
1. Rollouts come from `lib.policy.generation` through `rollout_func`. Finished sequences are removed from the batch,
   which on two CPU cores is several times faster than `model.generate`. Samples depend only on the seed and the step.
2. Judging starts once sampling ends and overlaps with the reference model's forward pass; otherwise one of two CPU
   cores would be idle for much of the time.
3. A reward of None (the judge failed) never becomes 0; a step with too many of them ends the training.
"""

import os
import time
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from statistics import fmean
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from torch import distributed
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from trl import GRPOTrainer

from lib.evaluation.sampling import judged_sample
from lib.judge import Judge, Verdict
from lib.judge.answers import extract
from lib.judge.verdict import ERROR_TYPES
from lib.metrics import MAX_JUDGE_FAILURES, require_judge
from lib.policy.generation import end_tokens, generate, sampling_dtype
from lib.policy.likelihood import log_probabilities
from lib.policy.prompts import messages, prompt_ids
from lib.problems import Problem
from lib.problems.manifest import version
from lib.rewards import RewardFunction, make_reward
from lib.runs.paths import json_lines, write_atomically
from lib.training.config import TrainingConfig
from lib.training.curriculum import order_problems
from lib.training.early_stop import EarlyStop
from lib.training.launch import launched
from lib.training.resume import train
from lib.training.rloo import RLOO, Costs
from lib.training.shared_prefix import SharedPrefixTrainer

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # `rollout_func` is called experimental; the version is pinned
LOGGED_STEPS, LOGGED_SAMPLES = 10, 4  # log about 4 completions at about 10 steps of a training

STEP_PARTS = ("generate", "judge", "judging", "update", "step")
ONLINE_SHOWN = ("reward", "kl")  # in the printed lines

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
    "shared_prefix": "shared_prefix",  # 1: each prompt was read once, 0: once per completion
}
CURVE = POLICY_CURVE | {
    "completions/clipped_ratio": "truncation_rate",
    **{f"{name}_rate": f"{name}_rate" for name in ERROR_TYPES},
    **{f"{part}_s": f"{part}_s" for part in STEP_PARTS},
    "minutes": "minutes",
}


class Rollouts(TrainerCallback):
    """The samples of each step and their rewards: `sample` is TRL's `rollout_func`, the object its reward function.

    As a callback it logs the seconds that each part of a step took (update: the rest of the step) and, at some steps, a
    few completions. They are part of the trainer state and are restored from the checkpoint. Samples come from
    `lib.policy.generation`, or from the trainer's vLLM, whose random state is independent of the seed. `ends`: the end
    tokens; a completion without one was truncated. `costs`: measures accepted programs for the reward. Raises
    lib.metrics.JudgeFailure above MAX_JUDGE_FAILURES.
    """

    def __init__(
        self,
        problems: list[Problem],
        judge: Judge,
        reward: RewardFunction,
        args: Any,
        instruction: str,
        ends: list,
        costs: Costs | None = None,
    ):
        self.costs, self.step = costs, 0
        self.judge, self.reward, self.args, self.ends = judge, reward, args, ends
        self.problems = {problem.id: problem for problem in problems}
        # TRL passes prompts without their columns. If two problems have the same prompt, early judging may pick the
        # wrong problem; those completions are judged again with the right one.
        self.problem_ids = {messages(problem, instruction)[-1]["content"]: problem.id for problem in problems}
        self.__name__ = getattr(reward, "__name__", "reward")
        self.seconds: dict[str, float] = defaultdict(float)  # of this step
        self.completions: list[dict] = []  # some of the latest step, for the log
        self.sampling: dict = {}  # the sampler's precision and its mean distance to the trainer's log-probabilities
        self._thread = ThreadPoolExecutor(1)
        self._pending: tuple[list[tuple[str, str]], Any] = [], None

    def sample(self, prompts: list, trainer: GRPOTrainer | RLOO) -> dict:
        """Samples a completion per prompt entry (prompts arrive already repeated) and starts judging them."""
        started = time.perf_counter()
        tokenizer: Any = trainer.processing_class
        ids = [prompt_ids(tokenizer, prompt) for prompt in prompts]
        logprobs = None
        if trainer.use_vllm:
            _, written, scores, _ = trainer.vllm_generation.generate(ids, None, trainer.num_generations)  # ty: ignore[invalid-argument-type]  # set for every trainer
            texts = tokenizer.batch_decode(written, skip_special_tokens=True)
            logprobs = [[candidates[0] for candidates in row] for row in scores]  # of the token that was sampled
        else:
            seed = self.args.seed * 1_000_003 + trainer.state.global_step
            model: Any = trainer.accelerator.unwrap_model(trainer.model)
            dtype = sampling_dtype(model) if self.args.bf16 else model.dtype
            groups = generate(
                model,
                tokenizer,
                prompts,
                dtype=dtype,
                max_new_tokens=self.args.max_completion_length,
                temperature=self.args.temperature,
                seed=seed * trainer.args.world_size + trainer.args.process_index,  # a different seed in each process
            )
            written, texts = [list(answer.ids) for [answer] in groups], [answer.text for [answer] in groups]
            logprobs = [list(answer.logprobs) for [answer] in groups]
            self.sampling = {"sampling_dtype": str(dtype).removeprefix("torch.")}
            if self._logged(trainer.state.global_step + 1, trainer.state.max_steps):
                shown = range(0, len(groups), max(1, len(groups) // LOGGED_SAMPLES))
                rows = [(ids[place], written[place]) for place in shown]
                trained = log_probabilities(model, rows, tokenizer.pad_token_id, self.args.temperature)
                sampled = torch.tensor([value for place in shown for value in logprobs[place]])
                self.sampling["logp_difference"] = (trained - sampled).abs().mean().item()
        self._begin(texts, [self.problem_ids[prompt[-1]["content"]] for prompt in prompts])
        self.seconds["generate"] += time.perf_counter() - started
        return {"prompt_ids": ids, "completion_ids": written, "logprobs": logprobs}

    def __call__(self, completions, completion_ids, problem_id, log_metric, **_) -> list[float | None]:
        """The reward of each completion, None where the judge failed."""
        started = time.perf_counter()
        verdicts = self._verdicts([completion[-1]["content"] for completion in completions], problem_id)
        for name in ERROR_TYPES:
            log_metric(f"{name}_rate", fmean(verdict.error_type == name for verdict in verdicts))
        require_judge(verdicts, MAX_JUDGE_FAILURES, over_processes)
        problems, limit = [self.problems[name] for name in problem_id], self.args.max_completion_length
        block = self.judge.answer_block
        samples = [
            judged_sample(problem, completion[-1]["content"], len(ids), verdict, limit, ids[-1] not in self.ends, block)
            for problem, completion, ids, verdict in zip(problems, completions, completion_ids, verdicts, strict=True)
        ]
        rewards = [self.reward(self.costs.attached(sample) if self.costs else sample) for sample in samples]
        for name in sorted({name for reward in rewards for name in reward.parts}):
            log_metric(f"reward/{name}", fmean(reward.parts[name] for reward in rewards if name in reward.parts))
        self.completions = [
            {
                "problem_id": sample.problem.id,
                "completion": sample.completion,
                "program": sample.program,
                "in_form": sample.format_ok,
                "reward": reward.value,
                "parts": reward.parts,
                "error_type": sample.verdict.error_type,
                "pass_ratio": sample.verdict.pass_ratio,
                "tokens": sample.tokens,
            }
            for sample, reward in list(zip(samples, rewards, strict=True))[:: max(1, len(samples) // LOGGED_SAMPLES)]
        ]
        self.seconds["judge"] += time.perf_counter() - started
        return [reward.value for reward in rewards]

    def _submissions(self, texts: list[str], problem_ids: list[str]) -> list[tuple[str, str]]:
        block = self.judge.answer_block
        return [(extract(text, block).program, problem) for text, problem in zip(texts, problem_ids, strict=True)]

    def _begin(self, texts: list[str], problem_ids: list[str]) -> None:
        submissions = self._submissions(texts, problem_ids)
        self._pending = submissions, self._thread.submit(self._judge, submissions)

    def _verdicts(self, texts: list[str], problem_ids: list[str]) -> list[Verdict]:
        """Waits for the judge, which has begun with other problems if some have the same prompt."""
        begun, future = self._pending
        if begun != self._submissions(texts, problem_ids):
            self._begin(texts, problem_ids)
            _, future = self._pending
        self._pending = [], None
        return future.result()

    def _judge(self, submissions: list[tuple[str, str]]) -> list[Verdict]:
        started = time.perf_counter()
        pairs = [(program, self.problems[problem]) for program, problem in submissions]
        verdicts = self.judge.judge_many(pairs, progress=False)
        if self.costs:
            self.costs.measure(pairs, verdicts, self.step)
        self.seconds["judging"] += time.perf_counter() - started
        return verdicts

    def on_step_begin(self, args, state, control, **_):
        self.started, self.seconds, self.step = time.perf_counter(), defaultdict(float), state.global_step

    def on_step_end(self, args, state, control, **_):
        # without the evaluation of early stopping, which follows
        self.seconds["step"] = time.perf_counter() - self.started
        self.seconds["update"] = self.seconds["step"] - self.seconds["generate"] - self.seconds["judge"]

    def on_log(self, args, state, control, logs: Any = None, **_):
        if "reward" not in logs:
            return
        for name in STEP_PARTS:
            logs[f"{name}_s"] = state.log_history[-1][f"{name}_s"] = round(self.seconds[name], 3)
        if self._logged(state.global_step, state.max_steps):
            state.log_history[-1]["sampled"] = [row | self.sampling for row in self.completions]

    @staticmethod
    def _logged(step: int, steps: int) -> bool:
        return step == 1 or step % max(1, steps // LOGGED_STEPS) == 0


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
    costs: Costs | None = None,
) -> pd.DataFrame:
    """Trains `model` in place; returns the curve, one row per step: reward and its parts, KL, verdict rates, timings.

    The algorithm is the `kind` of the config: "grpo", or "rloo" (`lib.training.rloo`).
    `reward`: what `lib.rewards.make_reward` takes, or a reward function. `early_stop` evaluates during the training and
    may end it; with `launch` in the config it evaluates the saved checkpoints afterwards. `costs`: for rewards of what
    accepted programs cost. With `launch`, each process samples and judges its part of the batch, judge failures count
    over all of them, and times are those of the main process.
    """
    if config.launch:
        if costs:
            raise ValueError("costs are measured by one process only: leave `launch` out of the preset")
        arguments = {"problems": problems, "judge": judge, "reward": reward}
        arguments |= {"instruction": instruction, "curriculum": curriculum}
        return launched(train_grpo, model, tokenizer, config, arguments, early_stop)
    args = config.build()
    per_step = args.generation_batch_size // args.num_generations
    ordered = order_problems(problems, per_step, args.max_steps, curriculum, args.seed)
    rows = [{"prompt": messages(problem, instruction), "problem_id": problem.id} for problem in ordered]
    function: Any = reward if callable(reward) else make_reward(reward)
    ends = end_tokens(model.generation_config, tokenizer) if model else []
    rollouts = Rollouts(problems, judge, function, args, instruction, ends, costs)
    trainer = online_trainer(model, tokenizer, rows, rollouts, args, config, callbacks=[rollouts])
    data = (rows, version(problems), rollouts.__name__, judge.answer_block, *([costs.meter.tier] if costs else []))
    columns = {name: column for name, column in CURVE.items() if args.beta or name != "kl"}  # 0: there is no reference
    shown = tuple(name for name in ONLINE_SHOWN if name in columns)
    curve = train(trainer, config, columns, shown=shown, data=data, early_stop=early_stop)
    if config.completions and trainer.accelerator.is_main_process:
        log: list[dict[str, Any]] = trainer.state.log_history
        sampled = [{"step": entry["step"], **row} for entry in log for row in entry.get("sampled", ())]
        write_atomically(config.completions, json_lines(sampled))
    return with_tokens(curve, args.generation_batch_size)


def online_trainer(
    model, tokenizer, rows: list[dict], rollouts: Any, args, config: TrainingConfig, **options
) -> GRPOTrainer | RLOO:
    """TRL's trainer on `rows`, with `rollouts.sample` as its rollout function and `rollouts` as its reward function."""
    return (RLOO if config.kind == "rloo" else SharedPrefixTrainer)(
        model=model,
        args=args,
        reward_funcs=rollouts,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        rollout_func=rollouts.sample,
        peft_config=config.adapters(),
        **options,
    )


def over_processes(counts: list[int]) -> list[int]:
    """Adds counts up over all processes of a training; every process must call it. Alone, returns them unchanged."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return counts
    on_gpu = distributed.get_backend() == "nccl"
    total = torch.tensor(counts, device=torch.device("cuda", torch.cuda.current_device()) if on_gpu else "cpu")
    distributed.all_reduce(total)
    return total.tolist()


def with_tokens(curve: pd.DataFrame, completions_per_step: int) -> pd.DataFrame:
    """Adds `tokens` to the curve: the number generated up to each step, over all processes."""
    return curve.assign(tokens=(curve.completion_tokens * completions_per_step).round().cumsum().astype(int))
