"""What the update of a GRPO step costs when each prompt is read once per completion (TRL's pass) and once in all.

    python tests/bench/shared_prefix.py [--preset smollm135m] [--pairs 5] [--threads 2] [--accumulation 1]

Real TRL updates of the preset's model and batch on random tokens of the preset's usual lengths, without sampling and
judging. The two passes alternate on the same samples, after a pair to warm up. Prints the medians of CPU seconds (of
all threads, which other processes disturb less) and of wall seconds by part of an update; `rest` is TRL's bookkeeping:
batches, advantages, metrics, callbacks. `--accumulation`: micro-batches of an update, by default those of the preset.
"""

import argparse
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback

from lib.policy.models import load_policy, load_tokenizer
from lib.runs.params_files import load_params_file
from lib.runs.paths import root
from lib.training.config import training_config
from lib.training.grpo import online_trainer

LENGTHS = {"tiny": ((25, 110), (8, 48)), "smollm135m": ((90, 190), (24, 128))}  # tokens of prompts, of completions
PARTS = ("reference", "policy", "backward", "clipping", "optimizer", "rest", "update")


class Updates(TrainerCallback):
    """Gives TRL random samples, alternates between the passes, and keeps the seconds of each part of each update."""

    __name__ = "random"

    def __init__(self, preset: str, vocabulary: int):
        self.lengths, self.vocabulary, self.trainer = LENGTHS[preset], vocabulary, None
        self.seconds, self.rows = defaultdict(lambda: [0.0, 0.0]), []

    def sample(self, prompts: list, trainer) -> dict:
        rng = random.Random(trainer.state.global_step // 2)  # both passes read the same

        def draw(limits: tuple[int, int]) -> list[int]:
            return [rng.randrange(3, self.vocabulary) for _ in range(rng.randint(*limits))]

        groups = [draw(self.lengths[0]) for _ in range(len(prompts) // trainer.num_generations)]
        return {
            "prompt_ids": [prompt for prompt in groups for _ in range(trainer.num_generations)],
            "completion_ids": [draw(self.lengths[1]) for _ in prompts],
            "logprobs": None,
        }

    def __call__(self, completions, **_) -> list[float]:
        return [float(number % 3) for number in range(len(completions))]

    def during(self, part: str, call: Callable) -> Callable:
        """`call`, with its seconds counted as those of `part`."""

        def timed(*arguments, **named):
            cpu, wall = time.process_time(), time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                name = part or ("policy" if torch.is_grad_enabled() else "reference")
                self.seconds[name][0] += time.process_time() - cpu
                self.seconds[name][1] += time.perf_counter() - wall

        return timed

    def watch(self, trainer) -> None:
        self.trainer = trainer
        trainer._get_per_token_logps_and_entropies = self.during("", trainer._get_per_token_logps_and_entropies)
        trainer._compare = lambda *_: None  # a comparison is not part of a usual step
        for part, name in (("backward", "backward"), ("clipping", "clip_grad_norm_")):
            setattr(trainer.accelerator, name, self.during(part, getattr(trainer.accelerator, name)))

    def on_train_begin(self, args, state, control, optimizer=None, **_):
        optimizer.step = self.during("optimizer", optimizer.step)

    def on_step_begin(self, args, state, control, **_):
        self.trainer.shared_prefix = bool(state.global_step % 2)
        self.seconds.clear()
        self.started = time.process_time(), time.perf_counter()

    def on_step_end(self, args, state, control, **_):
        whole = time.process_time() - self.started[0], time.perf_counter() - self.started[1]
        self.seconds["rest"] = [all_ - sum(part[i] for part in self.seconds.values()) for i, all_ in enumerate(whole)]
        self.seconds["update"] = list(whole)
        parts = {(kind, part): self.seconds[part][i] for i, kind in enumerate(("cpu", "wall")) for part in PARTS}
        self.rows.append({"pass": "shared" if self.trainer.shared_prefix else "TRL's", **parts})
        print(self.rows[-1]["pass"], *(f"{part} {parts['cpu', part]:.2f}" for part in PARTS), flush=True)


def main() -> None:
    """Prints the table for one preset."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="tiny", choices=LENGTHS)
    parser.add_argument("--policy", help="a model folder, by default the preset's base model")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--accumulation", type=int)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    preset = load_params_file(root() / "params" / asked.preset / "preset.yaml")
    policy = asked.policy or root() / preset["base_model"]
    model, tokenizer = load_policy(policy), load_tokenizer(policy)
    updates = Updates(asked.preset, model.config.vocab_size)
    with tempfile.TemporaryDirectory() as folder:
        block = preset["grpo"] | {"save_steps": 0, "learning_rate": 0.0}
        if asked.accumulation:
            block["gradient_accumulation_steps"] = asked.accumulation
        config = training_config("grpo", block, Path(folder), max_steps=2 * asked.pairs + 2)
        args = config.build()
        rows = [{"prompt": [{"role": "user", "content": str(number)}]} for number in range(args.generation_batch_size)]
        trainer = online_trainer(model, tokenizer, rows, updates, args, config, callbacks=[updates])
        trainer.remove_callback(PrinterCallback)
        updates.watch(trainer)
        trainer.train()
    table = pd.DataFrame(updates.rows[2:]).groupby("pass", sort=False).median().T
    table.index = pd.MultiIndex.from_tuples(table.index)
    print(table.assign(times=table["TRL's"] / table["shared"]).round(3).to_string())


if __name__ == "__main__":
    main()
