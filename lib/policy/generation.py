"""Generation: conversations in, completions out; greedy or sampled.

How it departs from `model.generate`:
1. A row leaves the batch when it ends: the batch and the cache shrink, so the few completions that run into the limit
   cost one row each instead of a full batch. With completions of mixed length this is about five times faster on a CPU.
2. Batches are made of prompts of similar length, longest first, so that little of a batch is padding.
3. Random numbers are drawn per completion before anything is decoded: what is sampled depends on the seed and on the
   place in the list, not on how the work was cut into batches.
4. A prompt that several samples of a batch begin with is read once: of what a group of GRPO costs that is the most.
Two batchings of one prompt still differ in the last bits of their logits, since matrix kernels add in another order; a
greedy choice moves only where two tokens are that close.
"""

import time
from collections.abc import Container, Iterator
from dataclasses import dataclass, field

import torch
from transformers import DynamicCache, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Completion:
    """What a model wrote. `ids` hold the end token too; `truncated`: it hit `max_new_tokens` without one.

    `seconds`: wall time, of a batch the equal share; two completions are equal whatever they took.
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
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    message_lists: list[list[dict[str, str]]],
    *,
    samples: int = 1,
    **options,
) -> list[list[Completion]]:
    """`samples` completions per conversation, in the order of `message_lists`; `options` of `generate_batches`."""
    completions: list[list[Completion]] = [[None] * samples for _ in message_lists]
    for batch in generate_batches(model, tokenizer, message_lists, samples=samples, **options):
        for row, completion in batch:
            completions[row // samples][row % samples] = completion
    return completions


def generate_batches(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    message_lists: list[list[dict[str, str]]],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    samples: int = 1,
    batch_size: int = 128,
    seed: int = 0,
    skip: Container[int] = (),
) -> Iterator[list[tuple[int, Completion]]]:
    """Completions batch by batch as they finish, as (row, completion); row = conversation * samples + sample.

    Temperature 0 is greedy. `batch_size`: prompts decoded at once. `seed` draws samples. A conversation may also be
    given as the token ids of its prompt, where those that were sampled before must be read as they are.
    A batch whose rows are all in `skip` is left out; the others stay as they were, so that each completion does too.
    """
    if temperature == 0 and samples != 1:
        raise ValueError(f"{samples} greedy samples would all be the same: give a temperature above 0, or samples=1")
    prompts = [
        list(conversation)
        if isinstance(conversation[0], int)
        else tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_dict=False)
        for conversation in message_lists
        for _ in range(samples)
    ]
    chances = None
    if temperature > 0:
        chances = torch.rand(len(prompts), max_new_tokens, generator=torch.Generator().manual_seed(seed))
    order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            if all(row in skip for row in rows):
                continue
            began = time.perf_counter()
            ids = _decode(
                model,
                tokenizer,
                [prompts[row] for row in rows],
                max_new_tokens,
                temperature,
                None if chances is None else chances[rows],
            )
            texts = tokenizer.batch_decode([one for one, _ in ids], skip_special_tokens=True)
            share = (time.perf_counter() - began) / len(rows)
            yield [
                (row, Completion(text, tuple(one), truncated, share))
                for row, text, (one, truncated) in zip(rows, texts, ids, strict=True)
            ]
    finally:
        model.train(was_training)


@torch.inference_mode()
def _decode(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    max_new_tokens: int,
    temperature: float,
    chances: torch.Tensor | None,
) -> list[tuple[list[int], bool]]:
    """Token ids (the end token included) and whether the limit cut them off, for each of a batch of prompts."""
    device = model.device
    width = max(len(prompt) for prompt in prompts)
    different = list(dict.fromkeys(map(tuple, prompts)))  # each is read once
    ids = torch.full((len(different), width), tokenizer.pad_token_id, device=device)
    mask = torch.zeros(len(different), width + max_new_tokens, dtype=torch.long, device=device)
    for row, prompt in enumerate(different):
        ids[row, width - len(prompt) :] = torch.tensor(prompt, device=device)
        mask[row, width - len(prompt) :] = 1
    positions = (mask[:, :width].cumsum(1) - 1).clamp(min=0)
    place = {prompt: row for row, prompt in enumerate(different)}
    begun = torch.tensor([place[tuple(prompt)] for prompt in prompts], device=device)
    ends = torch.tensor(end_tokens(model.generation_config, tokenizer), device=device)
    if chances is not None:
        chances = chances.to(device)
    rows = torch.arange(len(prompts), device=device)  # which prompt each row still in the batch belongs to
    written = torch.full((len(prompts), max_new_tokens), -1, device=device)
    running = torch.ones(len(prompts), dtype=torch.bool, device=device)
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
            logits, mask, positions = logits[begun], mask[begun], positions[begun]
            cache.batch_select_indices(begun)
        tokens = logits.argmax(-1) if chances is None else _sample(logits / temperature, chances[rows, step])
        written[rows, step] = tokens
        ended = torch.isin(tokens, ends)
        if ended.any():
            running[rows[ended]] = False
            stay = torch.nonzero(~ended)[:, 0]
            if len(stay) == 0:
                break
            rows, tokens, mask, positions = rows[stay], tokens[stay], mask[stay], positions[stay]
            cache.batch_select_indices(stay)
        ids, positions = tokens[:, None], positions[:, -1:] + 1
    lengths = (written >= 0).sum(1).tolist()
    return [(one[:length], cut) for one, length, cut in zip(written.tolist(), lengths, running.tolist(), strict=True)]


def _sample(logits: torch.Tensor, chance: torch.Tensor) -> torch.Tensor:
    """Inverts the cumulative distribution: the token where it passes `chance`, a uniform number in [0, 1) per row."""
    cumulative = logits.float().softmax(-1).cumsum(-1)
    target = chance[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)


def end_tokens(config: GenerationConfig, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end an answer: those of the model's generation config, and the tokenizer's."""
    declared = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    return sorted({token for token in (*declared, tokenizer.eos_token_id) if token is not None})
