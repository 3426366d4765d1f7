"""The gate: every finding from a planted fault; the collapse of an over-trained DPO, with the real TRL and judge."""

import json
import math
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from tiny_policy import make_model, make_tokenizer, teach

from lib.judge import Judge, Verdict
from lib.policy.generation import generate
from lib.policy.models import load_policy
from lib.policy.prompts import answer, extract
from lib.problems import Problem, Test
from lib.training.dpo import train_dpo
from lib.training.early_stop import WINDOW, Gate, Probe, Reading, Thresholds, findings

LIMITS = Thresholds(drop=0.05, timeouts=0.15, kl=0.5, judge_failures=0.1)


def verdict(error_type: str) -> Verdict:
    return Verdict(error_type == "success", float(error_type == "success"), error_type, 0, 1, 0.01)


def reading(kl: float = 0.0, step: int = 10, **counts: int) -> Reading:
    """Of one set, `monitor`, with so many problems of each error type, always the same ones of each."""
    types = [name for name, count in counts.items() for _ in range(count)]
    return Reading(step, {"monitor": {f"p{n}": verdict(kind) for n, kind in enumerate(types)}}, kl)


START = reading(success=20, wrong_answer=20)


@pytest.mark.parametrize(
    ("now", "named"),
    [
        (reading(success=12, wrong_answer=28), "drop: monitor lost 20.0% of accepted_at_1 (p = 0.008)"),
        (reading(success=20, wrong_answer=12, timeout=8), "timeouts: on monitor their rate rose by 20.0%"),
        (reading(kl=0.6, success=20, wrong_answer=20), "kl: 0.6 nats per token from the start"),
        (reading(kl=math.nan, success=20, wrong_answer=20), "kl: nan nats per token from the start"),
        (reading(success=20, wrong_answer=15, api_error=5), "judge: it failed on 12.5% of the answers"),
    ],
    ids=["drop", "timeouts", "kl", "no number", "judge"],
)
def test_each_finding_comes_from_its_own_fault_alone(now, named):
    assert findings(START, now, LIMITS) == [named]


@pytest.mark.parametrize(
    "now",
    [
        START,
        reading(success=25, wrong_answer=15),
        reading(success=16, wrong_answer=24),  # four of forty: ten points, and chance (p = 0.125)
        reading(success=20, wrong_answer=14, timeout=6),
        reading(kl=0.5, success=20, wrong_answer=20),
        reading(success=20, wrong_answer=16, api_error=4),
    ],
)
def test_a_policy_within_the_limits_is_sound(now):
    assert findings(START, now, LIMITS) == []


def test_a_small_drop_is_none_even_where_it_is_sure():
    wide = Reading(0, {"monitor": {f"p{n}": verdict("success") for n in range(1000)}})
    now = reading(success=990, wrong_answer=10)
    assert findings(wide, now, LIMITS) == []
    assert findings(wide, now, Thresholds(drop=0.005))[0].startswith("drop: monitor lost 1.0%")


def test_few_problems_prove_nothing():
    start, now = reading(success=4, wrong_answer=4), reading(success=1, wrong_answer=3, timeout=4)
    assert findings(start, now, LIMITS) == []


def test_problems_that_the_judge_failed_on_are_neither_lost_nor_won():
    start = reading(success=4, api_error=1)
    now = reading(api_error=1, success=3, wrong_answer=1)
    figures = now.figures(start)["monitor"]
    assert (figures["n"], figures["lost"], figures["won"], figures["change"]) == (4, 0, 0, 0.0)
    assert figures["accepted_at_1"] == 0.75
    assert figures["api_error_rate"] == pytest.approx(0.2)


class Run:
    """A training that is none: the events of a Trainer, with readings that the test has planted."""

    def __init__(self, folder, *readings: Reading, every: int = 10, last: int = 40):
        planted = {one.step: one for one in readings}
        self.gate = Gate(lambda model, step: planted[step], folder, every, LIMITS)
        self.model = torch.nn.Linear(1, 1)
        self.control = SimpleNamespace(should_training_stop=False)
        self.state = SimpleNamespace(global_step=0, max_steps=last)
        self._tell("on_train_begin")

    def _tell(self, event: str, **named) -> None:
        getattr(self.gate, event)(None, self.state, self.control, model=self.model, **named)

    def train(self, **logs: list) -> "Run":
        while self.state.global_step < self.state.max_steps and not self.control.should_training_stop:
            self.state.global_step += 1
            self.model.weight.data.fill_(self.state.global_step)
            self._tell("on_step_end")
            step = self.state.global_step
            self._tell("on_log", logs={name: values[step - 1] for name, values in logs.items()})
        self._tell("on_train_end")
        return self


def sound(step: int) -> Reading:
    return reading(step=step, success=20, wrong_answer=20)


