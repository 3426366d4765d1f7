"""Early stopping: violations from planted faults; the collapse of an over-trained DPO, with the real TRL and judge."""

import json
import math
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from tiny_policy import make_model, teach
from trainings import UNDECIDED, config

from lib.judge.answers import extract
from lib.policy.generation import generate
from lib.policy.models import load_policy
from lib.policy.prompts import answer
from lib.problems import Problem, Test
from lib.training.dpo import preference_row, train_dpo
from lib.training.early_stop import WINDOW, EarlyStop, Limits, violations
from lib.training.greedy_probe import EvalPoint, GreedyProbe, k3

LIMITS = Limits(drop=0.05, timeouts=0.15, kl=0.5, judge_failures=0.1)


def outcome(error_type: str) -> tuple[str, float]:
    return error_type, float(error_type == "success")


def point(kl: float = 0.0, step: int = 10, **counts: int) -> EvalPoint:
    """Of one set, `monitor`, with so many problems of each error type, always the same ones of each."""
    types = [name for name, count in counts.items() for _ in range(count)]
    return EvalPoint(step, {"monitor": {f"p{n}": outcome(kind) for n, kind in enumerate(types)}}, kl)


START = point(success=20, wrong_answer=20)


@pytest.mark.parametrize(
    ("now", "named"),
    [
        (point(success=12, wrong_answer=28), "drop: monitor lost 20.0% of accepted_at_1 (p = 0.008)"),
        (point(success=20, wrong_answer=12, timeout=8), "timeouts: on monitor their rate rose by 20.0%"),
        (point(kl=0.6, success=20, wrong_answer=20), "kl: 0.6 nats per token from the initial policy"),
        (point(kl=math.nan, success=20, wrong_answer=20), "kl: nan nats per token from the initial policy"),
        (point(success=20, wrong_answer=15, api_error=5), "judge: it failed on 12.5% of the answers"),
    ],
    ids=["drop", "timeouts", "kl", "no number", "judge"],
)
def test_each_violation_comes_from_its_own_fault_alone(now, named):
    assert violations(START, now, LIMITS) == [named]


@pytest.mark.parametrize(
    "now",
    [
        START,
        point(success=25, wrong_answer=15),
        point(success=16, wrong_answer=24),  # four of forty: ten points, and chance (p = 0.125)
        point(success=20, wrong_answer=14, timeout=6),
        point(kl=0.5, success=20, wrong_answer=20),
        point(success=20, wrong_answer=16, api_error=4),
    ],
)
def test_a_policy_within_the_limits_violates_none(now):
    assert violations(START, now, LIMITS) == []


def test_a_small_drop_is_none_even_where_it_is_sure():
    wide = EvalPoint(0, {"monitor": {f"p{n}": outcome("success") for n in range(1000)}})
    now = point(success=990, wrong_answer=10)
    assert violations(wide, now, LIMITS) == []
    assert violations(wide, now, Limits(drop=0.005))[0].startswith("drop: monitor lost 1.0%")


def test_few_problems_prove_nothing():
    start, now = point(success=4, wrong_answer=4), point(success=1, wrong_answer=3, timeout=4)
    assert violations(start, now, LIMITS) == []


def test_problems_that_the_judge_failed_on_are_neither_lost_nor_won():
    start = point(success=4, api_error=1)
    now = point(api_error=1, success=3, wrong_answer=1)
    stats = now.stats(start)["monitor"]
    assert (stats["n"], stats["lost"], stats["won"], stats["change"]) == (4, 0, 0, 0.0)
    assert stats["accepted_at_1"] == 0.75
    assert stats["api_error_rate"] == pytest.approx(0.2)


class Run:
    """A training that is none: the events of a Trainer, with evaluations that the test has planted."""

    def __init__(self, folder, *points: EvalPoint, every: int = 10, last: int = 40):
        planted = {one.step: one for one in points}
        self.early_stop = EarlyStop(lambda model, step: planted[step], folder, every, LIMITS)
        self.model = torch.nn.Linear(1, 1)
        self.control = SimpleNamespace(should_training_stop=False)
        self.state = SimpleNamespace(global_step=0, max_steps=last)
        self.early_stop.start(self.model)
        self._tell("on_train_begin")

    def _tell(self, event: str, **named) -> None:
        getattr(self.early_stop, event)(None, self.state, self.control, model=self.model, **named)

    def train(self, **logs: list) -> "Run":
        while self.state.global_step < self.state.max_steps and not self.control.should_training_stop:
            self.state.global_step += 1
            self.model.weight.data.fill_(self.state.global_step)
            self._tell("on_step_end")
            step = self.state.global_step
            self._tell("on_log", logs={name: values[step - 1] for name, values in logs.items()})
        self._tell("on_train_end")
        return self


