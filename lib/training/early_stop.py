"""The gate: looks at a policy while it is trained, and ends the training when the policy has become worse.

Every so many steps the policy answers the same problems greedily, and what the judge says is held against what it said
before the first step. A finding ends the training, and the weights of the last reading without one are put back:

| finding  | when                                                                                              |
|---|---|
| drop     | accepted_at_1 of a set fell by more than `drop`, and by more than chance (McNemar's exact test)   |
| timeouts | the timeout rate of a set rose by more than `timeouts`, and by more than chance                   |
| kl       | the policy is more than `kl` nats per token away from its start, or the distance is no number     |
| judge    | the judge failed on more than `judge_failures` of the answers                                     |

Between two readings the figures that a trainer logs itself (GRPO: `kl`, `timeout_rate`, `api_error_rate`) are held to
the same limits. `regressions.json` has every reading, its findings and how many readings had any (`fail_count`).

The distance is estimated from answers that the starting policy has sampled: the mean of log start(token) minus
log policy(token), a Monte Carlo estimate of KL(start || policy). It needs no second model in memory.

A training that was killed and goes on has its earlier readings again. A step with a finding is never saved as a
checkpoint, so that what goes on after it finds the same.
"""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

import pandas as pd
from transformers import PreTrainedTokenizerBase, TrainerCallback, TrainerControl, TrainerState

from lib.evaluation.checkpoints import validation_loss
from lib.judge import Verdict
from lib.policy.generation import generate
from lib.policy.models import load_policy
from lib.policy.prompts import answer, extract, messages
from lib.problems import Problem
from lib.runs.paths import write_atomically
from lib.runs.record import to_json
from lib.statistics import mcnemar_exact

FILE = "regressions.json"
KEPT = "readings.json"  # beside the checkpoints of a training: its readings, as a training that goes on needs them
WINDOW = 10  # logged steps whose timeout rates are averaged: of a single step they say little


@dataclass(frozen=True)
class Thresholds:
    """Shares, except `kl` (nats per token) and `p_value`; a drop of 0.05 is 5 points."""

    drop: float = 0.05
    p_value: float = 0.05
    timeouts: float = 0.15
    kl: float = 0.5
    judge_failures: float = 0.1


@dataclass(frozen=True)
class Reading:
    """What the judge says of a policy's answers, set -> problem id -> verdict, and its distance from the start."""

    step: int
    verdicts: dict[str, dict[str, Verdict]]
    kl: float = 0.0

    def slim(self) -> "Reading":
        """The same without the results of single tests, which nothing here asks for."""
        by_set = self.verdicts.items()
        slim = {name: {key: replace(one, tests=(), feedback="") for key, one in own.items()} for name, own in by_set}
        return replace(self, verdicts=slim)

    def figures(self, start: "Reading") -> dict[str, dict]:
        """Per set, of the problems judged: the slim metrics, and how many problems were lost and won since `start`."""
        found = {}
        for name, verdicts in self.verdicts.items():
            judged = {key: one for key, one in verdicts.items() if one.error_type != "api_error"}
            before = {key: one for key, one in start.verdicts[name].items() if key in judged}
            both = [key for key, one in before.items() if one.error_type != "api_error"]
            pairs = [(before[key], judged[key]) for key in both]
            solved, late = _paired(pairs, "success"), _paired(pairs, "timeout")
            found[name] = {
                "n": len(judged),
                "accepted_at_1": _mean(one.accepted for one in judged.values()),
                "change": solved["change"],
                "lost": solved["only_a"],
                "won": solved["only_b"],
                "p_value": solved["p_value"],
                "pass_ratio_mean": _mean(one.pass_ratio for one in judged.values()),
                "zero_reward_rate": _mean(one.pass_ratio == 0 for one in judged.values()),
                "timeout_rate": _mean(one.error_type == "timeout" for one in judged.values()),
                "timeout_change": late["change"],
                "timeout_p_value": late["p_value"],
                "api_error_rate": 1 - len(judged) / len(verdicts),
            }
        return found


def findings(start: Reading, now: Reading, limits: Thresholds) -> list[str]:
    """What is wrong with the policy at `now`, in words that begin with the finding's name; nothing: it is sound."""
    found = []
    for name, figures in now.figures(start).items():
        lost, rise = -figures["change"], figures["timeout_change"]
        if lost > limits.drop and figures["p_value"] < limits.p_value:
            found.append(f"drop: {name} lost {lost:.1%} of accepted_at_1 (p = {figures['p_value']:.1g})")
        if rise > limits.timeouts and figures["timeout_p_value"] < limits.p_value:
            found.append(f"timeouts: on {name} their rate rose by {rise:.1%}")
    verdicts = [one for own in now.verdicts.values() for one in own.values()]
    failed = _mean(one.error_type == "api_error" for one in verdicts) or 0.0
    return found + _limited({"kl": now.kl, "api_error_rate": failed}, limits)


