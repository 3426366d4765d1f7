"""Generation: conversations in, completions out; greedy or sampled.

Differences from `model.generate`:
1. A finished row leaves the batch at once and waiting rows take the free slots (continuous batching), so the few
   completions that reach the limit cost one row each, not a full batch.
2. Keys and values lie in one tensor that is allocated once: no copy per token, and memory that does not depend on the
   number of prompts. Attention reads them once per key head instead of copying them for each query head.
3. The random numbers of every completion are drawn before anything is decoded: a sample depends on the seed and on its
   place in the list, not on what else is in the batch.
4. A prompt with several samples is read once; for a group of GRPO, reading prompts is most of the cost.
5. On a CPU only as many rows are decoded at once as their keys and values fit into CACHE_BYTES.
Logits of one prompt in two batches still differ in their last bits, because matrix kernels add in another order; a
greedy choice changes only where two tokens are that close.
"""

import itertools
import time
from collections import deque
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, Cache, DynamicCache, GenerationConfig
from transformers import PreTrainedModel as Model
from transformers import PreTrainedTokenizerBase as Tokenizer

from lib.policy.prompts import prompt_ids
from lib.policy.protocols import Protocol

CACHE_BYTES = 2 << 30  # every batch of a tiny model needs less, and so do 64 rows of 700 tokens of smollm135m
REFILL = 0.75  # share of slots still in use at which waiting rows come in
READ_TOKENS = 4096  # of the prompts that are read at once

Conversations = Sequence[list[dict[str, str]] | list[int]]  # messages, or the token ids of a prompt


@dataclass(frozen=True)
class Completion:
    """What a model wrote. `ids` include the end token; `truncated`: it reached `max_new_tokens` without one.

    `seconds`: wall time, an equal share among those that were yielded together. `logprobs`: of the tokens, under the
    distribution that they were drawn from (0 for a greedy choice). Neither takes part in comparisons.
    """

    text: str
    ids: tuple[int, ...]
    truncated: bool
    seconds: float = field(default=0.0, compare=False)
    logprobs: tuple[float, ...] = field(default=(), compare=False)

    @property
    def tokens(self) -> int:
        """Number of tokens generated."""
        return len(self.ids)


def generate(
    model: Model, tokenizer: Tokenizer, conversations: Conversations, *, batch_size=128, dtype=None, **settings
) -> list[list[Completion]]:
    """The completions of each conversation, in the order of `conversations`. `settings`: fields of `Protocol`, such as
    `max_new_tokens`, `samples`, `temperature` and `seed`; see `generate_batches`."""
    protocol = Protocol("generate", **settings)
    batches = generate_batches(model, tokenizer, conversations, protocol, batch_size, (), dtype)
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
    dtype: torch.dtype | None = None,
) -> Iterator[list[tuple[int, Completion]]]:
    """Yields batches of (row, completion) in the order in which they end, without the rows in `skip`; row =
    conversation * samples + sample.

    A conversation is a list of messages, or the token ids of a whole prompt where earlier sampled tokens must be read
    as they are. `batch_size`: rows decoded at once, at most. `dtype`: of the weights while they generate, such as
    `sampling_dtype`'s; None: as they are.
    """
    prompts = [_as_ids(tokenizer, conversation) for conversation in conversations for _ in range(protocol.samples)]
    uniform = None  # a number in [0, 1) per completion and token
    if protocol.temperature > 0:
        generator = torch.Generator().manual_seed(protocol.seed)
        uniform = torch.rand(len(prompts), protocol.max_new_tokens, generator=generator)
    wanted = {row: prompt for row, prompt in enumerate(prompts) if row not in skip}
    ends = end_tokens(model.generation_config, tokenizer)
    was_training, attention = model.training, model.config._attn_implementation
    weights = [(weight, weight.data) for weight in model.parameters() if weight.is_floating_point()]
    model.eval()
    model.set_attn_implementation("grouped")
    began = time.perf_counter()
    try:
        for weight, data in weights:
            weight.data = data.to(dtype or data.dtype)
        for answers in _decode(model, wanted, protocol, uniform, ends, batch_size):
            texts = tokenizer.batch_decode([answer.ids for answer in answers.values()], skip_special_tokens=True)
            seconds = (time.perf_counter() - began) / len(answers)
            yield [
                (row, Completion(text, tuple(ids), ids[-1] not in ends, seconds, tuple(logprobs)))
                for text, (row, (ids, logprobs)) in zip(texts, answers.items(), strict=True)
            ]
            began = time.perf_counter()
    finally:
        for weight, data in weights:
            weight.data = data
        model.set_attn_implementation(attention)
        model.train(was_training)