def good(step: int) -> EvalPoint:
    return point(step=step, success=20, wrong_answer=20)


def test_a_good_training_runs_to_its_end_and_is_evaluated_at_its_start_regularly_and_at_its_end(tmp_path):
    run = Run(tmp_path, *(good(step) for step in (0, 10, 20, 25)), last=25).train()
    assert run.state.global_step == 25
    assert [one.step for one in run.early_stop.points] == [0, 10, 20, 25]
    written = json.loads((tmp_path / "early_stop.json").read_text())
    assert (written["fail_count"], written["stopped_at"], written["violations"]) == (0, None, {})
    assert [one["sets"]["monitor"]["accepted_at_1"] for one in written["eval_points"]] == [0.5] * 4
    assert run.model.weight.item() == 25, "the weights are left as they are"


def test_a_violation_ends_the_training_and_restores_the_weights_of_the_last_good_evaluation(tmp_path, capsys):
    fallen = point(step=30, success=5, wrong_answer=35)
    run = Run(tmp_path, good(0), good(10), good(20), fallen).train()
    assert (run.state.global_step, run.early_stop.stopped_at, run.early_stop.last_good_step) == (30, 30, 20)
    assert run.model.weight.item() == 20
    assert "stopped at step 30: drop: monitor lost 37.5%" in capsys.readouterr().out
    written = json.loads((tmp_path / "early_stop.json").read_text())
    assert (written["fail_count"], written["stopped_at"]) == (1, 30)
    assert written["limits"]["drop"] == LIMITS.drop
    assert (
        written["eval_points"][-1]["sets"]["monitor"]["lost"],
        written["eval_points"][-1]["sets"]["monitor"]["won"],
    ) == (
        15,
        0,
    )
    table = run.early_stop.table()
    assert list(table.step) == [0, 10, 20, 30]
    assert [bool(text) for text in table.violations] == [False, False, False, True]


@pytest.mark.parametrize(
    ("logs", "named", "step"),
    [
        ({"kl": [0.1] * 14 + [0.7] * 26}, "kl: 0.7 nats", 15),
        ({"kl": [0.1] * 14 + [math.nan] * 26}, "kl: nan nats", 15),
        ({"api_error_rate": [0.05] * 12 + [0.2] * 28}, "judge: it failed on 20.0%", 13),
        ({"timeout_rate": [0.1] * 20 + [0.9] * 20}, "timeouts: their rate in training rose by 16.0%", 22),
    ],
    ids=["kl", "no number", "judge", "timeouts"],
)
def test_what_a_trainer_logs_is_held_to_the_same_limits_between_two_evaluations(tmp_path, logs, named, step):
    run = Run(tmp_path, good(0), good(10), good(20)).train(**logs)
    assert run.early_stop.stopped_at == run.state.global_step == step
    assert run.early_stop.violated[step][0].startswith(named)
    assert (
        json.loads((tmp_path / "early_stop.json").read_text())["violations"][str(step)] == run.early_stop.violated[step]
    )


def test_a_single_step_full_of_timeouts_is_no_spike(tmp_path):
    rates = [0.0] * (2 * WINDOW) + [1.0] + [0.0] * WINDOW
    run = Run(tmp_path, *(good(step) for step in (0, 10, 20, 30, 31)), last=31).train(timeout_rate=rates)
    assert run.early_stop.stopped_at is None


