"""How fast is generation? `python tests/bench/generation.py [commit] [prompts] [tokens] [batch size]` measures it.

This tree, lib/policy/generation.py of an earlier commit (if it is named) and transformers' own continuous batching
sample from the tiny model and from smollm135m, in turn, each time in a process of its own. Printed: tokens, seconds of
the wall clock and of CPU (which say more on a shared machine), tokens per second of both, and peak memory. Half of the
prompts are shared by two rows.
"""

import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from lib.policy.generation import generate
from lib.policy.models import load_policy, load_tokenizer
from lib.policy.prompts import messages, prompt_ids
from lib.problems import load_problems
from lib.runs.paths import root

ROUNDS = 2


def load(commit: str, folder: Path):
    """The module lib.policy.generation as it was at a commit."""
    source = subprocess.check_output(["git", "show", f"{commit}:lib/policy/generation.py"], cwd=root(), text=True)
    (folder / "generation_before.py").write_text(source)
    spec = importlib.util.spec_from_file_location("generation_before", folder / "generation_before.py")
    sys.modules["generation_before"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure(program: str, path: str, prompts: int, tokens: int, batch: int) -> dict:
    model, tokenizer = load_policy(path), load_tokenizer(path)
    chats = [messages(problem) for problem in load_problems("tiny_contests", "train")[: prompts // 2] for _ in range(2)]
    settings = {"max_new_tokens": tokens, "temperature": 1.0}
    began, spent = time.perf_counter(), time.process_time()
    if program == "transformers":
        from transformers import ContinuousBatchingConfig, GenerationConfig

        ids = [prompt_ids(tokenizer, chat) for chat in chats]
        decoding = GenerationConfig(**settings, do_sample=True, top_k=0, eos_token_id=tokenizer.eos_token_id)
        longest = max(map(len, ids)) + tokens  # its cache would otherwise take most of the memory
        limits = ContinuousBatchingConfig(max_batch_tokens=4096, num_blocks=batch * (1 + longest // 256))
        answers = model.generate_batch(ids, decoding, limits).values()
        written = sum(len(answer.generated_tokens) for answer in answers)
    else:
        with tempfile.TemporaryDirectory() as folder:
            run = generate if program == "this tree" else load(program, Path(folder)).generate
        written = sum(answer.tokens for [answer] in run(model, tokenizer, chats, batch_size=batch, **settings))
    wall, cpu = time.perf_counter() - began, time.process_time() - spent
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"tokens": written, "wall": wall, "cpu": cpu, "peak": peak}


def main(commit: str | None = None, prompts: str = "96", tokens: str = "128", batch: str = "64") -> None:
    print(f"{prompts} prompts, up to {tokens} tokens, batch {batch}, {torch.get_num_threads()} threads")
    for name in ("tiny", "smollm135m"):
        path = root() / "data" / name / "base_model"
        if not path.is_dir():
            print(f"{name}: skipped, no weights in {path.relative_to(root())}: make {name} first")
            continue
        for _ in range(ROUNDS):
            for program in ("this tree", *([commit] if commit else []), "transformers"):
                asked = [sys.executable, __file__, "--measure", program, str(path), prompts, tokens, batch]
                done = subprocess.run(asked, capture_output=True, text=True)
                if done.returncode:
                    print(f"{name:12}{program:14}failed: {done.stderr.strip().splitlines()[-1]}", flush=True)
                    continue
                found = json.loads(done.stdout.splitlines()[-1])
                speeds = f"{found['tokens'] / found['wall']:6.0f} /s, {found['tokens'] / found['cpu']:6.0f} per CPU s"
                used = f"{found['wall']:7.1f} s, {found['cpu']:7.1f} CPU s, {found['peak']:5.2f} GiB"
                print(f"{name:12}{program:14}{found['tokens']:7} tokens {used}, {speeds}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(*sys.argv[2:4], *map(int, sys.argv[4:]))))
    else:
        main(*sys.argv[1:])