def sampling_dtype(model: Model) -> torch.dtype:
    """bfloat16 where the model's device multiplies it in hardware, which samples faster; else the weights' own."""
    cpu = model.device.type == "cpu"
    fast = torch.cpu._is_avx512_bf16_supported() if cpu else torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if fast else model.dtype


def _as_ids(tokenizer: Tokenizer, conversation: Any) -> list[int]:
    return list(conversation) if isinstance(conversation[0], int) else prompt_ids(tokenizer, conversation)


class _Answer(NamedTuple):
    ids: list[int]
    logprobs: list[float]


@torch.inference_mode()
def _decode(
    model: Model,
    prompts: dict[int, list[int]],
    protocol: Protocol,
    uniform: torch.Tensor | None,
    ends: list[int],
    batch_size: int,
) -> Iterator[dict[int, _Answer]]:
    """Yields row -> answer, with its end token, as soon as a batch of rows has ended; greedy without `uniform`
    [rows, max_new_tokens]."""
    slots = _Slots(model, prompts, protocol.max_new_tokens, batch_size)
    ended: dict[int, _Answer] = {}
    while slots.waiting or slots.rows or ended:
        if len(ended) >= slots.size or not (slots.waiting or slots.rows):
            yield {row: ended.pop(row) for row in list(ended)[: slots.size]}
            continue
        if slots.waiting and len(slots.rows) <= slots.size * REFILL:
            slots.fill()
        logits = slots.forward()
        if uniform is None:
            tokens, logprobs = logits.argmax(-1), torch.zeros(len(logits))
        else:
            numbers = uniform[slots.rows, [len(slots.answers[row].ids) for row in slots.rows]]
            tokens, logprobs = _sample(logits / protocol.temperature, numbers.to(model.device))
        for row, token, logprob in zip(slots.rows, tokens.tolist(), logprobs.tolist(), strict=True):
            answer = slots.answers[row]
            answer.ids.append(token)
            answer.logprobs.append(logprob)
            if token in ends or len(answer.ids) == protocol.max_new_tokens:
                ended[row] = slots.answers.pop(row)
        slots.compact()