def _limited(figures: dict[str, float], limits: Thresholds) -> list[str]:
    found = []
    if "kl" in figures and not figures["kl"] <= limits.kl:  # so that NaN counts
        found.append(f"kl: {figures['kl']:.3g} nats per token from the start")
    if figures.get("api_error_rate", 0.0) > limits.judge_failures:
        found.append(f"judge: it failed on {figures['api_error_rate']:.1%} of the answers")
    return found


class Probe:
    """Takes the readings: greedy answers to `sets` (name -> problems), judged; and the distance from the start.

    The distance is measured on one sampled answer of the starting policy to each problem of the first set.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        sets: dict[str, list[Problem]],
        judge,
        *,
        max_new_tokens: int,
        instruction: str = "",
        seed: int = 0,
    ):
        self.tokenizer, self.sets, self.judge = tokenizer, sets, judge
        self.max_new_tokens, self.instruction, self.seed = max_new_tokens, instruction, seed
        self._said: list[tuple[list[dict[str, str]], str]] = []
        self._loss = 0.0

    def __call__(self, model, step: int) -> Reading:
        """The reading of `model`; that of step 0 also keeps the answers by which later ones measure the distance."""
        if step == 0:
            self._said = self._sampled(model)
            self._loss = validation_loss(model, self.tokenizer, self._said) if self._said else 0.0
        problems = [problem for own in self.sets.values() for problem in own]
        written = self._written(model, problems)
        judged = self.judge.judge_many(
            [(extract(text).program, one) for text, one in zip(written, problems, strict=True)], progress=False
        )
        verdicts = iter(judged)
        by_set = {name: {problem.id: next(verdicts) for problem in own} for name, own in self.sets.items()}
        kl = validation_loss(model, self.tokenizer, self._said) - self._loss if self._said else 0.0
        return Reading(step, by_set, kl)

    def _sampled(self, model) -> list[tuple[list[dict[str, str]], str]]:
        """(conversation, program) of the answers that are a program and nothing else: only these can be scored."""
        problems = next(iter(self.sets.values()))
        texts = self._written(model, problems, temperature=1.0)
        pairs = [(messages(one, self.instruction), extract(text)) for one, text in zip(problems, texts, strict=True)]
        whole = zip(pairs, texts, strict=True)
        return [(chat, found.program) for (chat, found), text in whole if answer(found.program) == text]

    def _written(self, model, problems: list[Problem], temperature: float = 0.0) -> list[str]:
        chats = [messages(problem, self.instruction) for problem in problems]
        limits = {"max_new_tokens": self.max_new_tokens, "temperature": temperature, "seed": self.seed}
        return [one.text for [one] in generate(model, self.tokenizer, chats, **limits)]


class Gate(TrainerCallback):
    """The gate as a callback of any Trainer: reads before the first step, every `every` steps, and after the last.

    `probe(model, step)` gives a Reading. `folder`: where `regressions.json` is written after each of them.
    Afterwards `readings` and `found` (step -> findings) tell what was seen, and `stopped_at` at which step it ended.
    One copy of the weights that are trained is kept in the host's memory, so that it wants a model that is whole in
    this process.
    """

    def __init__(self, probe: Callable[..., Reading], folder: Path, every: int, limits: Thresholds | None = None):
        self.probe, self.folder, self.every, self.limits = probe, folder, every, limits or Thresholds()
        self.readings: list[Reading] = []
        self.found: dict[int, list[str]] = {}
        self.stopped_at: int | None = None
        self.sound_step, self._sound = 0, {}
        self._timeouts: list[float] = []
        self._scratch: Path | None = None

    def start(self, model, scratch: Path | None = None) -> None:
        """The first reading, what all others are held against. Call it where a training is resumed, with the policy as
        it was before the first step; else the training does. `scratch`: where its checkpoints are, and readings are
        kept."""
        self._scratch = scratch
        self.readings = [self.probe(model, 0)]
        self._keep(model, 0)

    def on_train_begin(self, args, state, control, model=None, **_):
        """The first reading, unless it has been taken; those before a kill."""
        if not self.readings:
            self.start(model)
        if state.global_step:
            self._timeouts = [one["timeout_rate"] for one in state.log_history if "timeout_rate" in one]
            self.readings += self._before(state.global_step)
            if self.readings[-1].step == state.global_step:
                self._keep(model, state.global_step)
        self._end_if(self.findings_of(self.readings[0]), 0, control)

    def on_step_end(self, args, state, control, model=None, **_):
        """A reading when it is due."""
        step = state.global_step
        if self.stopped_at is None and (step % self.every == 0 or step == state.max_steps):
            self._read(model, step, control)

    def on_log(self, args, state, control, logs=None, **_):
        """What the trainer logs itself, held to the same limits."""
        found = _limited(logs or {}, self.limits)
        if "timeout_rate" in (logs or {}):
            self._timeouts.append(logs["timeout_rate"])
            first, last = self._timeouts[:WINDOW], self._timeouts[-WINDOW:]
            if len(self._timeouts) >= 2 * WINDOW and fmean(last) - fmean(first) > self.limits.timeouts:
                found.append(f"timeouts: their rate in training rose by {fmean(last) - fmean(first):.1%}")
        if self.stopped_at is None and found:
            self._end_if(found, state.global_step, control)

    def on_train_end(self, args, state, control, model=None, **_):
        """After a stop, the weights of the last sound reading."""
        if self.stopped_at is not None:
            model.load_state_dict(self._sound, strict=False)  # they are those that are trained
            print(f"stopped at step {self.stopped_at}: {'; '.join(self.found[self.stopped_at])}")
            print(f"the weights are those of step {self.sound_step} again")

    def review(self, model, curve: pd.DataFrame, saved: dict[int, Path]) -> pd.DataFrame:
        """For a training that other processes have done: logged figures and `saved` checkpoints (by step), in order.

        `model` was given to `start`, and has the weights of the end. It is too late to end the training early; but a
        finding puts the weights of the last sound reading back all the same, and the curve is returned up to there.
        """
        control = TrainerControl()
        self._end_if(self.findings_of(self.readings[0]), 0, control)
        for figures in curve.to_dict("records"):
            if self.stopped_at is None and figures["step"] in saved:
                weights = load_policy(saved[figures["step"]], device="cpu").state_dict()
                model.load_state_dict(weights)
                self._read(model, figures["step"], control)
            self.on_log(None, TrainerState(global_step=figures["step"]), control, logs=figures)
        self.on_train_end(None, None, control, model=model)
        return curve if self.stopped_at is None else curve[curve.step <= self.stopped_at]

    def findings_of(self, reading: Reading) -> list[str]:
        """The findings of one of the readings."""
        return findings(self.readings[0], reading, self.limits)

    def table(self) -> pd.DataFrame:
        """One row per reading and set: the slim metrics, the distance, and what was found."""
        start = self.readings[0]
        return pd.DataFrame(
            {"step": one.step, "set": name, **figures, "kl": one.kl, "found": "; ".join(self.found.get(one.step, []))}
            for one in self.readings
            for name, figures in one.figures(start).items()
        )

    def _read(self, model, step: int, control) -> None:
        self.readings.append(self.probe(model, step))
        if not self._end_if(self.findings_of(self.readings[-1]), step, control):
            self._keep(model, step)

    def _end_if(self, found: list[str], step: int, control) -> bool:
        if found:
            self.found[step] = self.found.get(step, []) + found
            self.stopped_at, control.should_training_stop, control.should_save = step, True, False
        self._write()
        return bool(found)

    def _keep(self, model, step: int) -> None:
        self.sound_step = step
        trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
        self._sound = {name: weight.detach().to("cpu", copy=True) for name, weight in trained}

    def _before(self, step: int) -> list[Reading]:
        """The readings up to this step of the training that goes on, all but the first."""
        if self._scratch is None or not (self._scratch / KEPT).is_file():
            return []
        kept = [one for one in json.loads((self._scratch / KEPT).read_text()) if 0 < one["step"] <= step]
        for one in kept:
            by_set = one["verdicts"].items()
            one["verdicts"] = {name: {key: Verdict(**found) for key, found in own.items()} for name, own in by_set}
        return [Reading(**one) for one in kept]

    def _write(self) -> None:
        start = self.readings[0]
        readings = [
            {"step": one.step, "kl": one.kl, "sets": one.figures(start), "found": self.found.get(one.step, [])}
            for one in self.readings
        ]
        content = {
            "thresholds": asdict(self.limits),
            "fail_count": len(self.found),
            "stopped_at": self.stopped_at,
            "found": {str(step): found for step, found in self.found.items()},
            "readings": readings,
        }
        write_atomically(self.folder / FILE, to_json(content))
        if self._scratch is not None:
            write_atomically(self._scratch / KEPT, json.dumps([asdict(one.slim()) for one in self.readings]))


def _paired(pairs: list[tuple[Verdict, Verdict]], error_type: str) -> dict:
    """McNemar's test of how many verdicts are of this type, and the change of their share."""
    if not pairs:
        return {"only_a": 0, "only_b": 0, "p_value": 1.0, "change": 0.0}
    before, after = ([one.error_type == error_type for one in side] for side in zip(*pairs, strict=True))
    return mcnemar_exact(before, after) | {"change": fmean(after) - fmean(before)}


def _mean(values) -> float | None:
    values = [float(value) for value in values]
    return math.fsum(values) / len(values) if values else None
