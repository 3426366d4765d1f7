"""GRPO on code with TRL's GRPOTrainer: sampled programs, rewards from the judge, the curve of every step.

How it departs from TRL's defaults:
1. Rollouts come from `lib.policy.generation` through `rollout_func`: a row leaves the batch when it ends, which on two CPU cores
   is several times faster than `model.generate`, and the samples depend on the seed and the step alone.
2. The judge begins when the samples are written and works while the reference model reads them: of two CPU cores one
   would be idle for much of that time.
3. A reward of None (the judge failed) never becomes 0; a step with too many of them ends the training.
4. `beta` > 0 keeps the reference model and with it the KL in the log; advantages are scaled per group or not at all.
"""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from lib.evaluation.evaluate import manifest
from lib.judge import Judge, Verdict
from lib.judge.verdict import ERROR_TYPES
from lib.metrics import require_judge
from lib.policy.generation import generate
from lib.policy.prompts import extract, messages
from lib.problems import Problem
from lib.training import config as training
from lib.training.launch import launched

MAX_JUDGE_FAILURES = 0.1  # share of a step's verdicts; more than this and the rewards of the step mean little

# What is kept of TRL's log, and its name in curves.csv. Rates are shares of a step's programs, times are wall seconds;
# judge_s is how long the step waited for the judge, judging_s how long the judge worked.
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
    **{f"{part}_s": f"{part}_s" for part in ("generate", "judge", "judging", "update", "step")},
}


class JudgedReward:
    """A TRL reward function: completions -> programs -> verdicts -> rewards, one float or None each.

    `reward` is one of the values of `lib.rewards.REWARDS`. Raises lib.metrics.JudgeFailure above MAX_JUDGE_FAILURES.
    Use it as a context manager: it owns a thread.
    """

    def __init__(self, judge: Judge, problems: list[Problem], reward: Callable[[Verdict, Problem], float | None]):
        self.judge, self.reward = judge, reward
        self.problems = {problem.id: problem for problem in problems}
        self.__name__ = reward.__name__
        self.seconds = self.judging = 0.0  # wall time waited for the judge, and judged, since the last step's end
        self._thread = ThreadPoolExecutor(1)
        self._begun = None  # submissions that the judge is working on, and the future of their verdicts

    def __enter__(self) -> "JudgedReward":
        return self

    def __exit__(self, *_) -> None:
        self._thread.shutdown()

    def begin(self, texts: list[str], problem_ids: list[str]) -> None:
        """Has the answers judged in the background; the call that asks for their rewards waits for the verdicts."""
        self._begin([(extract(text).program, one) for text, one in zip(texts, problem_ids, strict=True)])

    def __call__(self, completions, problem_id, log_metric, **_) -> list[float | None]:
        started = time.perf_counter()
        texts = [completion[-1]["content"] for completion in completions]
        submissions = [(extract(text).program, one) for text, one in zip(texts, problem_id, strict=True)]
        if self._begun is None or self._begun[0] != submissions:
            self._begin(submissions)
        verdicts, self._begun = self._begun[1].result(), None
        for name in ERROR_TYPES:
            log_metric(f"{name}_rate", sum(v.error_type == name for v in verdicts) / len(verdicts))
        require_judge(verdicts, MAX_JUDGE_FAILURES)
        rewards = [self.reward(verdict, self.problems[one]) for verdict, one in zip(verdicts, problem_id, strict=True)]
        self.seconds += time.perf_counter() - started
        return rewards

    def _begin(self, submissions: list[tuple[str, str]]) -> None:
        self._begun = submissions, self._thread.submit(self._judge, submissions)

    def _judge(self, submissions: list[tuple[str, str]]) -> list[Verdict]:
        started = time.perf_counter()
        pairs = [(program, self.problems[one]) for program, one in submissions]
        verdicts = self.judge.judge_many(pairs, progress=False)
        self.judging += time.perf_counter() - started
        return verdicts


class Rollout:
    """TRL's `rollout_func`: one sampled completion per prompt entry (prompts arrive already repeated).

    By `lib.policy.generation`, or by the vLLM that the trainer was told to use; that one samples by random numbers of its own.
    """

    def __init__(self, judged: JudgedReward, rows: list[dict], max_new_tokens: int, temperature: float, seed: int):
        self.judged, self.max_new_tokens, self.temperature, self.seed = judged, max_new_tokens, temperature, seed
        # TRL hands over prompts without their columns. Of two problems with one statement, one is judged in vain here.
        self.problem_ids = {row["prompt"][-1]["content"]: row["problem_id"] for row in rows}
        self.seconds = 0.0

    def __call__(self, prompts: list, trainer: GRPOTrainer) -> dict:
        started = time.perf_counter()
        tokenizer = trainer.processing_class
        asked = [tokenizer.apply_chat_template(p, add_generation_prompt=True, return_dict=False) for p in prompts]
        logprobs = None
        if trainer.use_vllm:
            _, written, found, _ = trainer.vllm_generation.generate(asked, None, trainer.num_generations)
            texts = tokenizer.batch_decode(written, skip_special_tokens=True)
            logprobs = [[of_token[0] for of_token in row] for row in found]  # of the token that was sampled
        else:
            seed = self.seed * 1_000_003 + trainer.state.global_step
            groups = generate(
                trainer.accelerator.unwrap_model(trainer.model),
                tokenizer,
                prompts,
                max_new_tokens=self.max_new_tokens,
                temperature=self.temperature,
                seed=seed * trainer.args.world_size + trainer.args.process_index,  # another one in every process
            )
            written, texts = [list(one.ids) for [one] in groups], [one.text for [one] in groups]
        self.judged.begin(texts, [self.problem_ids[prompt[-1]["content"]] for prompt in prompts])
        self.seconds += time.perf_counter() - started
        return {"prompt_ids": asked, "completion_ids": written, "logprobs": logprobs}


