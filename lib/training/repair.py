"""Training for repair: SFT on example dialogues, then GRPO over whole dialogues.

A policy that has only seen a statement and an answer has not learned to use feedback. `repair_examples` builds example
dialogues from train problems that the policy fails: its programs that failed public tests, the feedback on them, and a
program that passes all tests. The loss is on that last program.

`train_repair` then samples whole dialogues. For TRL, a dialogue is one completion: all tokens that the policy generated
share one return (`lib.rewards.RETURNS`), and the feedback is masked (`env_mask`), so that the policy learns to use it
and not to generate it. Like every reward here, the return uses the verdicts on all tests of the train problem; the
feedback comes from its public tests only.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import GRPOTrainer

from lib.evaluation.dialogues import Dialogue, run_dialogues
from lib.evaluation.feedback import FeedbackFunction
from lib.judge.answers import extract
from lib.metrics import MAX_JUDGE_FAILURES, require_judge
from lib.policy.generation import Completion, generate
from lib.policy.prompts import answer, count_tokens, messages
from lib.policy.protocols import Protocol
from lib.problems import Problem
from lib.problems.manifest import version
from lib.problems.public import only_public
from lib.rewards import ReturnFunction
from lib.training.config import TrainingConfig
from lib.training.early_stop import EarlyStop
from lib.training.grpo import (
    ONLINE_SHOWN,
    POLICY_CURVE,
    online_trainer,
    over_processes,
    with_tokens,
)
from lib.training.resume import train
from lib.training.sft import Conversation

# Columns of TRL's log that are kept, and their names in curves.csv. Tokens are those that the policy wrote, in all
# rounds; `accepted_*` are shares of the dialogues, `timeout_rate` and `api_error_rate` of the programs.
CURVE = POLICY_CURVE | {
    **{name: name for name in ("rounds", "accepted_first", "accepted_last", "timeout_rate", "api_error_rate")},
    "rollout_s": "rollout_s",
    "minutes": "minutes",
}


def repair_examples(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: list[Problem],
    judge,
    give_feedback: FeedbackFunction,
    decoding: Protocol,
    *,
    max_length: int,
    rounds: int = 3,
    instruction: str = "",
    seed: int = 0,
) -> tuple[list[tuple[Conversation, str]], list[Problem], dict[str, int]]:
    """(conversation, program) pairs for `lib.training.sft.train_sft`; the problems that the policy failed; counts.

    Problems solved in the first round give no dialogue: the policy would learn to ignore the feedback. A dialogue
    begins with the greedy program that failed public tests, continues with zero or more of the failures among
    `decoding.samples` samples, and ends with a program that passes all tests, a sample or a solution; there is one
    dialogue for each such program. Every problem also gives its statement alone with an accepted program, so that round
    1 is not forgotten. Pairs of more than `max_length` tokens are excluded and counted.
    """
    problems = [problem for problem in problems if only_public(problem)]
    chats = {problem.id: messages(problem, instruction) for problem in problems}
    limits: dict[str, Any] = {"max_new_tokens": decoding.max_new_tokens, "seed": seed}
    greedy = generate(model, tokenizer, list(chats.values()), **limits)
    first = [(problem, completion) for problem, [completion] in zip(problems, greedy, strict=True)]
    right: dict[str, dict[str, None]] = {}
    wrong: dict[str, dict[str, Conversation]] = {}
    _sort(first, judge, give_feedback, right, wrong)
    failed = [problem for problem in problems if problem.id in wrong]
    limits |= {"samples": decoding.samples, "temperature": decoding.temperature}
    drawn = generate(model, tokenizer, [chats[problem.id] for problem in failed], **limits)
    further = [(problem, completion) for problem, group in zip(failed, drawn, strict=True) for completion in group]
    _sort(further, judge, give_feedback, right, wrong, solved=failed)
    tokens = sum(completion.tokens for _, completion in first + further)
    counts = Counter({"problems": len(problems), "failed": len(failed), "generated tokens": tokens})
    rng, pairs = random.Random(seed), []
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


def _sort(
    offered: list[tuple[Problem, Completion]],
    judge,
    give_feedback: FeedbackFunction,
    right: dict[str, dict[str, None]],
    wrong: dict[str, dict[str, Conversation]],
    solved: Sequence[Problem] = (),
) -> None:
    """Adds, by problem, distinct correct programs to `right`, including solutions of `solved`, and distinct incorrect
    answers to `wrong`, each with the feedback on it."""
    programs = [extract(completion.text, judge.answer_block).program for _, completion in offered]
    views: list[Any] = [only_public(problem) for problem, _ in offered]
    public = judge.judge_many(list(zip(programs, views, strict=True)), progress=False)
    candidates = [(solution, problem) for problem in solved for solution in problem.solutions[:1]]
    for (problem, completion), program, view, verdict in zip(offered, programs, views, public, strict=True):
        if verdict.accepted:
            candidates.append((program, problem))
        elif verdict.error_type != "api_error":
            feedback = {"role": "user", "content": give_feedback(view, verdict)}
            failure = [{"role": "assistant", "content": completion.text}, feedback]
            wrong.setdefault(problem.id, {})[completion.text] = failure
    for (program, problem), verdict in zip(candidates, judge.judge_many(candidates, progress=False), strict=True):
        if verdict.accepted:
            right.setdefault(problem.id, {})[program] = None


class Rollouts:
    """The dialogues of each step: `sample` is TRL's `rollout_func`, the object its reward function, their returns."""

    __name__ = "dialogue"

    def __init__(self, problems: list[Problem], judge, give_feedback: FeedbackFunction, returns: Callable, **options):
        self.by_prompt = {messages(problem, options["instruction"])[-1]["content"]: problem for problem in problems}
        self.judge, self.give_feedback, self.returns = judge, give_feedback, returns
        self.seed, self.options = options.pop("seed"), options
        self.dialogues: list[Dialogue] = []
        self.seconds = 0.0

    def sample(self, prompts: list, trainer: GRPOTrainer) -> dict:
        """Samples the dialogues as token sequences, with a mask that excludes the feedback from the loss."""
        started = time.perf_counter()
        tokenizer: Any = trainer.processing_class
        self.dialogues = run_dialogues(
            trainer.accelerator.unwrap_model(trainer.model),
            tokenizer,
            [self.by_prompt[prompt[-1]["content"]] for prompt in prompts],
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
        dialogues: list[list[Any]] = [[turn.verdict for turn in dialogue.turns] for dialogue in self.dialogues]
        programs = [verdict for rounds in dialogues for verdict in rounds]
        log_metric("rounds", fmean(map(len, dialogues)))
        log_metric("accepted_first", fmean(rounds[0].accepted for rounds in dialogues))
        log_metric("accepted_last", fmean(rounds[-1].accepted for rounds in dialogues))
        for name in ("timeout", "api_error"):
            log_metric(f"{name}_rate", fmean(verdict.error_type == name for verdict in programs))
        log_metric("rollout_s", self.seconds)
        require_judge(programs, MAX_JUDGE_FAILURES, over_processes)
        return [self.returns(rounds) for rounds in dialogues]


def train_repair(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: list[Problem],
    judge,
    give_feedback: FeedbackFunction,
    returns: ReturnFunction,
    config: TrainingConfig,
    *,
    rounds: int = 3,
    instruction: str = "",
    early_stop: EarlyStop | None = None,
) -> pd.DataFrame:
    """Trains `model` in place on groups of dialogues of at most `rounds` rounds; returns the curve, one row per step.

    `returns`: of `lib.rewards.make_return`. The config's `max_completion_length` is the limit of one answer. If several
    problems share a statement only the first is trained on, since TRL's rollouts identify a problem by its prompt. The
    KL is to the weights on disk that `model` was loaded from. Raises ValueError when no problem has public tests.
    """
    by_statement = {problem.prompt.strip(): problem for problem in reversed(problems) if only_public(problem)}
    drawn = sorted(by_statement.values(), key=lambda problem: problem.id)
    answer_limit = config.max_completion_length
    args = config.build(max_completion_length=rounds * answer_limit)
    random.Random(args.seed).shuffle(drawn)
    drawn = drawn[: args.max_steps * args.generation_batch_size // args.num_generations]
    if not drawn:
        raise ValueError("no problem with public tests to train on, but feedback needs them: use other problems")
    rows = [{"prompt": messages(problem, instruction)} for problem in drawn]
    options = {"rounds": rounds, "max_new_tokens": answer_limit, "temperature": args.temperature}
    rollouts = Rollouts(drawn, judge, give_feedback, returns, seed=args.seed, instruction=instruction, **options)
    trainer = online_trainer(model, tokenizer, rows, rollouts, args, config)
    data = (rows, version(drawn), sorted(returns.keywords.items()), options)
    curve = train(trainer, config, CURVE, shown=ONLINE_SHOWN, data=data, early_stop=early_stop)
    return with_tokens(curve, args.generation_batch_size)