def test_a_sound_training_runs_to_its_end_and_is_read_at_its_start_its_cadence_and_its_end(tmp_path):
    run = Run(tmp_path, *(sound(step) for step in (0, 10, 20, 25)), last=25).train()
    assert run.state.global_step == 25
    assert [one.step for one in run.gate.readings] == [0, 10, 20, 25]
    written = json.loads((tmp_path / "regressions.json").read_text())
    assert (written["fail_count"], written["stopped_at"], written["found"]) == (0, None, {})
    assert [one["sets"]["monitor"]["accepted_at_1"] for one in written["readings"]] == [0.5] * 4
    assert run.model.weight.item() == 25, "the weights are left as they are"


def test_a_finding_ends_the_training_and_the_weights_of_the_last_sound_reading_come_back(tmp_path, capsys):
    fallen = reading(step=30, success=5, wrong_answer=35)
    run = Run(tmp_path, sound(0), sound(10), sound(20), fallen).train()
    assert (run.state.global_step, run.gate.stopped_at, run.gate.sound_step) == (30, 30, 20)
    assert run.model.weight.item() == 20
    assert "stopped at step 30: drop: monitor lost 37.5%" in capsys.readouterr().out
    written = json.loads((tmp_path / "regressions.json").read_text())
    assert (written["fail_count"], written["stopped_at"]) == (1, 30)
    assert written["thresholds"]["drop"] == LIMITS.drop
    assert (written["readings"][-1]["sets"]["monitor"]["lost"], written["readings"][-1]["sets"]["monitor"]["won"]) == (
        15,
        0,
    )
    table = run.gate.table()
    assert list(table.step) == [0, 10, 20, 30]
    assert [bool(text) for text in table.found] == [False, False, False, True]


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
def test_what_a_trainer_logs_is_held_to_the_same_limits_between_two_readings(tmp_path, logs, named, step):
    run = Run(tmp_path, sound(0), sound(10), sound(20)).train(**logs)
    assert run.gate.stopped_at == run.state.global_step == step
    assert run.gate.found[step][0].startswith(named)
    assert json.loads((tmp_path / "regressions.json").read_text())["found"][str(step)] == run.gate.found[step]


def test_a_single_step_full_of_timeouts_is_no_spike(tmp_path):
    rates = [0.0] * (2 * WINDOW) + [1.0] + [0.0] * WINDOW
    run = Run(tmp_path, *(sound(step) for step in (0, 10, 20, 30, 31)), last=31).train(timeout_rate=rates)
    assert run.gate.stopped_at is None


def test_a_resumed_training_is_held_against_its_real_start(tmp_path):
    """The model that a resumed training begins with is not the policy it started from."""
    given = []
    planted = {0: sound(0), 30: reading(step=30, success=12, wrong_answer=28)}
    gate = Gate(lambda model, step: given.append((model, step)) or planted[step], tmp_path, 10, LIMITS)
    first, resumed = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    control, state = (
        SimpleNamespace(should_training_stop=False),
        SimpleNamespace(global_step=20, max_steps=40, log_history=[]),
    )
    gate.start(first)
    gate.on_train_begin(None, state, control, model=resumed)
    state.global_step = 30
    gate.on_step_end(None, state, control, model=resumed)
    assert given == [(first, 0), (resumed, 30)]
    assert control.should_training_stop
    gate.on_train_end(None, state, control, model=resumed)
    assert torch.equal(resumed.weight, first.weight)


@pytest.mark.parametrize(("kl", "stopped", "weight"), [([0.1, 0.9, 0.2], 2, 0.0), ([0.1, 0.2, 0.2], None, 3.0)])
def test_what_other_processes_have_logged_is_held_to_the_same_limits_afterwards(tmp_path, kl, stopped, weight):
    gate, model = Gate(lambda model, step: sound(step), tmp_path, 10, LIMITS), torch.nn.Linear(1, 1)
    model.weight.data.fill_(0.0)
    gate.start(model)
    model.weight.data.fill_(3.0)
    curve = gate.review(model, pd.DataFrame({"step": [1, 2, 3], "kl": kl}), {})
    assert (gate.stopped_at, model.weight.item(), len(curve)) == (stopped, weight, stopped or 3)


def test_a_judge_that_fails_at_the_start_ends_the_training_at_once(tmp_path):
    run = Run(tmp_path, reading(step=0, success=4, api_error=4))
    assert run.control.should_training_stop
    assert run.gate.found[0] == ["judge: it failed on 50.0% of the answers"]


