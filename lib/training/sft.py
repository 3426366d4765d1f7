"""Supervised fine-tuning on (conversation, program) pairs with TRL's SFTTrainer; it trains the tiny base model too.

Differences from TRL's defaults: the loss is on the completion only, and a pair longer than `max_length` is an error
(TRL silently drops it or truncates its program).
"""

import pandas as pd
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl import SFTTrainer

from lib.policy.prompts import answer, count_tokens
from lib.training.config import TrainingConfig
from lib.training.launch import launched
from lib.training.resume import train

Conversation = list[dict[str, str]]
CURVE = {name: name for name in ("step", "loss", "learning_rate", "minutes")}


def order_rows(lengths: list[int], batch_size: int, steps: int, easy: int, easy_steps: int, seed: int) -> list[int]:
    """Returns the rows of `steps` batches, each of similar lengths; every row is seen before any is seen again.

    The order depends only on the arguments. (The Trainer's own grouping draws from the process's random numbers, so a
    resumed training would see another order.)
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

    The first `easy_steps` batches are drawn from the first `easy` pairs alone: a warm-up before the larger set. Raises
    ValueError when a pair has more than `max_length` tokens.
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
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    trainer.order = order_rows(lengths, batch, args.max_steps, easy, easy_steps, args.seed)
    return train(trainer, config, CURVE, shown=("loss",), data=(rows, easy, easy_steps))


def require_short(lengths: list[int], limit: int) -> None:
    """Raises ValueError when a pair has more tokens than `limit`."""
    if too_long := sum(tokens > limit for tokens in lengths):
        raise ValueError(
            f"{too_long} of {len(lengths)} pairs are longer than {limit} tokens (the longest has {max(lengths)}): "
            "filter them or raise max_length"
        )