class _Slots(Cache):
    """The rows that are decoded at once, with their keys and values: [layers, 2, slots, heads, columns, head size]. The
    token at position n of a row is in column n of its slot, whatever its neighbours' lengths."""

    def __init__(self, model: Model, prompts: dict[int, list[int]], max_new_tokens: int, batch_size: int):
        super().__init__(layers=[])
        self.model, self.prompts, self.size = model, prompts, min(batch_size, len(prompts))
        self.columns = max(map(len, prompts.values()), default=0) + max_new_tokens
        # Longest first, so that prompts that are read together need little padding; equal prompts together.
        self.waiting = deque(sorted(prompts, key=lambda row: (-len(prompts[row]), prompts[row])))
        self.rows: list[int] = []  # of each slot in use
        self.answers: dict[int, _Answer] = {}  # of these rows, so far
        self.read: dict[tuple[int, ...], int] = {}  # prompt -> its place in `prefixes`
        self.prefixes = self.store = torch.empty(0)  # keys and values: of the prompts read last; of all slots
        self.clean = 0  # columns without left-over bits in any slot: a NaN would spoil sums even where it is masked

    def fill(self) -> None:
        """Gives the free slots to waiting rows. Prompts read together are kept until all their rows have begun."""
        while self.waiting and len(self.rows) < self.size:
            prompt = tuple(self.prompts[self.waiting[0]])
            if prompt not in self.read:
                self._read(list(itertools.islice(self.waiting, self.size - len(self.rows))))
            row, slot, width = self.waiting.popleft(), len(self.rows), self.prefixes.shape[-2]
            self.store[:, :, slot, :, :width] = self.prefixes[:, :, self.read[prompt]]
            self.rows.append(row)
            self.answers[row] = _Answer([], [])

    def _read(self, rows: list[int]) -> None:
        """Reads the prompts of rows up to their last token, which is the first input of decoding."""
        prompts = list(dict.fromkeys(tuple(self.prompts[row]) for row in rows))
        width = max(1, len(prompts[0]) - 1)
        prompts = prompts[: max(1, READ_TOKENS // width)]
        # Padded on the right with any token: no token attends to later ones, so no mask is needed.
        ids = torch.tensor([(*prompt[:width], *[0] * (width - len(prompt))) for prompt in prompts])
        cache: Any = DynamicCache(config=self.model.config)
        if any(cache.is_sliding):
            raise ValueError("this model attends to a sliding window, which only the engine vllm supports")
        self.model(input_ids=ids.to(self.model.device), past_key_values=cache, use_cache=True, logits_to_keep=1)
        self.prefixes = torch.stack([torch.stack([layer.keys, layer.values]) for layer in cache.layers])
        self.read = {prompt: place for place, prompt in enumerate(prompts)}
        if not self.store.numel():
            if self.prefixes.device.type == "cpu":
                row_bytes = self.prefixes[:, :, 0, :, 0].nbytes * self.columns
                self.size = max(1, min(self.size, CACHE_BYTES // row_bytes))
            layers, both, _, heads, _, size = self.prefixes.shape
            self.store = self.prefixes.new_empty(layers, both, self.size, heads, self.columns, size)
        self._clean(width)

    def _clean(self, width: int) -> None:
        if width > self.clean:
            self.store[..., self.clean : width + 64, :] = 0
            self.clean = width + 64

    def forward(self) -> torch.Tensor:
        """The logits of the next token of each row."""
        last = [(self.answers[row].ids or self.prompts[row])[-1] for row in self.rows]
        places = [len(self.prompts[row]) + len(self.answers[row].ids) - 1 for row in self.rows]
        width, device = max(places) + 1, self.model.device
        self._clean(width)
        positions = torch.tensor(places, device=device)
        self.used = self.store[:, :, : len(places), :, :width]
        self.written = (torch.arange(len(places), device=device), slice(None), positions)
        mask = torch.arange(width, device=device) <= positions[:, None]
        return self.model(
            input_ids=torch.tensor(last, device=device)[:, None],
            attention_mask=mask[:, None, None],
            position_ids=positions[:, None],
            past_key_values=self,
            use_cache=True,
        ).logits[:, -1]

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args, **kwargs):
        """Writes the keys and values of one token per row; returns those of all tokens so far."""
        keys, values = self.used[layer_idx]
        keys[self.written] = key_states[:, :, 0].to(keys.dtype)  # under autocast, the two may differ in precision
        values[self.written] = value_states[:, :, 0].to(values.dtype)
        return keys, values

    def compact(self) -> None:
        """Moves the last rows into the slots of rows that ended."""
        kept = len(self.answers)
        free = [slot for slot, row in enumerate(self.rows[:kept]) if row not in self.answers]
        moved = [slot for slot, row in enumerate(self.rows) if slot >= kept and row in self.answers]
        for slot, last in zip(free, moved, strict=True):
            self.used[:, :, slot] = self.used[:, :, last]
            self.rows[slot] = self.rows[last]
        del self.rows[kept:]


def _grouped_attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask=None, scaling=None, **_
) -> tuple[torch.Tensor, None]:
    """Attention without copies of the keys and values for each query head, which take most of the time on a CPU.

    One token per row (with a mask): the queries that share a key head are passed as if they were several tokens.
    """
    batch, heads, tokens, size = query.shape
    options: dict[str, Any] = {"is_causal": tokens > 1, "enable_gqa": True}
    if attention_mask is not None:
        query, options = query.reshape(batch, key.shape[1], -1, size), {"attn_mask": attention_mask}
    output = scaled_dot_product_attention(query, key, value, scale=scaling, **options)
    return output.reshape(batch, heads, tokens, size).transpose(1, 2), None


AttentionInterface.register("grouped", _grouped_attention)


def _sample(logits: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Inverts the cumulative distribution: the token at which it passes the row's uniform number, and its
    log-probability."""
    chances = logits.float().softmax(-1)
    cumulative = chances.cumsum(-1)
    target = uniform[:, None] * cumulative[:, -1:]
    tokens = torch.searchsorted(cumulative, target, right=True).clamp(max=logits.shape[-1] - 1)
    return tokens[:, 0], chances.gather(1, tokens)[:, 0].log()


def end_tokens(config: GenerationConfig, tokenizer: Tokenizer) -> list[int]:
    """The tokens that end an answer: those of the model's generation config, and the tokenizer's."""
    declared = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    return sorted({token for token in (*declared, tokenizer.eos_token_id) if token is not None})
