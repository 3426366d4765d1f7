"""Early stopping: evaluates the policy during training, and ends the training when the policy has become worse.

Every `every` steps the policy answers the same problems greedily (`lib.training.greedy_probe`), and the verdicts are
compared with those before the first step. A violated limit ends the training, and the weights of the last evaluation
without a violation are restored:

| violation | when                                                                                                   |
|---|---|
| drop      | accepted_at_1 of a set fell by more than `drop`, and the drop is significant (McNemar's exact test)    |
| timeouts  | the timeout rate of a set rose by more than `timeouts`, and the rise is significant                    |
| kl        | KL(policy || initial policy) is above `kl` nats per token, or is not finite                            |
| judge     | the judge failed on more than `judge_failures` of the answers                                          |

Between two evaluations the values that the trainer logs (GRPO: `kl`, `timeout_rate`, `api_error_rate`) are checked
against the same limits. A resumed training restores its earlier evaluations; a step with a violation is never saved as
a checkpoint, so that a resumed training sees the same violation.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
from transformers import TrainerCallback, TrainerControl, TrainerState

from lib.policy.models import load_policy
from lib.runs.paths import write_atomically
from lib.runs.record import to_json
from lib.statistics import mean
from lib.training.greedy_probe import EvalPoint, GreedyProbe, Weights, trained_weights

__all__ = ["EarlyStop", "EvalPoint", "GreedyProbe", "Limits", "violations"]
FILE = "early_stop.json"
KEPT = "eval_points.json"  # evaluations, stored beside the checkpoints for a resumed training
WINDOW = 10  # logged steps over which timeout rates are averaged: a single step is too noisy


@dataclass(frozen=True)
class Limits:
    """Shares, except `kl` (nats per token) and `p_value`; a drop of 0.05 is 5 points."""

    drop: float = 0.05
    p_value: float = 0.05
    timeouts: float = 0.15
    kl: float = 0.5
    judge_failures: float = 0.1


def violations(start: EvalPoint, now: EvalPoint, limits: Limits) -> list[str]:
    """The limits that the policy violates at `now`, each as a sentence that begins with the violation's name."""
    texts = []
    for name, stats in now.stats(start).items():
        lost, rise = -stats["change"], stats["timeout_change"]
        if lost > limits.drop and stats["p_value"] < limits.p_value:
            texts.append(f"drop: {name} lost {lost:.1%} of accepted_at_1 (p = {stats['p_value']:.1g})")
        if rise > limits.timeouts and stats["timeout_p_value"] < limits.p_value:
            texts.append(f"timeouts: on {name} their rate rose by {rise:.1%}")
    outcomes = [outcome for by_problem in now.outcomes.values() for outcome in by_problem.values()]
    failed = mean(error_type == "api_error" for error_type, _ in outcomes) or 0.0
    return texts + _violations_of_log({"kl": now.kl, "api_error_rate": failed}, limits)


def _violations_of_log(values: dict[str, float], limits: Limits) -> list[str]:
    texts = []
    if "kl" in values and not values["kl"] <= limits.kl:  # NaN violates it too
        texts.append(f"kl: {values['kl']:.3g} nats per token from the initial policy")
    if values.get("api_error_rate", 0.0) > limits.judge_failures:
        texts.append(f"judge: it failed on {values['api_error_rate']:.1%} of the answers")
    return texts