def test_a_resumed_training_is_compared_with_its_real_start(tmp_path):
    """The model that a resumed training begins with is not the policy it started from."""
    given = []
    planted = {0: good(0), 30: point(step=30, success=12, wrong_answer=28)}
    early_stop = EarlyStop(lambda model, step: given.append((model, step)) or planted[step], tmp_path, 10, LIMITS)
    first, resumed = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    control, state = (
        SimpleNamespace(should_training_stop=False),
        SimpleNamespace(global_step=20, max_steps=40, log_history=[]),
    )
    early_stop.start(first)
    early_stop.on_train_begin(None, state, control, model=resumed)
    state.global_step = 30
    early_stop.on_step_end(None, state, control, model=resumed)
    assert given == [(first, 0), (resumed, 30)]
    assert control.should_training_stop
    early_stop.on_train_end(None, state, control, model=resumed)
    assert torch.equal(resumed.weight, first.weight)


@pytest.mark.parametrize(("kl", "stopped", "weight"), [([0.1, 0.9, 0.2], 2, 0.0), ([0.1, 0.2, 0.2], None, 3.0)])
def test_what_other_processes_have_logged_is_held_to_the_same_limits_afterwards(tmp_path, kl, stopped, weight):
    early_stop, model = EarlyStop(lambda model, step: good(step), tmp_path, 10, LIMITS), torch.nn.Linear(1, 1)
    model.weight.data.fill_(0.0)
    early_stop.start(model)
    model.weight.data.fill_(3.0)
    curve = early_stop.review(model, pd.DataFrame({"step": [1, 2, 3], "kl": kl}), {})
    assert (early_stop.stopped_at, model.weight.item(), len(curve)) == (stopped, weight, stopped or 3)


def test_the_kl_is_the_estimator_k3_of_the_policy_against_the_start():
    policy, start = torch.tensor([0.5, 0.8]).log(), torch.tensor([0.25, 0.8]).log()
    assert k3(policy, start) == pytest.approx((0.5 - math.log(0.5) - 1) / 2)
    assert k3(start, policy) == pytest.approx((2 - math.log(2) - 1) / 2), "the direction matters"
    assert k3(policy, policy) == 0


def test_a_probe_measures_the_policy_against_the_weights_of_step_0_and_leaves_it_as_it_was(folder, tokenizer, judge):
    model = load_policy(folder, device="cpu")
    probe = GreedyProbe(tokenizer, {"watched": WATCHED}, judge, max_new_tokens=20)
    assert probe(model, 0).kl == 0
    assert probe(model, 1).kl == pytest.approx(0, abs=1e-9)
    torch.manual_seed(0)
    for weight in model.parameters():
        weight.data += 0.02 * torch.randn_like(weight)
    moved = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    kl = probe(model, 2).kl
    assert kl > 1e-3
    assert probe(model, 2).kl == kl, "the same samples each time"
    assert all(torch.equal(tensor, moved[name]) for name, tensor in model.state_dict().items())


def test_a_judge_that_fails_at_the_start_ends_the_training_at_once(tmp_path):
    run = Run(tmp_path, point(step=0, success=4, api_error=4))
    assert run.control.should_training_stop
    assert run.early_stop.violated[0] == ["judge: it failed on 50.0% of the answers"]


# The real thing: a policy that knows ten programs by heart, and two bad ones, which DPO is to make good.
WORDS = ["sun", "moon", "tree", "stone", "river", "cloud", "bread", "glass", "horse", "paper"]
KNOWN = {word: f"print({n})" for n, word in enumerate(WORDS)}
WATCHED = [
    Problem(word, "tiny", "valid", "stdio", word, (Test("\n", f"{n}\n"),), time_limit=0.2)
    for n, word in enumerate(WORDS)
]
PAIRS = [
    preference_row([{"role": "user", "content": name}], answer(good), answer(bad))
    for name, (good, bad) in UNDECIDED.items()
] * 4


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("knowing")
    model = make_model(tokenizer)
    bad = {prompt: programs[1] for prompt, programs in UNDECIDED.items()}
    assert any(teach(model, tokenizer, KNOWN | bad, steps=100) < 0.01 for _ in range(8))
    model.save_pretrained(folder)
    return folder


def solved(model, tokenizer, judge) -> int:
    written = generate(
        model, tokenizer, [[{"role": "user", "content": one.prompt}] for one in WATCHED], max_new_tokens=60
    )
    programs = [extract(one.text).program for [one] in written]
    return sum(one.accepted for one in judge.judge_many(list(zip(programs, WATCHED, strict=True)), progress=False))


