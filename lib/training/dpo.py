"""DPO on preference pairs with TRL's DPOTrainer (Rafailov et al. 2023, arXiv 2305.18290).

Differences from TRL's defaults:
1. A pair longer than `max_length` is an error. TRL's collator truncates it silently, so that a rejected program loses
   its end, and drops a row only if nothing but the prompt would remain.
2. The reference is the initial policy; its log-probabilities are computed once, before the first step.
3. Pairs of a batch have similar lengths, which saves two thirds of the padding; every epoch has the same batches.
"""

import random
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from datasets import Dataset, load_from_disk
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import DPOConfig, DPOTrainer

from lib.policy.prompts import count_tokens, messages
from lib.training.config import TrainingConfig
from lib.training.early_stop import EarlyStop
from lib.training.launch import launched
from lib.training.pairs import Pair
from lib.training.resume import train
from lib.training.sft import Conversation, require_short

# Columns of TRL's log that are kept, and their names in curves.csv. Rewards are beta * log(policy / reference) of whole
# answers (nats); `accuracy`: the share of a step's pairs whose chosen answer has the higher reward.
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
    "minutes": "minutes",
}


def preference_rows(pairs: list[Pair], instruction: str = "") -> list[dict]:
    """Converts pairs to the rows that `train_dpo` takes."""
    chats = [messages(pair.chosen.problem, instruction) for pair in pairs]
    return [
        preference_row(chat, pair.chosen.completion, pair.rejected.completion)
        for chat, pair in zip(chats, pairs, strict=True)
    ]


def preference_row(conversation: Conversation, chosen: str, rejected: str) -> dict:
    """A row as TRL's DPOTrainer takes it, from two answers to a conversation."""
    sides = {"chosen": chosen, "rejected": rejected}
    return {"prompt": conversation} | {
        side: [{"role": "assistant", "content": answer}] for side, answer in sides.items()
    }


def train_dpo(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict],
    config: TrainingConfig,
    *,
    early_stop: EarlyStop | None = None,
) -> pd.DataFrame:
    """Trains `model` in place on `preference_rows`; returns the curve, one row per step.

    `early_stop` evaluates during the training and may end it; after a restart its baseline is still the model passed
    here. With `launch` in the config it evaluates the saved checkpoints afterwards, and an incomplete last batch of an
    epoch is filled with pairs of the epoch's first batch. Raises ValueError without pairs, and when a prompt with one
    of its answers is longer than `max_length` tokens.
    """
    if config.launch:
        return launched(train_dpo, model, tokenizer, config, {"rows": rows}, early_stop)
    if not rows:
        raise ValueError("there are no pairs to train on: draw more samples per problem, or use more problems")
    lengths = [
        max(count_tokens(tokenizer, row["prompt"] + row[side]) for side in ("chosen", "rejected")) for row in rows
    ]
    require_short(lengths, config.max_length)
    args = config.build(max_length=None)
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    with _shared_dataset([rows[n] for n in _in_batches(lengths, batch, args.seed)], args) as dataset:
        trainer = DPOTrainer(
            model=model,
            args=args,
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=config.adapters(),
        )
    return train(trainer, config, CURVE, shown=("loss", "rewards/margins"), data=rows, early_stop=early_stop)


@contextmanager
def _shared_dataset(rows: list[dict], args: DPOConfig) -> Generator[Dataset]:
    """Provides the rows as a dataset while the trainer is built. With several processes, TRL's main process writes the
    reference's log-probabilities next to the data and the others read them there; in-memory data would have a separate
    folder in each process."""
    if args.world_size == 1:
        yield Dataset.from_list(rows)
        return
    state = PartialState()
    with TemporaryDirectory() if state.is_main_process else nullcontext() as folder:
        if folder is not None:
            Dataset.from_list(rows).save_to_disk(folder)
        shared: list[Any] = broadcast_object_list([folder])
        dataset: Any = load_from_disk(shared[0])
        yield dataset
        state.wait_for_everyone()


def _in_batches(lengths: list[int], size: int, seed: int) -> list[int]:
    """The order of the rows: batches of similar lengths; rows of equal length, and the batches, in random order."""
    rng = random.Random(seed)
    order = sorted(range(len(lengths)), key=lambda n: (lengths[n], rng.random()))
    batches = [order[i : i + size] for i in range(0, len(order), size)]
    last = batches.pop() if len(order) % size else []  # a short batch in the middle would shift all later ones
    rng.shuffle(batches)
    return [n for batch in batches for n in batch] + last
