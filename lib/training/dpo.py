"""DPO on preference pairs with TRL's DPOTrainer (Rafailov et al. 2023, arXiv 2305.18290).

How it departs from TRL's defaults:
1. A pair that would be cut is an error. TRL's collator cuts what is longer than `max_length` without a word, so that a
   rejected program loses its end, and drops a row only when nothing but the prompt would be left.
2. Log-probabilities of the reference, the policy as it is given, are computed once, before the first step: no second
   model stays in memory, and a step costs a third less.
3. Pairs of a batch are of like count_tokens, which saves two thirds of the padding; every epoch has the same batches.
4. No gradient checkpointing for small models; constant rate after a short warm-up, so that `steps` can be cut off.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from datasets import Dataset, load_from_disk
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from trl import DPOConfig, DPOTrainer

from lib.metrics import require_judge
from lib.policy.generation import generate
from lib.policy.prompts import count_tokens, extract, messages
from lib.problems import Problem
from lib.training import config as training
from lib.training.launch import launched
from lib.training.pairs import Pair, Sample

# What is kept of TRL's log, and its name in curves.csv. Rewards are beta * log(policy / start) of whole answers (nats);
# `accuracy`: the share of a step's pairs whose chosen answer has the higher one.
CURVE = {
    "step": "step",
    "loss": "loss",
    "rewards/margins": "margin",
    "rewards/accuracies": "accuracy",
    "rewards/chosen": "reward_chosen",
    "rewards/rejected": "reward_rejected",
    "entropy": "entropy",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
}


Row = tuple[list[dict[str, str]], str, str]  # conversation, chosen answer, rejected answer


def draw(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: list[Problem],
    judge,
    *,
    samples: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    instruction: str = "",
    seed: int = 0,
) -> list[list[Sample]]:
    """`samples` judged answers of the policy to each problem. Raises lib.metrics.JudgeFailure as an evaluation does."""
    chats = [messages(problem, instruction) for problem in problems]
    limits = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
    written = generate(model, tokenizer, chats, samples=samples, **limits)
    asked = [(one, problem) for problem, group in zip(problems, written, strict=True) for one in group]
    verdicts = judge.judge_many([(extract(one.text).program, problem) for one, problem in asked], progress=False)
    require_judge(verdicts)
    drawn = [
        Sample.of(problem, one.text, one.tokens, verdict)
        for (one, problem), verdict in zip(asked, verdicts, strict=True)
    ]
    return [drawn[start : start + samples] for start in range(0, len(drawn), samples)]


def rows(pairs: list[Pair], problems: list[Problem], instruction: str = "") -> list[Row]:
    """The pairs as `train_dpo` reads them; `problems` hold those that they are about."""
    chats = {problem.id: messages(problem, instruction) for problem in problems}
    return [(chats[pair.chosen.problem_id], pair.chosen.text, pair.rejected.text) for pair in pairs]


def train_dpo(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: list[Row],
    folder: Path,
    *,
    steps: int,
    batch_size: int = 32,
    learning_rate: float = 1e-4,
    beta: float = 0.1,
    max_length: int = 4096,
    accumulation: int = 1,
    lora: dict | None = None,
    bf16: bool = False,
    seed: int = 0,
    save_every: int = 0,
    scratch: Path | None = None,
    gate: TrainerCallback | None = None,
    launch: str | None = None,
) -> pd.DataFrame:
    """Trains `model` in place for `steps` batches of pairs; returns the curve, one row per step.

    `accumulation`, `lora` and `bf16` as in `lib.training.config.arguments`, `save_every` and `scratch` as in
    `lib.training.sft.train_sft`. `gate`: a `lib.training.early_stop.Gate`, which may end the training before; a training that goes on after a
    kill is held against the model given here. `launch` as in `lib.training.sft.train_sft`; the gate then reads the saved
    checkpoints afterwards, so that it can't end the training before. Several processes fill up the short last batch of
    an epoch with pairs of its first.

    Raises ValueError without pairs, and when a prompt with one of its answers is longer than `max_length` tokens.
    """
    if launch:
        return launched(train_dpo, locals())
    if not pairs:
        raise ValueError("there are no pairs to train on: draw more samples per problem, or take more problems")
    columns = [
        {
            "prompt": conversation,
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
        }
        for conversation, chosen, rejected in pairs
    ]
    config = DPOConfig(
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
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=max(1, steps // 10),
        beta=beta,
        max_length=None,
        train_sampling_strategy="sequential",
        precompute_ref_log_probs=True,
        logging_steps=1,
    )
    lengths = _lengths(tokenizer, columns)
    long = sum(length > max_length for length in lengths)
    if long:
        raise ValueError(
            f"{long} of {len(pairs)} pairs are longer than {max_length} tokens (the longest has {max(lengths)}): "
            "filter them or raise max_length"
        )
    with _within_reach([columns[n] for n in _in_batches(lengths, batch_size, seed)], config) as dataset:
        trainer = DPOTrainer(
            model=model,
            args=config,
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=training.adapters(lora, seed),
            callbacks=[gate] if gate else None,
        )
    if len(trainer.train_dataset) != len(pairs):
        raise ValueError(f"TRL dropped {len(pairs) - len(trainer.train_dataset)} of {len(pairs)} pairs")
    if gate:
        gate.start(trainer.model, scratch if save_every else None)
    training.train(trainer, ("loss", "rewards/margins"), scratch, columns)
    log = pd.DataFrame([entry for entry in trainer.state.log_history if "loss" in entry])
    return log[list(CURVE)].rename(columns=CURVE)


@contextmanager
def _within_reach(rows: list[dict], config: DPOConfig) -> Iterator[Dataset]:
    """The rows for a trainer that is made meanwhile. Of several processes TRL's main one writes what the reference says
    beside the data, and the others read it there: of data in memory that would be a folder of its own for each."""
    if config.world_size == 1:
        yield Dataset.from_list(rows)
        return
    state = PartialState()
    with TemporaryDirectory() if state.is_main_process else nullcontext() as folder:
        if state.is_main_process:
            Dataset.from_list(rows).save_to_disk(folder)
        [folder] = broadcast_object_list([folder])
        yield load_from_disk(folder)
        state.wait_for_everyone()


def _lengths(tokenizer: PreTrainedTokenizerBase, rows: list[dict]) -> list[int]:
    """Tokens of each row: the prompt and the longer of its answers."""
    return [max(count_tokens(tokenizer, row["prompt"] + row[side]) for side in ("chosen", "rejected")) for row in rows]


def _in_batches(lengths: list[int], size: int, seed: int) -> list[int]:
    """The order of the rows: batches of like count_tokens, rows of equal length and the batches themselves at random."""
    rng = random.Random(seed)
    order = sorted(range(len(lengths)), key=lambda n: (lengths[n], rng.random()))
    batches = [order[i : i + size] for i in range(0, len(order), size)]
    last = batches.pop() if len(order) % size else []  # a short batch in the middle would shift all that follow
    rng.shuffle(batches)
    return [n for batch in batches for n in batch] + last
