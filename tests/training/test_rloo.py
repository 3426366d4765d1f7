"""RLOO with the real TRL and the real judge; a stand-in for the meter knows what the two answers cost."""

from dataclasses import replace

import pytest
import torch
from tiny_policy import make_tokenizer
from trainings import TIMES, UNDECIDED, config, interrupted, without_times

from lib.judge import Judge, Verdict
from lib.judge.answers import extract
from lib.judge.cost import Cost
from lib.metrics import JudgeFailure
from lib.policy.generation import generate
from lib.policy.models import load_policy
from lib.problems import Problem, Test
from lib.training.grpo import CURVE, Rollouts, train_grpo
from lib.training.rloo import Costs

READ, CONSTANT = UNDECIDED["echo"]
PROBLEM = Problem("echo", "tiny", "train", "stdio", "echo", (Test("5\n", "5\n"),), time_limit=0.2)  # both are right
POOL = {"echo": (100, 10_000)}
PARTS = ["reward/accepted", "reward/pass_ratio", "reward/ran_to_the_end"]


class Meter:
    """What costs 100 and 10,000; a program in `failing` has the error type given there."""

    tier = "stand-in"

    def __init__(self, failing: dict[str, str] | None = None):
        self.measured, self.problems, self.failing = 0, [], failing or {}

    def measure_many(self, pairs):
        self.measured += len(pairs)
        self.problems += [problem for _, problem in pairs]
        return [
            Cost(self.tier, None, self.failing[program])
            if program in self.failing
            else Cost(self.tier, 100 if program == CONSTANT else 10_000)
            for program, _ in pairs
        ]


def on_new_input(problem: Problem, seed: int) -> Problem:
    return replace(problem, tests=(Test(f"{seed}\n", f"{seed}\n"),))


def costs(**options) -> Costs:
    return Costs(Meter(**options), on_new_input, POOL, seed=3)


def rloo(start, folder, scratch=None, measuring=None, **changed):
    """The curve and the weights of a short training with the reward `efficiency`."""
    fields = {"batch": 8, "num_generations": 8, "learning_rate": 1e-3, "max_completion_length": 60, "seed": 3}
    settings = config("rloo", folder, scratch=scratch, **fields | {"max_steps": 6, "save_steps": 2} | changed)
    model = load_policy(start, device="cpu")
    with Judge(workers=1) as judge:
        arguments = (model, make_tokenizer(), [PROBLEM], judge, "efficiency", settings)
        curve = train_grpo(*arguments, costs=measuring or costs())
    return without_times(curve), model.state_dict()


@pytest.fixture(scope="module")
def trained(undecided, tmp_path_factory):
    measuring = costs()
    curve, weights = rloo(undecided, tmp_path_factory.mktemp("trained"), measuring=measuring, max_steps=16)
    return curve, weights, measuring


def test_of_two_right_programs_the_cheaper_becomes_more_likely(undecided, trained, tokenizer):
    curve, weights, measuring = trained
    model = load_policy(undecided, device="cpu")

    def share_of_cheap() -> float:
        limits = {"max_new_tokens": 60, "temperature": 1.0, "samples": 64}
        [group] = generate(model, tokenizer, [[{"role": "user", "content": "echo"}]], **limits)
        return sum(extract(one.text).program == CONSTANT for one in group) / len(group)

    before = share_of_cheap()
    model.load_state_dict(weights)
    assert before < 0.7
    assert share_of_cheap() > before + 0.2
    assert list(curve.columns) == [name for name in (*CURVE.values(), *PARTS, "tokens") if name not in TIMES]
    assert not curve.isna().any().any()
    assert (curve.shared_prefix == 1).all(), "RLOO reads a prompt once, as GRPO does"
    table = measuring.add_to(curve)
    assert table.cost_over_best.iloc[-1] < table.cost_over_best.iloc[0]
    assert table.measured.sum() == measuring.meter.measured


def test_every_step_measures_on_inputs_of_its_own(trained):
    _, _, measuring = trained
    seeds = {problem.tests[0].input for problem in measuring.meter.problems}
    assert seeds == {f"{3 * 1_000_003 + step}\n" for step in range(16)}


def test_an_interrupted_training_resumes_with_the_same_curve_and_weights(undecided, tmp_path):
    whole, weights = rloo(undecided, tmp_path / "whole", tmp_path / "a")
    interrupted(rloo, undecided, tmp_path / "cut", tmp_path / "b")
    resumed, again = rloo(undecided, tmp_path / "resumed", tmp_path / "b")
    assert resumed.equals(whole)
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_samples_are_those_of_our_own_generation(undecided, tokenizer, tmp_path, monkeypatch):
    calls = []
    sample = Rollouts.sample
    monkeypatch.setattr(Rollouts, "sample", lambda *arguments: calls.append(sample(*arguments)) or calls[-1])
    rloo(undecided, tmp_path, max_steps=1, save_steps=0)
    model = load_policy(undecided, device="cpu")
    limits = {"max_new_tokens": 60, "temperature": 1.0, "seed": 3 * 1_000_003}
    expected = generate(model, tokenizer, [[{"role": "user", "content": "echo"}]] * 8, **limits)
    assert calls[0]["completion_ids"] == [list(one.ids) for [one] in expected]


def test_a_program_that_the_meter_fails_on_has_no_reward_and_a_wrong_one_gets_zero():
    verdicts = [Verdict(True, 1.0, "success", 1, 1, 0.0)] * 30
    measuring = costs(failing={"broken": "api_error", "wrong": "wrong_answer"})
    programs = ["broken", "broken", "wrong", *["right"] * 27]
    measuring.measure([(program, PROBLEM) for program in programs], verdicts, step=1)
    assert measuring.log[2]["wrong_on_measured"] == 1
    with pytest.raises(JudgeFailure, match="the meter failed on 4 of 30"):
        measuring.measure([(f"{program}", PROBLEM) for program in ["broken"] * 4 + programs[4:]], verdicts, step=2)


def test_costs_are_not_measured_by_several_processes(undecided, tmp_path):
    with pytest.raises(ValueError, match="one process only"):
        rloo(undecided, tmp_path, launch="accelerate.yaml")


def test_both_algorithms_take_the_same_fields(tmp_path):
    fields = {"max_steps": 2, "num_generations": 4, "max_completion_length": 8}
    grpo, rloo = (config(kind, tmp_path, **fields).build() for kind in ("grpo", "rloo"))
    shared = ("num_generations", "beta", "temperature", "shuffle_dataset", "warmup_steps", "lr_scheduler_type")
    assert [getattr(grpo, name) for name in shared] == [getattr(rloo, name) for name in shared]
