"""RLOO with TRL's trainer, and costs of accepted programs as part of a reward (arXiv 2508.20124).

    config = training_config("rloo", ...)
    train_grpo(model, tokenizer, problems, judge, "efficiency", config, costs=Costs(meter, measured, pool))

`lib.training.grpo.train_grpo` runs both algorithms: the kind of the config decides. RLOO's advantage is the reward
minus the mean of the others in the group (Ahmadian et al. 2024, arXiv 2402.14740), without GRPO's division by the
standard deviation; the KL to the initial policy is subtracted from the reward instead of being added to the loss.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import pandas as pd
from trl import RLOOTrainer

from lib.judge.cost import Cost, Meter
from lib.judge.verdict import Verdict
from lib.metrics import MAX_JUDGE_FAILURES, JudgeFailure
from lib.problems import Problem
from lib.rewards import Sample
from lib.training.shared_prefix import SharedPrefix


class RLOO(SharedPrefix, RLOOTrainer):
    """TRL's trainer with `rollout(prompts, trainer)` in place of `model.generate`, as GRPO's `rollout_func`."""

    def __init__(self, *arguments, rollout_func: Callable[[list, Any], dict], **options):
        super().__init__(*arguments, **options)
        self._rollout, self._prompts = rollout_func, []

    def _generate(self, prompts: list):
        self._prompts = prompts
        return super()._generate(prompts)

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields):
        return self._rollout(self._prompts, self)["completion_ids"]


def require_meter(costs: Sequence[Cost], most: float) -> int:
    """Returns on how many programs the meter failed. Raises JudgeFailure if they are more than `most`."""
    if (failed := sum(cost.error_type == "api_error" for cost in costs)) > most:
        raise JudgeFailure(f"the meter failed on {failed} of {len(costs)} accepted programs: repair it and run again")
    return failed


class Costs:
    """Measures the accepted programs of each step on new inputs.

    `measured(problem, seed)`: the problem with the tests on which costs are counted; the seed is that of the training
    and the step, so that no input comes twice. `pool`: problem id -> costs of known programs on such inputs.
    """

    def __init__(
        self, meter: Meter, measured: Callable[[Problem, int], Problem], pool: dict[str, tuple[int, ...]], seed: int = 0
    ):
        self.meter, self.measured, self.pool, self.seed = meter, measured, pool, seed
        self.log: dict[int, dict] = {}  # step, from 1 -> what was measured
        self._costs: dict[tuple[str, str], Cost] = {}

    def measure(self, pairs: list[tuple[str, Problem]], verdicts: list[Verdict], step: int) -> None:
        """Measures the accepted programs of a step; `step`: steps before it. Raises JudgeFailure if the meter failed on
        too many."""
        started, before = time.perf_counter(), self.meter.measured
        seed = self.seed * 1_000_003 + step
        accepted = [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict.accepted]
        problems = {problem.id: self.measured(problem, seed) for _, problem in accepted}
        costs = self.meter.measure_many([(program, problems[problem.id]) for program, problem in accepted])
        self._costs = {(program, problem.id): cost for (program, problem), cost in zip(accepted, costs, strict=True)}
        failed = require_meter(costs, MAX_JUDGE_FAILURES * len(pairs))
        excess = [
            cost.count / self.pool[problem.id][0]
            for (_, problem), cost in zip(accepted, costs, strict=True)
            if cost.count is not None
        ]
        self.log[step + 1] = {
            "measured": self.meter.measured - before,
            "measuring_s": time.perf_counter() - started,
            "cost_over_best": fmean(excess) if excess else None,
            "wrong_on_measured": sum(cost.count is None for cost in costs) - failed,
        }

    def attached(self, sample: Sample) -> Sample:
        """The sample with its cost and the pool of its problem."""
        name = sample.problem.id
        return replace(sample, cost=self._costs.get((sample.program, name)), pool=self.pool[name])

    def add_to(self, curve: pd.DataFrame) -> pd.DataFrame:
        """The curve with columns for what was measured; empty for steps before a restart."""
        return curve.join(pd.DataFrame.from_dict(self.log, orient="index"), on="step")
