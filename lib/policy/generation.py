"""Generation: conversations in, completions out; greedy or sampled.

Differences from `model.generate`:
1. Finished sequences are removed from batch and cache, so the few completions that reach the limit cost one row each,
   not a full batch. With mixed lengths this is about five times faster on a CPU.
2. Batches hold prompts of similar length, longest first, so that little of a batch is padding.
3. The random numbers of every completion are drawn before anything is decoded: a sample depends on the seed and on its
   place in the list, not on how the work was divided into batches.
4. On a CPU a batch has only as many prompts as their keys and values fit into CACHE_BYTES.
5. A prompt with several samples in a batch is read once; for a group of GRPO, reading prompts is most of the cost.
Logits of one prompt in two batches still differ in their last bits, because matrix kernels add in another order; a
greedy choice changes only where two tokens are that close.
"""

import sys
import time
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig
from transformers import PreTrainedModel as Model
from transformers import PreTrainedTokenizerBase as Tokenizer

from lib.policy.prompts import prompt_ids
from lib.policy.protocols import Protocol

CACHE_BYTES = 1 << 30  # twice that while the cache grows; every batch of a tiny model needs less
Conversations = Sequence[list[dict[str, str]] | list[int]]  # messages, or the token ids of a prompt


@dataclass(frozen=True)
class Completion:
    """What a model wrote. `ids` include the end token; `truncated`: it reached `max_new_tokens` without one.

    `seconds`: wall time, an equal share of its batch's; it takes no part in comparisons.
    """

    text: str
    ids: tuple[int, ...]
    truncated: bool
    seconds: float = field(default=0.0, compare=False)

    @property
    def tokens(self) -> int:
        """Number of tokens generated."""
        return len(self.ids)


def generate(
    model: Model, tokenizer: Tokenizer, conversations: Conversations, *, batch_size=128, **settings
) -> list[list[Completion]]:
    """The completions of each conversation, in the order of `conversations`. `settings`: fields of `Protocol`, such as
    `max_new_tokens`, `samples`, `temperature` and `seed`; see `generate_batches`."""
    protocol = Protocol("generate", **settings)
    batches = generate_batches(model, tokenizer, conversations, protocol, batch_size)
    by_row = dict(pair for batch in batches for pair in batch)
    completions = [by_row[row] for row in range(len(by_row))]
    return [completions[start : start + protocol.samples] for start in range(0, len(completions), protocol.samples)]


def generate_batches(
    model: Model,
    tokenizer: Tokenizer,
    conversations: Conversations,
    protocol: Protocol,
    batch_size: int = 128,
    skip: Container[int] = (),
) -> Iterator[list[tuple[int, Completion]]]:
    """Yields batches of (row, completion) as they finish; row = conversation * samples + sample.

    A conversation is a list of messages, or the token ids of a whole prompt where earlier sampled tokens must be read
    as they are. `batch_size`: prompts decoded at once. A batch whose rows are all in `skip` is skipped; the other
    batches keep their rows, so that every completion stays the same.
    """
    prompts = [_as_ids(tokenizer, conversation) for conversation in conversations for _ in range(protocol.samples)]
    uniform = None  # a number in [0, 1) per completion and token
    if protocol.temperature > 0:
        generator = torch.Generator().manual_seed(protocol.seed)
        uniform = torch.rand(len(prompts), protocol.max_new_tokens, generator=generator)
    order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    was_training = model.training
    model.eval()
    try:
        start = 0
        while start < len(order):
            tokens = len(prompts[order[start]]) + protocol.max_new_tokens  # of the longest prompt that is left
            rows = order[start : start + min(batch_size, prompts_that_fit(model, tokens))]
            start += len(rows)
            if all(row in skip for row in rows):
                continue
            began = time.perf_counter()
            numbers = None if uniform is None else uniform[rows].to(model.device)
            decoded = _decode(model, tokenizer, [prompts[row] for row in rows], protocol, numbers)
            texts = tokenizer.batch_decode([ids for ids, _ in decoded], skip_special_tokens=True)
            seconds = (time.perf_counter() - began) / len(rows)
            yield [
                (row, Completion(text, tuple(ids), truncated, seconds))
                for row, text, (ids, truncated) in zip(rows, texts, decoded, strict=True)
            ]
    finally:
        model.train(was_training)