class EarlyStop(TrainerCallback):
    """Evaluates before the first step, every `every` steps and after the last; ends the training at a violation.

    `probe(model, step)` returns an EvalPoint (`GreedyProbe`). `folder`: where `early_stop.json` is written after each
    evaluation, with all evaluations (`points`) and violations (`violated`: step -> sentences). `stopped_at`: the step
    at which the training was ended, or None. One copy of the trained weights is kept in host memory.
    """

    def __init__(self, probe: Callable[..., EvalPoint], folder: Path, every: int, limits: Limits | None = None):
        self.probe, self.folder, self.every, self.limits = probe, folder, every, limits or Limits()
        self.points: list[EvalPoint] = []
        self.violated: dict[int, list[str]] = {}
        self.stopped_at: int | None = None
        self.last_good_step = 0
        self._last_good: Weights = {}
        self._timeouts: list[float] = []
        self._scratch: Path | None = None

    def start(self, model, scratch: Path | None = None) -> None:
        """Takes the baseline evaluation of the initial policy. `scratch`: the folder of the checkpoints of a training
        that may resume, where evaluations are stored too."""
        self._scratch = scratch
        self.points = [self.probe(model, 0)]
        self._keep(model, 0)

    def on_train_begin(self, args, state, control, model: Any = None, **_):
        """Restores earlier evaluations after a restart."""
        if state.global_step:
            self._timeouts = [entry["timeout_rate"] for entry in state.log_history if "timeout_rate" in entry]
            self.points += self._restored(state.global_step)
            if self.points[-1].step == state.global_step:
                self._keep(model, state.global_step)
        self._end_if(violations(self.points[0], self.points[0], self.limits), 0, control)

    def on_step_end(self, args, state, control, model: Any = None, **_):
        step = state.global_step
        if self.stopped_at is None and (step % self.every == 0 or step == state.max_steps):
            self._evaluate(model, step, control)

    def on_log(self, args, state, control, logs: Any = None, **_):
        """Checks the values that the trainer logs against the same limits."""
        texts = _violations_of_log(logs or {}, self.limits)
        if "timeout_rate" in (logs or {}):
            self._timeouts.append(logs["timeout_rate"])
            rise = fmean(self._timeouts[-WINDOW:]) - fmean(self._timeouts[:WINDOW])
            if len(self._timeouts) >= 2 * WINDOW and rise > self.limits.timeouts:
                texts.append(f"timeouts: their rate in training rose by {rise:.1%}")
        if self.stopped_at is None and texts:
            self._end_if(texts, state.global_step, control)

    def on_train_end(self, args, state, control, model: Any = None, **_):
        """After a violation, restores the weights of the last good evaluation."""
        if self.stopped_at is not None:
            model.load_state_dict(self._last_good, strict=False)  # only the trained weights
            print(f"stopped at step {self.stopped_at}: {'; '.join(self.violated[self.stopped_at])}")
            print(f"restored the weights of step {self.last_good_step}")

    def review(self, model, curve: pd.DataFrame, saved: dict[int, Path]) -> pd.DataFrame:
        """Checks a finished training of other processes: the logged values and the `saved` checkpoints, in order.

        `model` is the one passed to `start`, now with the final weights. It is too late to end the training early, but
        a violation still restores the weights of the last good evaluation, and the returned curve ends there.
        """
        control = TrainerControl()
        self._end_if(violations(self.points[0], self.points[0], self.limits), 0, control)
        for values in curve.to_dict("records"):
            if self.stopped_at is None and values["step"] in saved:
                model.load_state_dict(load_policy(saved[values["step"]], device="cpu").state_dict())
                self._evaluate(model, values["step"], control)
            self.on_log(None, TrainerState(global_step=values["step"]), control, logs=values)
        self.on_train_end(None, None, control, model=model)
        return curve if self.stopped_at is None else curve[curve.step <= self.stopped_at]

    def table(self) -> pd.DataFrame:
        """One row per evaluation and set: its stats, the KL, and the violations."""
        return pd.DataFrame(
            {
                "step": point["step"],
                "set": name,
                **stats,
                "kl": point["kl"],
                "violations": "; ".join(point["violations"]),
            }
            for point in self._records()
            for name, stats in point["sets"].items()
        )

    def _evaluate(self, model, step: int, control) -> None:
        self.points.append(self.probe(model, step))
        texts = violations(self.points[0], self.points[-1], self.limits)
        if not texts:
            self._keep(model, step)
        self._end_if(texts, step, control)

    def _end_if(self, texts: list[str], step: int, control) -> None:
        if texts:
            self.violated[step] = self.violated.get(step, []) + texts
            self.stopped_at, control.should_training_stop, control.should_save = step, True, False
        self._write()

    def _keep(self, model, step: int) -> None:
        self.last_good_step, self._last_good = step, trained_weights(model)

    def _restored(self, step: int) -> list[EvalPoint]:
        """The evaluations of the resumed training up to this step, except the first."""
        if self._scratch is None or not (self._scratch / KEPT).is_file():
            return []
        points = [EvalPoint(**point) for point in json.loads((self._scratch / KEPT).read_text())]
        return [point for point in points if 0 < point.step <= step]

    def _records(self) -> list[dict]:
        return [
            {
                "step": point.step,
                "kl": point.kl,
                "sets": point.stats(self.points[0]),
                "violations": self.violated.get(point.step, []),
            }
            for point in self.points
        ]

    def _write(self) -> None:
        content = {
            "limits": asdict(self.limits),
            "fail_count": len(self.violated),
            "stopped_at": self.stopped_at,
            "last_good_step": self.last_good_step,
            "violations": {str(step): texts for step, texts in self.violated.items()},
            "eval_points": self._records(),
        }
        write_atomically(self.folder / FILE, to_json(content))
        if self._scratch is not None:
            write_atomically(self._scratch / KEPT, json.dumps([asdict(point) for point in self.points]))