def train_watched(folder, tokenizer, judge, tmp_path, learning_rate: float):
    model = load_policy(folder, device="cpu")
    probe = GreedyProbe(tokenizer, {"watched": WATCHED}, judge, max_new_tokens=60)
    early_stop = EarlyStop(probe, tmp_path, every=5)
    settings = config("dpo", tmp_path / "checkpoints", steps=20, learning_rate=learning_rate)
    curve = train_dpo(model, tokenizer, PAIRS, settings, early_stop=early_stop)
    return model, early_stop, curve


def test_the_collapse_of_an_over_trained_dpo_is_caught_and_undone(folder, tokenizer, judge, tmp_path):
    model, early_stop, curve = train_watched(folder, tokenizer, judge, tmp_path, learning_rate=2e-2)
    assert early_stop.points[0].stats(early_stop.points[0])["watched"]["accepted_at_1"] == 1
    assert early_stop.stopped_at is not None
    assert len(curve) == early_stop.stopped_at < 20, "it ended before it was over"
    assert curve.accuracy.iloc[-1] == 1, "the loss saw nothing wrong: all pairs are ranked correctly"
    kinds = {text.partition(":")[0] for text in early_stop.violated[early_stop.stopped_at]}
    assert {"drop", "kl"} <= kinds
    assert solved(model, tokenizer, judge) == 10, "the weights are those of the last good evaluation"


def test_a_training_that_resumes_keeps_its_earlier_evaluations_and_makes_only_the_remaining_ones(
    folder, tokenizer, judge, tmp_path
):
    class Dying(GreedyProbe):
        """Dies at the evaluation of step `at`, as a process that is killed would."""

        at = -1

        def __call__(self, model, step):
            if step == self.at:
                raise KeyboardInterrupt
            asked.append(step)
            return super().__call__(model, step)

    def train(name: str, at: int = -1):
        model = load_policy(folder, device="cpu")
        probe = Dying(tokenizer, {"watched": WATCHED}, judge, max_new_tokens=60)
        probe.at = at
        early_stop = EarlyStop(probe, tmp_path / name, every=3)
        kept = {"save_steps": 3, "scratch": tmp_path / f"{name}.scratch"}
        settings = config("dpo", tmp_path / name, steps=9, learning_rate=3e-5, **kept)
        train_dpo(model, tokenizer, PAIRS, settings, early_stop=early_stop)
        return early_stop, json.loads((tmp_path / name / "early_stop.json").read_text())

    asked: list[int] = []
    whole, written = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("killed", at=9)
    asked.clear()
    early_stop, again = train("killed")
    assert asked == [0, 9], "the baseline is taken again, because later ones need its weights"
    assert again == written
    assert early_stop.table().equals(whole.table())
    assert early_stop.last_good_step == 9


def test_a_step_with_a_violation_is_no_checkpoint_to_resume_from(folder, tokenizer, judge, tmp_path):
    model = load_policy(folder, device="cpu")
    early_stop = EarlyStop(GreedyProbe(tokenizer, {"watched": WATCHED}, judge, max_new_tokens=60), tmp_path, every=5)
    kept = {"save_steps": 5, "scratch": tmp_path / "scratch"}
    settings = config("dpo", tmp_path / "run", steps=20, learning_rate=2e-2, **kept)
    train_dpo(model, tokenizer, PAIRS, settings, early_stop=early_stop)
    assert early_stop.stopped_at == 5
    assert not list(tmp_path.glob("*/checkpoint-*"))


def test_a_healthy_dpo_runs_to_its_end(folder, tokenizer, judge, tmp_path):
    model, early_stop, curve = train_watched(folder, tokenizer, judge, tmp_path, learning_rate=3e-5)
    assert (early_stop.stopped_at, early_stop.violated, len(curve)) == (None, {}, 20)
    assert [one.step for one in early_stop.points] == [0, 5, 10, 15, 20]
    assert abs(early_stop.points[0].kl) < 1e-6
    assert 0 < early_stop.points[-1].kl < 0.5
    assert solved(model, tokenizer, judge) >= 9
    assert curve.margin.iloc[-1] > curve.margin[0]