def prompts_that_fit(model: Model, tokens: int) -> int:
    """How many sequences of `tokens` tokens have keys and values within CACHE_BYTES; no limit on a GPU."""
    if model.device.type != "cpu":
        return sys.maxsize
    config = model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * width * model.dtype.itemsize
    return max(1, CACHE_BYTES // (per_token * tokens))


def _as_ids(tokenizer: Tokenizer, conversation: Any) -> list[int]:
    return list(conversation) if isinstance(conversation[0], int) else prompt_ids(tokenizer, conversation)


@torch.inference_mode()
def _decode(
    model: Model, tokenizer: Tokenizer, prompts: list[list[int]], protocol: Protocol, uniform: torch.Tensor | None
) -> list[tuple[list[int], bool]]:
    """(token ids with the end token, whether the limit cut them off) for each prompt of a batch; greedy without
    `uniform` [prompts, max_new_tokens]."""
    device, max_new_tokens = model.device, protocol.max_new_tokens
    unique = list(dict.fromkeys(map(tuple, prompts)))  # each is read once
    width = max(map(len, unique))
    ids = torch.full((len(unique), width), tokenizer.pad_token_id, device=device)
    mask = torch.zeros(len(unique), width + max_new_tokens, dtype=torch.long, device=device)
    for row, prompt in enumerate(unique):
        ids[row, width - len(prompt) :] = torch.tensor(prompt, device=device)
        mask[row, width - len(prompt) :] = 1  # up to the end: generated tokens are attended to
    positions = (mask[:, :width].cumsum(1) - 1).clamp(min=0)
    place = {prompt: row for row, prompt in enumerate(unique)}
    expand = torch.tensor([place[tuple(prompt)] for prompt in prompts], device=device)
    ends = end_tokens(model.generation_config, tokenizer)
    end_ids = torch.tensor(ends, device=device)
    rows = torch.arange(len(prompts), device=device)  # the prompt of each row that is still in the batch
    written = torch.full((len(prompts), max_new_tokens), -1, device=device)
    cache = DynamicCache(config=model.config)
    for step in range(max_new_tokens):
        logits = model(
            input_ids=ids,
            attention_mask=mask[:, : width + step],
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        if step == 0:
            logits, mask, positions = logits[expand], mask[expand], positions[expand]
            cache.batch_select_indices(expand)
        tokens = logits.argmax(-1) if uniform is None else _sample(logits / protocol.temperature, uniform[rows, step])
        written[rows, step] = tokens
        ended = torch.isin(tokens, end_ids)
        if ended.any():
            stay = torch.nonzero(~ended)[:, 0]
            if len(stay) == 0:
                break
            rows, tokens, mask, positions = rows[stay], tokens[stay], mask[stay], positions[stay]
            cache.batch_select_indices(stay)
        ids, positions = tokens[:, None], positions[:, -1:] + 1
    completions = [[token for token in row if token >= 0] for row in written.tolist()]
    return [(completion, completion[-1] not in ends) for completion in completions]


def _sample(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Inverts the cumulative distribution: the token at which it passes the row's uniform number."""
    cumulative = logits.float().softmax(-1).cumsum(-1)
    target = uniform[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)


def end_tokens(config: GenerationConfig, tokenizer: Tokenizer) -> list[int]:
    """The tokens that end an answer: those of the model's generation config, and the tokenizer's."""
    declared = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    return sorted({token for token in (*declared, tokenizer.eos_token_id) if token is not None})
