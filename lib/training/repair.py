"""Training for repair: first the form of a dialogue by supervision, then GRPO over whole dialogues.

A policy that has only ever seen a statement and an answer doesn't know what to do with feedback. `lessons` makes the
dialogues that teach it, on problems of the train splits alone: programs that the policy itself wrote and that failed
public tests, what the judge said of them, and a program that all tests accept. The loss is on that last program. They
are made of problems that the policy fails greedily, and `train_repair` goes on with these.

`train_repair` then samples whole dialogues. A dialogue is one completion for TRL: what the policy wrote in all rounds
learns from one return (`lib.rewards.RETURNS`), and what it was told is masked (`env_mask`), so that it learns to use
feedback and not to write it. The return is of verdicts on all tests of the train problem, as every reward here; what
the policy reads is of its public tests.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

import pandas as pd
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from lib.evaluation.best_of_n import only_public
from lib.evaluation.dialogues import Dialogue, FeedbackFunction, run_dialogues
from lib.evaluation.evaluate import manifest
from lib.judge.verdict import Verdict
from lib.metrics import require_judge
from lib.policy.generation import Completion, generate
from lib.policy.prompts import answer, count_tokens, extract, messages
from lib.problems import Problem
from lib.rewards import RETURNS
from lib.training import config as training
from lib.training.grpo import MAX_JUDGE_FAILURES

Lesson = tuple[list[dict[str, str]], str]  # conversation, program
Earned = Callable[[Sequence[Verdict]], float | None]

# What is kept of TRL's log, and its name in curves.csv. Tokens are those that the policy wrote, in all rounds;
# `accepted_*` shares of the dialogues; `timeout_rate` and `api_error_rate` of the programs.
CURVE = {
    "step": "step",
    "reward": "reward",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "zero_variance_groups",
    "kl": "kl",
    "entropy": "entropy",
    "grad_norm": "grad_norm",
    "completions/mean_length": "completion_tokens",
    **{name: name for name in ("rounds", "accepted_first", "accepted_last", "timeout_rate", "api_error_rate")},
    "rollout_s": "rollout_s",
}


def lessons(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: list[Problem],
    judge,
    give_feedback: FeedbackFunction,
    *,
    samples: int,
    max_new_tokens: int,
    max_length: int,
    rounds: int = 3,
    temperature: float = 1.0,
    instruction: str = "",
    seed: int = 0,
) -> tuple[list[Lesson], list[Problem], dict[str, int]]:
    """(conversation, program) pairs for `lib.training.sft.train_sft`; the problems that the policy failed; counts of both.

    What the policy gets right at once teaches no repair: there the answer after a failure would be the one it gives
    anyway, and it would learn to ignore the feedback. So dialogues are made of problems whose greedy program fails
    public tests. Each begins with that program, goes on with none or some of `samples` sampled failures, and ends with
    a program that all tests accept, a sample or a solution: one dialogue for each of these. Every problem gives its
    statement alone with an accepted program too, so that round 1 is not forgotten. Pairs of more than `max_length`
    tokens are left out and counted.
    """
    problems = [problem for problem in problems if only_public(problem)]
    chats = {problem.id: messages(problem, instruction) for problem in problems}
    limits = {"max_new_tokens": max_new_tokens, "seed": seed}
    first = generate(model, tokenizer, list(chats.values()), **limits)
    right, wrong = _sorted_out([(one, own) for one, [own] in zip(problems, first, strict=True)], judge, give_feedback)
    failed = [problem for problem in problems if problem.id in wrong]
    asked = [chats[problem.id] for problem in failed]
    drawn = generate(model, tokenizer, asked, samples=samples, temperature=temperature, **limits)
    offered = [(one, own) for one, group in zip(failed, drawn, strict=True) for own in group]
    for found, more in zip((right, wrong), _sorted_out(offered, judge, give_feedback, failed), strict=True):
        for name, own in more.items():
            found.setdefault(name, {}).update(own)
    rng, pairs, counts = random.Random(seed), [], Counter(problems=len(problems), failed=len(failed))
    for problem in problems:
        programs, mistakes = right.get(problem.id, {}), list(wrong.get(problem.id, {}).values())
        counts["without a right program"] += not programs
        rows = [(chats[problem.id], rng.choice(list(programs)))] if programs else []
        for program in programs if mistakes else ():
            others = rng.sample(mistakes[1:], rng.randint(0, min(rounds - 2, len(mistakes) - 1)))
            history = [message for mistake in (mistakes[0], *others) for message in mistake]
            rows.append(([*chats[problem.id], *history], program))
        for row in rows:
            fits = count_tokens(tokenizer, [*row[0], {"role": "assistant", "content": answer(row[1])}]) <= max_length
            counts[f"of {len(row[0]) // 2 + 1} rounds" if fits else "too long"] += 1
            pairs += [row] if fits else []
    return pairs, failed, dict(sorted(counts.items()))


def _sorted_out(
    offered: list[tuple[Problem, Completion]], judge, give_feedback: FeedbackFunction, solved: Sequence[Problem] = ()
) -> tuple[dict[str, dict[str, None]], dict[str, dict[str, list[dict[str, str]]]]]:
    """By problem: the different programs that all tests accept, solutions of `solved` among them; and the different
    wrong answers, each with what is said of it."""
    shown = judge.judge_many([(extract(one.text).program, only_public(own)) for own, one in offered], progress=False)
    asked, wrong = [(solution, own) for own in solved for solution in own.solutions[:1]], {}
    for (problem, completion), verdict in zip(offered, shown, strict=True):
        if verdict.accepted:
            asked.append((extract(completion.text).program, problem))
        elif verdict.error_type != "api_error":
            told = [{"role": "assistant", "content": completion.text}]
            told.append({"role": "user", "content": give_feedback(only_public(problem), verdict)})
            wrong.setdefault(problem.id, {})[completion.text] = told
    right: dict[str, dict[str, None]] = {}
    for (program, problem), verdict in zip(asked, judge.judge_many(asked, progress=False), strict=True):
        if verdict.accepted:
            right.setdefault(problem.id, {})[program] = None
    return right, wrong


class Rollout:
    """A sampled dialogue per prompt entry, as TRL's `rollout_func`; what they earned, as its reward function."""

    __name__ = "dialogue"

    def __init__(
        self, problems: list[Problem], judge, give_feedback: FeedbackFunction, earned: Earned, seed: int, **options
    ):
        self.by_statement = {messages(one, options["instruction"])[-1]["content"]: one for one in problems}
        self.judge, self.give_feedback, self.earned, self.seed, self.options = (
            judge,
            give_feedback,
            earned,
            seed,
            options,
        )
        self.dialogues: list[Dialogue] = []
        self.seconds = 0.0

    def rollout(self, prompts: list, trainer: GRPOTrainer) -> dict:
        started = time.perf_counter()
        self.dialogues = run_dialogues(
            trainer.accelerator.unwrap_model(trainer.model),
            trainer.processing_class,
            [self.by_statement[prompt[-1]["content"]] for prompt in prompts],
            self.judge,
            self.give_feedback,
            seed=self.seed * 1_000_003 + trainer.state.global_step,
            **self.options,
        )
        parts = [dialogue.sequence() for dialogue in self.dialogues]
        prompt_ids, completion_ids, mask = (list(part) for part in zip(*parts, strict=True))
        self.seconds = time.perf_counter() - started
        return {"prompt_ids": prompt_ids, "completion_ids": completion_ids, "env_mask": mask, "logprobs": None}

    def __call__(self, completions, log_metric, **_) -> list[float | None]:
        verdicts = [[turn.verdict for turn in dialogue.turns] for dialogue in self.dialogues]
        programs = [verdict for own in verdicts for verdict in own]
        log_metric("rounds", fmean(map(len, verdicts)))
        log_metric("accepted_first", fmean(own[0].accepted for own in verdicts))
        log_metric("accepted_last", fmean(own[-1].accepted for own in verdicts))
        for name in ("timeout", "api_error"):
            log_metric(f"{name}_rate", fmean(verdict.error_type == name for verdict in programs))
        log_metric("rollout_s", self.seconds)
        require_judge(programs, MAX_JUDGE_FAILURES)
        return [self.earned(own) for own in verdicts]


