"""Supervised fine-tuning on (conversation, program) pairs with TRL's SFTTrainer; it trains the tiny base model too.

How it departs from TRL's defaults: loss on the completion only, no gradient checkpointing (small models), and a pair
that is longer than `max_length` is an error: TRL drops it, or cuts the end of its program, without a word.
"""

import re
from collections.abc import Collection
from pathlib import Path

import pandas as pd
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl import SFTConfig, SFTTrainer

from lib.policy.prompts import answer, count_tokens, messages
from lib.problems import Problem
from lib.training import config as training
from lib.training.launch import launched

# Which of several accepted solutions of a problem is shown first: the key of (program, CPU seconds).
PREFER = {
    "shortest": lambda program, seconds: len(program),
    "fastest": lambda program, seconds: (round(seconds / 0.05), len(program)),
}
_READS = re.compile(r"\b(input|stdin|open|fileinput)\b")


def _in_order(lengths: list[int], batch_size: int, steps: int, easy: int, easy_steps: int, seed: int) -> list[int]:
    """The rows of `steps` batches, one after the other: a function of its arguments alone.

    Rows of a batch are of like length. `easy_steps` batches are drawn from the first `easy` rows, the others from all;
    every row is seen before one is seen again. (The Trainer's own grouping draws from the process's random numbers, so
    that a training that goes on after a kill would see another order.)
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
    pairs: list[tuple[list[dict[str, str]], str]],
    folder: Path,
    *,
    steps: int,
    easy: int = 0,
    easy_steps: int = 0,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    warmup: float = 0.05,
    max_length: int = 512,
    accumulation: int = 1,
    lora: dict | None = None,
    bf16: bool = False,
    seed: int = 0,
    log_every: int = 10,
    save_every: int = 0,
    scratch: Path | None = None,
    launch: str | None = None,
) -> pd.DataFrame:
    """Trains `model` in place for `steps` batches of (messages, program); returns the curve: step, loss, learning_rate.

    The first `easy_steps` batches are drawn from the first `easy` pairs alone: a warm-up before the larger set.

    `accumulation`, `lora` and `bf16`: as in `lib.training.config.arguments`.

    Unless `save_every` is 0, every so many steps and at the end `folder`/checkpoint-<step> is saved: a model folder.
    With `scratch`, a folder, a training that was interrupted goes on from its last checkpoint (`lib.training.config`).

    `launch`: the file of an accelerate configuration, relative to the repository, for several processes that share
    every batch (`lib.training.launch`). Then errors come as RuntimeError with the reason.

    Raises ValueError when a pair has more than `max_length` tokens, and when a batch can't be read in equal parts.
    """
    if launch:
        return launched(train_sft, locals())
    if easy_steps and not easy:
        raise ValueError(f"{easy_steps} steps on easy pairs, and there are none: let easy_steps be 0")
    rows = [
        {"prompt": conversation, "completion": [{"role": "assistant", "content": answer(program)}]}
        for conversation, program in pairs
    ]
    lengths = [count_tokens(tokenizer, row["prompt"] + row["completion"]) for row in rows]
    if long := sum(one > max_length for one in lengths):
        raise ValueError(
            f"{long} of {len(rows)} pairs are longer than {max_length} tokens (the longest has {max(lengths)}): "
            "filter them or raise max_length"
        )
    config = SFTConfig(
        **training.arguments(
            folder,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            save_every=save_every,
            scratch=scratch,
            seed=seed,
            accumulation=accumulation,
            lora=lora,
            bf16=bf16,
        ),
        lr_scheduler_type="cosine",
        warmup_steps=round(warmup * steps),
        weight_decay=0.01,
        max_length=None,
        completion_only_loss=True,
        logging_steps=min(log_every, steps),
    )
    trainer = _Trainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=training.adapters(lora, seed),
    )
    if len(trainer.train_dataset) != len(rows):
        raise ValueError(f"TRL dropped {len(rows) - len(trainer.train_dataset)} of {len(rows)} pairs")
    trainer.order = _in_order(lengths, batch_size, steps, easy, easy_steps, seed)
    training.train(trainer, ("loss",), scratch, (rows, easy, easy_steps))
    log = pd.DataFrame([entry for entry in trainer.state.log_history if "loss" in entry])
    return log[["step", "loss", "learning_rate"]]


def verified_pairs(
    problems: list[Problem],
    judge,
    per_problem: int,
    instruction: str = "",
    prefer: str = "shortest",
    longest: int = 4000,
    easy: Collection[str] = (),
    tokens: tuple[PreTrainedTokenizerBase, int] | None = None,
) -> tuple[list[tuple[list[dict[str, str]], str]], dict[str, int]]:
    """(messages, program) of solutions that the judge accepts: `per_problem` of each problem.

    `prefer` says which of several: the `shortest`, or the `fastest` (in steps of 50 ms of CPU, then the shortest).
    Solutions of more than `longest` characters, those that with their statement have more tokens than `tokens` (of a
    tokenizer, a limit) allow, and programs that never read their input, are left out unjudged.
    Pairs of easy problems come first: those whose difficulty is in `easy` or not known.
    Also returned are counts: of problems, of those with solutions, of solutions left out and judged, of solutions that
    the set calls correct and the judge rejects, of the pairs that are left, and of the easy ones among them.
    """
    order = PREFER[prefer]
    offered = [(program, problem) for problem in problems for program in dict.fromkeys(problem.solutions)]
    short = [
        (program, problem)
        for program, problem in offered
        if len(program) <= longest and (tokens is None or _whole(tokens[0], problem, instruction, program) <= tokens[1])
    ]
    submissions = [
        (program, problem) for program, problem in short if problem.kind != "stdio" or _READS.search(program)
    ]
    verdicts = judge.judge_many(submissions, progress=False)
    accepted: dict[str, list] = {}
    for (program, problem), verdict in zip(submissions, verdicts, strict=True):
        if verdict.accepted:
            accepted.setdefault(problem.id, []).append((program, verdict.judge_time, problem))
    chosen = [
        one for found in accepted.values() for one in sorted(found, key=lambda one: order(*one[:2]))[:per_problem]
    ]
    chosen.sort(key=lambda one: not _is_easy(one[-1], easy))
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


def _whole(tokenizer: PreTrainedTokenizerBase, problem: Problem, instruction: str, program: str) -> int:
    return count_tokens(tokenizer, [*messages(problem, instruction), {"role": "assistant", "content": answer(program)}])


def _is_easy(problem: Problem, easy: Collection[str]) -> bool:
    return not problem.difficulty or problem.difficulty in easy