# The real thing: a policy that knows ten programs by heart, and two bad ones, which DPO is to make good.
WORDS = ["sun", "moon", "tree", "stone", "river", "cloud", "bread", "glass", "horse", "paper"]
KNOWN = {word: f"print({n})" for n, word in enumerate(WORDS)}
OTHERS = {"echo": ("print(input())", "print(5)"), "wait": ("print(0)", "while True: pass")}
WATCHED = [
    Problem(word, "tiny", "valid", "stdio", word, (Test("\n", f"{n}\n"),), time_limit=0.2)
    for n, word in enumerate(WORDS)
]
PAIRS = [([{"role": "user", "content": name}], answer(good), answer(bad)) for name, (good, bad) in OTHERS.items()] * 4


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as judge:
        yield judge


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("knowing")
    model = make_model(tokenizer)
    bad = {prompt: programs[1] for prompt, programs in OTHERS.items()}
    assert any(teach(model, tokenizer, KNOWN | bad, steps=100) < 0.01 for _ in range(8))
    model.save_pretrained(folder)
    return folder


def solved(model, tokenizer, judge) -> int:
    written = generate(
        model, tokenizer, [[{"role": "user", "content": one.prompt}] for one in WATCHED], max_new_tokens=60
    )
    programs = [extract(one.text).program for [one] in written]
    return sum(one.accepted for one in judge.judge_many(list(zip(programs, WATCHED, strict=True)), progress=False))


def gated(folder, tokenizer, judge, tmp_path, learning_rate: float):
    model = load_policy(folder, device="cpu")
    probe = Probe(tokenizer, {"watched": WATCHED}, judge, max_new_tokens=60)
    gate = Gate(probe, tmp_path, every=5)
    settings = {"batch_size": 8, "learning_rate": learning_rate, "gate": gate}
    curve = train_dpo(model, tokenizer, PAIRS, tmp_path / "checkpoints", steps=20, **settings)
    return model, gate, curve


def test_the_collapse_of_an_over_trained_dpo_is_caught_and_undone(folder, tokenizer, judge, tmp_path):
    model, gate, curve = gated(folder, tokenizer, judge, tmp_path, learning_rate=2e-2)
    assert gate.readings[0].figures(gate.readings[0])["watched"]["accepted_at_1"] == 1
    assert gate.stopped_at is not None
    assert len(curve) == gate.stopped_at < 20, "it ended before it was over"
    assert curve.accuracy.iloc[-1] == 1, "the loss saw nothing wrong: all pairs are told apart"
    kinds = {text.partition(":")[0] for text in gate.found[gate.stopped_at]}
    assert {"drop", "kl"} <= kinds
    assert solved(model, tokenizer, judge) == 10, "the weights are those of the last sound reading"


def test_a_training_that_goes_on_keeps_the_readings_made_before_and_takes_only_those_to_come(
    folder, tokenizer, judge, tmp_path
):
    class Dying(Probe):
        """Dies at the reading of step `at`, as a process that is killed would."""

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
        gate = Gate(probe, tmp_path / name, every=3)
        kept = {"save_every": 3, "scratch": tmp_path / f"{name}.scratch", "gate": gate}
        train_dpo(model, tokenizer, PAIRS, tmp_path / name, steps=9, batch_size=8, learning_rate=3e-5, **kept)
        return gate, json.loads((tmp_path / name / "regressions.json").read_text())

    asked: list[int] = []
    whole, written = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("killed", at=9)
    asked.clear()
    gate, again = train("killed")
    assert asked == [0, 9], "the first is taken again, because it also measures the distance"
    assert again == written
    assert gate.table().equals(whole.table())
    assert gate.sound_step == 9


def test_a_step_with_a_finding_is_no_checkpoint_to_go_on_from(folder, tokenizer, judge, tmp_path):
    model = load_policy(folder, device="cpu")
    gate = Gate(Probe(tokenizer, {"watched": WATCHED}, judge, max_new_tokens=60), tmp_path, every=5)
    kept = {"save_every": 5, "scratch": tmp_path / "scratch", "gate": gate}
    train_dpo(model, tokenizer, PAIRS, tmp_path / "run", steps=20, batch_size=8, learning_rate=2e-2, **kept)
    assert gate.stopped_at == 5
    assert not list(tmp_path.glob("*/checkpoint-*"))


def test_a_healthy_dpo_passes_the_gate(folder, tokenizer, judge, tmp_path):
    model, gate, curve = gated(folder, tokenizer, judge, tmp_path, learning_rate=3e-5)
    assert (gate.stopped_at, gate.found, len(curve)) == (None, {}, 20)
    assert [one.step for one in gate.readings] == [0, 5, 10, 15, 20]
    assert abs(gate.readings[0].kl) < 1e-6
    assert 0 < gate.readings[-1].kl < 0.5
    assert solved(model, tokenizer, judge) >= 9
    assert curve.margin.iloc[-1] > curve.margin[0]