def train_repair(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: list[Problem],
    judge,
    give_feedback: FeedbackFunction,
    folder: Path,
    *,
    steps: int,
    returns: str = "A",
    penalty: float = 0.03,
    rounds: int = 3,
    prompts_per_step: int = 8,
    samples: int = 8,
    learning_rate: float = 1e-4,
    beta: float = 0.01,
    max_new_tokens: int = 96,
    temperature: float = 1.0,
    instruction: str = "",
    accumulation: int = 1,
    lora: dict | None = None,
    bf16: bool = False,
    save_every: int = 0,
    scratch: Path | None = None,
    gate: TrainerCallback | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Trains `model` in place for `steps` groups of dialogues; returns the curve, one row per step.

    `returns`: one of lib.rewards.RETURNS, with its `penalty` for a round; `max_new_tokens` of an answer. Of problems
    with one statement only the first is trained on, since TRL's rollouts know no more of a problem. The other arguments
    are as in `lib.training.grpo.train_grpo`. The KL is to the weights on disk that `model` was loaded from. Raises ValueError
    when no problem has public tests.
    """
    by_statement = {problem.prompt.strip(): problem for problem in reversed(problems) if only_public(problem)}
    drawn = sorted(by_statement.values(), key=lambda problem: problem.id)
    random.Random(seed).shuffle(drawn)
    drawn = drawn[: steps * prompts_per_step]
    if not drawn:
        raise ValueError("no problem with public tests to train on: without them nothing is told, and nothing repaired")
    rows = [{"prompt": messages(problem, instruction)} for problem in drawn]
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
        num_generations=samples,
        shuffle_dataset=False,
        max_completion_length=rounds * max_new_tokens,
        temperature=temperature,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=max(1, steps // 20),
        beta=beta,
        logging_steps=1,
    )
    options = {"rounds": rounds, "max_new_tokens": max_new_tokens, "temperature": temperature}
    earned = partial(RETURNS[returns], penalty=penalty)
    rollout = Rollout(drawn, judge, give_feedback, earned, seed, instruction=instruction, **options)
    trainer = GRPOTrainer(
        model=model,
        args=config,
        reward_funcs=rollout,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        rollout_func=rollout.rollout,
        peft_config=training.adapters(lora, seed),
        callbacks=[gate] if gate else [],
    )
    if gate:
        gate.start(trainer.model, scratch if save_every else None)
    training.train(trainer, ("reward", "kl"), scratch, (rows, manifest(drawn), returns, penalty, options))
    log = pd.DataFrame([entry for entry in trainer.state.log_history if "reward" in entry])
    return log[list(CURVE)].rename(columns=CURVE)
