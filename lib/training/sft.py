"""Supervised fine-tuning on (conversation, program) pairs with TRL's SFTTrainer; it trains the tiny base model too.

Differences from TRL's defaults: the loss is on the completion only, and a pair longer than `max_length` is an error
(TRL silently drops it or truncates its program).
"""

import re
from collections.abc import Collection

import pandas as pd
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl import SFTTrainer

from lib.policy.prompts import answer, count_tokens, messages
from lib.problems import Problem
from lib.training.config import TrainingConfig
from lib.training.launch import launched
from lib.training.resume import read_log, train

Conversation = list[dict[str, str]]
CURVE = {name: name for name in ("step", "loss", "learning_rate", "minutes")}
# Which of several accepted solutions of a problem is used first: the key of (program, CPU seconds).
PREFER = {
    "shortest": lambda program, seconds: len(program),
    "fastest": lambda program, seconds: (round(seconds / 0.05), len(program)),
}
_READS_INPUT = re.compile(r"\b(input|stdin|open|fileinput)\b")


def order_rows(lengths: list[int], batch_size: int, steps: int, easy: int, easy_steps: int, seed: int) -> list[int]:
    """Returns the rows of `steps` batches, one after the other; depends only on its arguments.

    Rows of a batch have similar lengths. `easy_steps` batches are drawn from the first `easy` rows, the others from
    all; every row is seen before any is seen again. (The Trainer's own grouping draws from the process's random
    numbers, so a resumed training would see another order.)
    """
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    for rows, end in ((easy, min(easy_steps, steps) * batch_size), (len(lengths), steps * batch_size)):
        while len(order) < end:
            drawn = get_length_grouped_indices(lengths[:rows], batch_size, generator=generator)
            order += drawn[: end - len(order)]
    return order


class _Trainer(SFTTrainer):
    order: list[int]

    def _get_train_sampler(self, train_dataset=None):
        return self.order


def train_sft(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: list[tuple[Conversation, str]],
    config: TrainingConfig,
    *,
    easy: int = 0,
    easy_steps: int = 0,
) -> pd.DataFrame:
    """Trains `model` in place on (messages, program); returns the curve, one row per logged step.

    The first `easy_steps` batches are drawn from the first `easy` pairs alone: a warm-up before the larger set. With
    `save_steps` in the config, checkpoint-<step>, a model folder, is saved every `save_steps` steps and at the end.
    With `launch` in the config several processes share each batch, and errors are raised as RuntimeError.

    Raises ValueError when a pair has more than `max_length` tokens.
    """
    if config.launch:
        return launched(train_sft, model, tokenizer, config, {"pairs": pairs, "easy": easy, "easy_steps": easy_steps})
    if easy_steps and not easy:
        raise ValueError(f"easy_steps is {easy_steps}, but there are no easy pairs: set easy_steps to 0")
    rows = [
        {"prompt": conversation, "completion": [{"role": "assistant", "content": answer(program)}]}
        for conversation, program in pairs
    ]
    lengths = [count_tokens(tokenizer, row["prompt"] + row["completion"]) for row in rows]
    require_short(lengths, config.max_length)
    trainer = _Trainer(
        model=model,
        args=(args := config.build(max_length=None)),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=config.adapters(),
    )
    require_all_rows(trainer, len(rows))
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    trainer.order = order_rows(lengths, batch, args.max_steps, easy, easy_steps, args.seed)
    train(trainer, ("loss",), config.scratch, (rows, easy, easy_steps))
    return read_log(trainer, CURVE)


def require_short(lengths: list[int], limit: int) -> None:
    """Raises ValueError when a pair has more tokens than `limit`."""
    if too_long := sum(tokens > limit for tokens in lengths):
        raise ValueError(
            f"{too_long} of {len(lengths)} pairs are longer than {limit} tokens (the longest has {max(lengths)}): "
            "filter them or raise max_length"
        )


def require_all_rows(trainer, rows: int) -> None:
    """Raises ValueError when TRL dropped rows."""
    if len(trainer.train_dataset) != rows:
        raise ValueError(f"TRL dropped {rows - len(trainer.train_dataset)} of {rows} pairs")


def verified_pairs(
    problems: list[Problem],
    judge,
    per_problem: int,
    instruction: str = "",
    prefer: str = "shortest",
    longest: int = 4000,
    easy: Collection[str] = (),
    tokens: tuple[PreTrainedTokenizerBase, int] | None = None,
) -> tuple[list[tuple[Conversation, str]], dict[str, int]]:
    """(messages, program) of solutions that the judge accepts: at most `per_problem` for each problem.

    `prefer`: the `shortest` solutions are used, or the `fastest` (in steps of 50 ms of CPU, then the shortest).
    Excluded before judging: solutions of more than `longest` characters, those that with their statement have more
    tokens than `tokens` (a tokenizer, a limit) allows, and programs that never read their input.
    Pairs of easy problems come first: problems whose difficulty is in `easy` or not known.
    Also returns counts: of problems, of those with solutions, of solutions excluded and judged, of solutions that the
    set calls correct and the judge rejects, of the resulting pairs, and of the easy ones among them.
    """
    preference = PREFER[prefer]
    offered = [(program, problem) for problem in problems for program in dict.fromkeys(problem.solutions)]
    short = [
        (program, problem)
        for program, problem in offered
        if len(program) <= longest
        and (tokens is None or _pair_tokens(tokens[0], problem, instruction, program) <= tokens[1])
    ]
    submissions = [
        (program, problem) for program, problem in short if problem.kind != "stdio" or _READS_INPUT.search(program)
    ]
    verdicts = judge.judge_many(submissions, progress=False)
    accepted: dict[str, list] = {}
    for (program, problem), verdict in zip(submissions, verdicts, strict=True):
        if verdict.accepted:
            accepted.setdefault(problem.id, []).append((program, verdict.judge_time, problem))
    chosen = [
        solution
        for solutions in accepted.values()
        for solution in sorted(solutions, key=lambda solution: preference(*solution[:2]))[:per_problem]
    ]
    chosen.sort(key=lambda solution: not _is_easy(solution[-1], easy))
    pairs = [(messages(problem, instruction), program) for program, _, problem in chosen]
    counts = {
        "problems": len(problems),
        "with solutions": sum(bool(problem.solutions) for problem in problems),
        "over-long": len(offered) - len(short),
        "reads no input": len(short) - len(submissions),
        "solutions judged": len(submissions),
        "rejected by the judge": sum(not verdict.accepted for verdict in verdicts),
        "pairs": len(pairs),
        "easy pairs": sum(_is_easy(problem, easy) for *_, problem in chosen),
    }
    return pairs, counts


def _pair_tokens(tokenizer: PreTrainedTokenizerBase, problem: Problem, instruction: str, program: str) -> int:
    return count_tokens(tokenizer, [*messages(problem, instruction), {"role": "assistant", "content": answer(program)}])


def _is_easy(problem: Problem, easy: Collection[str]) -> bool:
    return not problem.difficulty or problem.difficulty in easy
