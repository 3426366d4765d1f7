"""Where two cores are during a GRPO step of the tiny preset: how long does one idle while the other works?

    python tests/bench/grpo_timeline.py [--policy FOLDER] [--steps 12] [--figure FILE.png]

Samples the busy time of every core from /proc/stat, every 20 ms, while the real GRPOTrainer trains the real policy with
the real judge, after two steps to warm up. Run it on a machine that does nothing else: the cores are the machine's, not
the process's. The kernel counts in ticks of 10 ms, so that a single sample is coarse and their sum is not.

Prints the time of a step by part (generate: the policy writes; judge: the step waits for verdicts; update: reference,
loss, gradient), and of each part the share in which one core worked and another idled; then the timeline of the last
step, a character per 20 ms and core: `#` at least three quarters busy, `+` at least a quarter, `.` idle.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from transformers import TrainerCallback

from lib.judge import Judge
from lib.policy.models import load_policy, load_tokenizer
from lib.problems import load_problems, problem_sets
from lib.runs.params_files import load_params_file
from lib.runs.paths import root
from lib.training.config import training_config
from lib.training.grpo import Rollouts, train_grpo

EVERY, WARM_UP = 0.02, 2  # seconds between two samples, steps that are not counted
HALF = 0.5  # a core that is busy for more of a sample works, else it idles
PARTS = ("generate", "judge", "update")


def busy_ticks(cores: list[int]) -> list[int]:
    """Of each core, the ticks since the start of the machine in which it was not idle."""
    lines = dict(line.split(maxsplit=1) for line in Path("/proc/stat").read_text().splitlines() if line[:3] == "cpu")
    fields = ([int(one) for one in lines[f"cpu{core}"].split()] for core in cores)
    return [sum(one[:8]) - one[3] - one[4] for one in fields]  # all but idle and iowait; guests count as user already


class Timeline(TrainerCallback):
    """What the cores did, sample by sample, and in which part of which step."""

    def __init__(self, cores: list[int]):
        self.cores, self.rows = cores, []
        self.step, self.part = 0, ""  # part: "" between two steps
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def on_train_begin(self, args, state, control, **_):
        self._thread.start()

    def on_step_begin(self, args, state, control, **_):
        self.step, self.part = state.global_step + 1, "update"

    def on_step_end(self, args, state, control, **_):
        self.part = ""

    def on_train_end(self, args, state, control, **_):
        self._stop.set()
        self._thread.join()

    def start(self, model, scratch) -> None:
        """What a gate would be asked for before the first step: nothing."""

    def during(self, part: str, call: Callable) -> Callable:
        """`call`, with its time counted as that of `part`."""

        def marked(*arguments, **named):
            before, self.part = self.part, part
            try:
                return call(*arguments, **named)
            finally:
                self.part = before

        return marked

    def _sample(self) -> None:
        tick = os.sysconf("SC_CLK_TCK")
        then, ticks = time.perf_counter(), busy_ticks(self.cores)
        while not self._stop.wait(EVERY):
            step, part = self.step, self.part
            now, found = time.perf_counter(), busy_ticks(self.cores)
            busy = [min(1.0, (new - old) / tick / (now - then)) for new, old in zip(found, ticks, strict=True)]
            self.rows.append({"step": step, "part": part, "seconds": now - then, **dict(enumerate(busy))})
            then, ticks = now, found

    def table(self) -> pd.DataFrame:
        """The samples inside of steps, without those to warm up; `one_sided`: one core worked and another idled."""
        rows = pd.DataFrame(self.rows)
        rows = rows[(rows.part != "") & (rows.step > WARM_UP)].copy()
        working = rows[list(range(len(self.cores)))] > HALF
        rows["one_sided"] = working.any(axis=1) & ~working.all(axis=1)
        return rows


def by_part(rows: pd.DataFrame) -> pd.DataFrame:
    """Per part: seconds of a step, its share of the step, and the share of the step in which it was one-sided."""
    steps, whole = rows.step.nunique(), rows.seconds.sum()
    found = {}
    for part in (*PARTS, "step"):
        own = rows if part == "step" else rows[rows.part == part]
        one_sided = own.seconds[own.one_sided].sum()
        busy = {f"core {core} busy": (own[core] * own.seconds).sum() / own.seconds.sum() for core in _cores(rows)}
        seconds = own.seconds.sum()
        found[part] = {"s": seconds / steps, "share": seconds / whole, "one_sided": one_sided / whole, **busy}
    return pd.DataFrame(found).T.round(3)


def drawn(rows: pd.DataFrame) -> str:
    """The last step: the part that the trainer is in, and each core, a character per sample."""
    last = rows[rows.step == rows.step.max()]
    levels = last[_cores(rows)].map(lambda busy: "#" if busy >= 0.75 else "+" if busy >= 0.25 else ".")
    lines = {"part": "".join(part[0] for part in last.part)}
    lines |= {f"core {core}": "".join(levels[core]) for core in levels}
    return "\n".join(f"{name:7}{line}" for name, line in lines.items())


def figure(rows: pd.DataFrame, path: Path) -> None:
    """The last step as a picture."""
    from matplotlib.figure import Figure

    last = rows[rows.step == rows.step.max()]
    began = last.seconds.cumsum() - last.seconds
    cores = _cores(rows)
    picture = Figure(figsize=(9, 1.2 * len(cores) + 0.8))
    panels = picture.subplots(len(cores), 1, sharex=True, squeeze=False)[:, 0]
    for core, axes in zip(cores, panels, strict=True):
        for colour, part in zip(("tab:blue", "tab:red", "tab:green"), PARTS, strict=True):
            own = last.part == part
            axes.bar(began[own], last[core][own], last.seconds[own], align="edge", color=colour, label=part)
        axes.set(ylabel=f"core {core}", ylim=(0, 1))
    panels[0].legend(loc="upper right", fontsize=7)
    panels[0].set_title(f"One core idles while the other works for {rows.one_sided.mean():.0%} of the samples")
    panels[-1].set_xlabel("seconds of one GRPO step")
    picture.savefig(path, dpi=100, bbox_inches="tight")


def _cores(rows: pd.DataFrame) -> list[int]:
    return [name for name in rows if isinstance(name, int)]


def main() -> None:
    """Trains for a few steps and prints what is told above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", default=str(root() / "data/tiny/base_model"), help="a model folder")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--figure", type=Path, help="where a picture of the last step is written")
    asked = parser.parse_args()
    preset = load_params_file(root() / "params/tiny/preset.yaml")
    torch.set_num_threads(preset["threads"])
    timeline = Timeline(sorted(os.sched_getaffinity(0)))
    Rollouts.sample = timeline.during("generate", Rollouts.sample)
    Rollouts.__call__ = timeline.during("judge", Rollouts.__call__)
    sets = [chosen for chosen in problem_sets(preset).values() if chosen.role == "train"]
    problems = [problem for chosen in sets for problem in load_problems(chosen.source, chosen.split)]
    with Judge(**preset["judge"]) as judge, tempfile.TemporaryDirectory() as folder:
        train_grpo(
            load_policy(asked.policy),
            load_tokenizer(asked.policy),
            problems,
            judge,
            "dense",
            training_config("grpo", preset["grpo"] | {"save_steps": 0}, Path(folder), max_steps=asked.steps),
            instruction=preset["instruction"],
            early_stop=timeline,
        )
    rows = timeline.table()
    print(by_part(rows).to_string())
    print(f"one core idles while the other works for {rows.seconds[rows.one_sided].sum() / rows.seconds.sum():.1%}")
    print(drawn(rows))
    if asked.figure:
        figure(rows, asked.figure)


if __name__ == "__main__":
    main()