class _StepTimes(TrainerCallback):
    """Adds to each log entry where the time of a step went, in seconds; update: what is left of the step."""

    def __init__(self, rollout: Rollout, judged: JudgedReward):
        self.rollout, self.judged = rollout, judged

    def on_step_begin(self, args, state, control, **_):
        self.started = time.perf_counter()
        self.rollout.seconds = self.judged.seconds = self.judged.judging = 0.0

    def on_step_end(self, args, state, control, **_):
        self.step = time.perf_counter() - self.started  # without the gate's reading, which follows

    def on_log(self, args, state, control, logs=None, **_):
        if "reward" in logs:
            step, generate, judge = self.step, self.rollout.seconds, self.judged.seconds
            parts = {"generate": generate, "judge": judge, "judging": self.judged.judging}
            for name, seconds in {**parts, "update": step - generate - judge, "step": step}.items():
                logs[f"{name}_s"] = state.log_history[-1][f"{name}_s"] = round(seconds, 3)


CURRICULA = ("none", "easy_to_hard")
_RANKS = {
    name: rank
    for scale in (("easy", "medium", "hard", "harder", "hardest"), "ABCDEFGHIJKLMNOPQRSTUV")
    for rank, name in enumerate(scale)
}


def _in_steps(problems: list[Problem], per_step: int, steps: int, curriculum: str, seed: int) -> list[Problem]:
    """The problems of `steps` steps, those of a step all of one kind: statements of like length need little padding.

    They are drawn at random; when all have been seen, TRL begins again. A curriculum changes their order only: those
    with a difficulty take one another's places, the others stay.
    """
    if curriculum not in CURRICULA:
        raise ValueError(f"curriculum must be one of {', '.join(CURRICULA)}, not {curriculum!r}")
    rng = random.Random(seed)
    batches = []
    for kind in sorted({problem.kind for problem in problems}):
        own = [problem for problem in problems if problem.kind == kind]
        rng.shuffle(own)
        batches += [own[i : i + per_step] for i in range(0, len(own) - per_step + 1, per_step)]
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
    reward: Callable[[Verdict, Problem], float | None],
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
    curriculum: str = "none",
    accumulation: int = 1,
    lora: dict | None = None,
    bf16: bool = False,
    vllm: dict | None = None,
    save_every: int = 0,
    scratch: Path | None = None,
    gate: TrainerCallback | None = None,
    seed: int = 0,
    launch: str | None = None,
) -> pd.DataFrame:
    """Trains `model` in place; returns the curve, one row per step: rewards, KL, the judge's rates, times.

    `curriculum`: one of CURRICULA. `accumulation`, `lora` and `bf16` as in `lib.training.config.arguments`; a step is sampled
    and judged as a whole, and read in parts. `vllm`: GRPOConfig's arguments that begin with `vllm_`, where that is to
    write the samples. `save_every` and `scratch` as in `lib.training.sft.train_sft`, `gate` and `launch` as in
    `lib.training.dpo.train_dpo`: every process samples and judges its share of a step, and limits the judge's failures in it;
    times are those of the main one. Where weights are sharded the samples must come from `vllm`.
    """
    if launch:
        return launched(train_grpo, locals())
    ordered = _in_steps(problems, prompts_per_step, steps, curriculum, seed)
    rows = [{"prompt": messages(problem, instruction), "problem_id": problem.id} for problem in ordered]
    config = GRPOConfig(
        **training.arguments(
            folder,
            steps=steps,
            batch_size=prompts_per_step * samples,
            learning_rate=learning_rate,
            save_every=save_every,
            scratch=scratch,
            seed=seed,
            accumulation=accumulation,
            lora=lora,
            bf16=bf16,
        ),
        use_vllm=bool(vllm),
        **vllm or {},
        num_generations=samples,
        shuffle_dataset=False,
        max_completion_length=max_new_tokens,
        temperature=temperature,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=max(1, steps // 20),
        beta=beta,
        scale_rewards=scale_rewards,
        logging_steps=1,
    )
    with JudgedReward(judge, problems, reward) as judged:
        rollout = Rollout(judged, rows, max_new_tokens, temperature, seed)
        trainer = GRPOTrainer(
            model=model,
            args=config,
            reward_funcs=judged,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            rollout_func=rollout,
            peft_config=training.adapters(lora, seed),
            callbacks=[_StepTimes(rollout, judged), *([gate] if gate else [])],
        )
        if gate:
            gate.start(trainer.model, scratch if save_every else None)
        training.train(
            trainer, ("reward", "kl"), scratch, (rows, manifest(problems), judged.__name__, max_new_tokens, temperature)
        )
    log = pd.DataFrame([entry for entry in trainer.state.log_history if "reward" in entry])
    return log[list(CURVE)].rename(columns=CURVE)
