"""GRPO with the real TRL and the real judge, on a tiny policy that half of the time answers rightly."""

import json
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from trainings import TIMES, config, without_times
from trl import GRPOTrainer

from lib.judge import Judge, Verdict
from lib.judge.answers import extract
from lib.metrics import JudgeFailure
from lib.policy.generation import generate
from lib.policy.likelihood import log_probabilities
from lib.policy.models import load_policy
from lib.policy.prompts import answer
from lib.problems import Problem, Test
from lib.rewards import dense, sparse
from lib.training.config import TrainingConfig
from lib.training.curriculum import CURRICULA, order_problems
from lib.training.early_stop import EarlyStop, Limits
from lib.training.greedy_probe import GreedyProbe, k3
from lib.training.grpo import CURVE, Rollouts, train_grpo

# Two problems, and two tests of each. Dense rewards of what the policy may answer: 1, 1/2; 1, 0.
TESTS = {"echo": (Test("5\n", "5\n"), Test("7\n", "7\n")), "wait": (Test("5\n", "0\n"), Test("7\n", "0\n"))}
PROBLEMS = [Problem(name, "tiny", "train", "stdio", name, tests, time_limit=0.2) for name, tests in TESTS.items()]
PARTS = ["generate_s", "judge_s", "update_s"]


def short(folder, **fields) -> TrainingConfig:
    """Two prompts with eight samples each."""
    defaults = {"batch": 16, "learning_rate": 1e-3, "beta": 0.02, "max_completion_length": 60}
    return config("grpo", folder, **defaults | fields)


class Recorder:
    """Keeps what a real reward or rollout was asked and gave, call by call."""

    def __init__(self, method: str, monkeypatch):
        self.calls, real = [], getattr(Rollouts, method)

        def call(own, *arguments, **named):
            given = real(own, *arguments, **named)
            self.calls.append((arguments, named, given))
            return given

        monkeypatch.setattr(Rollouts, method, call)


class FailingJudge:
    """The real judge, except that it fails on the first `failures` programs of every call."""

    def __init__(self, judge: Judge, failures: int):
        self.judge, self.failures, self.answer_block = judge, failures, judge.answer_block

    def judge_many(self, submissions, progress):
        verdicts = self.judge.judge_many(submissions, progress=progress)
        failed = Verdict(False, 0.0, "api_error", 0, 2, 0.0, feedback="no worker left")
        return [failed] * self.failures + verdicts[self.failures :]


class WatchingJudge:
    """The real judge; keeps which problems each call asked for."""

    def __init__(self, judge: Judge):
        self.judge, self.asked, self.answer_block = judge, [], judge.answer_block

    def judge_many(self, submissions, progress):
        self.asked.append([problem for _, problem in submissions])
        return self.judge.judge_many(submissions, progress=progress)


def accepted_share(model, tokenizer, judge) -> float:
    chats = [[{"role": "user", "content": problem.id}] for problem in PROBLEMS]
    written = generate(model, tokenizer, chats, max_new_tokens=60, temperature=1.0, samples=32)
    pairs = [
        (extract(one.text).program, problem) for problem, group in zip(PROBLEMS, written, strict=True) for one in group
    ]
    verdicts = judge.judge_many(pairs, progress=False)
    return sum(verdict.accepted for verdict in verdicts) / len(verdicts)


def test_the_policy_moves_to_what_the_judge_accepts_and_the_curve_tells_how(policy, tokenizer, judge, tmp_path):
    before, start = accepted_share(policy, tokenizer, judge), {k: v.clone() for k, v in policy.state_dict().items()}
    curve = train_grpo(policy, tokenizer, PROBLEMS, judge, sparse, short(tmp_path, steps=10))
    parts = ["reward/accepted", "reward/pass_ratio", "reward/ran_to_the_end"]
    assert list(curve.columns) == [*CURVE.values(), *parts, "tokens"]
    assert list(curve["reward/accepted"]) == pytest.approx(list(curve.reward))
    assert (curve["reward/pass_ratio"] >= curve.reward - 1e-9).all()
    assert curve.tokens.iloc[-1] == pytest.approx(16 * curve.completion_tokens.sum(), abs=10)
    assert curve.minutes.is_monotonic_increasing
    assert list(curve.step) == list(range(1, 11))
    assert not curve.isna().any().any()
    assert not any(torch.equal(start[name], tensor) for name, tensor in policy.state_dict().items())
    assert 0.3 < before < 0.7
    assert accepted_share(policy, tokenizer, judge) > before + 0.15
    assert curve.reward.tail(4).mean() > curve.reward.head(4).mean()
    assert curve.kl.iloc[0] == pytest.approx(0, abs=1e-6), "at first the policy is the reference"
    assert curve.kl.iloc[-1] > 1e-3
    rates = curve[[column for column in curve if column.endswith("_rate") and column != "truncation_rate"]]
    assert rates.sum(axis=1).to_list() == pytest.approx([1] * 10), "each program ended in one way"
    assert (curve.timeout_rate > 0).any()
    assert (curve[[name for name in TIMES if name in curve]] >= 0).all().all()
    assert curve[PARTS].sum(axis=1).to_list() == pytest.approx(curve.step_s.to_list(), abs=0.01)


def test_rewards_are_those_of_the_judges_verdicts_and_the_curve_holds_their_mean(
    policy, tokenizer, judge, tmp_path, monkeypatch
):
    rewards, rollouts = Recorder("__call__", monkeypatch), Recorder("sample", monkeypatch)
    curve = train_grpo(policy, tokenizer, PROBLEMS, judge, dense, short(tmp_path, steps=2))
    found = {problem.id: problem for problem in PROBLEMS}
    seen = set()
    for step, (_, asked, given) in enumerate(rewards.calls):
        texts = [completion[-1]["content"] for completion in asked["completions"]]
        assert [asked["problem_id"].count(name) for name in found] == [8, 8], "every problem has its whole group"
        alone = [
            judge.judge(extract(text).program, found[name])
            for text, name in zip(texts, asked["problem_id"], strict=True)
        ]
        assert given == [verdict.pass_ratio for verdict in alone]
        assert curve.reward[step] == pytest.approx(sum(given) / len(given))
        assert curve.success_rate[step] == sum(verdict.accepted for verdict in alone) / 16
        written = tokenizer.batch_decode(rollouts.calls[step][2]["completion_ids"], skip_special_tokens=True)
        assert texts == written, "what is judged is what was sampled"
        seen |= set(given)
    assert {0.5, 1.0} <= seen


def test_rollouts_end_with_the_end_token_and_those_cut_off_are_counted(policy, tokenizer, judge, tmp_path, monkeypatch):
    rollouts = Recorder("sample", monkeypatch)
    room = len(tokenizer(answer("print(0)"))["input_ids"]) + 1  # the other answers are longer
    limited = short(tmp_path, steps=2, max_completion_length=room)
    curve = train_grpo(policy, tokenizer, PROBLEMS, judge, sparse, limited)
    for step, (_, _, given) in enumerate(rollouts.calls):
        ended = [ids[-1] == tokenizer.eos_token_id for ids in given["completion_ids"]]
        assert 0 < sum(ended) < 16
        assert all(end or len(ids) == room for ids, end in zip(given["completion_ids"], ended, strict=True))
        assert all(tokenizer.eos_token_id not in ids[:-1] for ids in given["completion_ids"])
        assert curve.truncation_rate[step] == pytest.approx(1 - sum(ended) / 16)
        lengths = [len(ids) for ids in given["completion_ids"]]
        assert curve.completion_tokens[step] == pytest.approx(sum(lengths) / 16)


def test_the_same_seed_gives_the_same_samples_rewards_and_weights_and_another_seed_others(
    undecided, tokenizer, judge, tmp_path
):
    curves, weights = [], []
    for seed in (5, 5, 6):
        model = load_policy(undecided, device="cpu")
        curve = train_grpo(model, tokenizer, PROBLEMS, judge, dense, short(tmp_path, steps=3, seed=seed))
        curves.append(without_times(curve))
        weights.append(model.state_dict())
    assert curves[0].equals(curves[1])
    assert not curves[0].reward.equals(curves[2].reward)
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_a_failure_of_the_judge_is_no_reward_and_never_counts_as_zero(policy, tokenizer, judge, tmp_path, monkeypatch):
    rewards = Recorder("__call__", monkeypatch)
    curve = train_grpo(policy, tokenizer, PROBLEMS, FailingJudge(judge, 1), dense, short(tmp_path, steps=1))
    [(_, _, given)] = rewards.calls
    judged = [reward for reward in given if reward is not None]
    assert given[0] is None
    assert len(judged) == 15
    assert curve.reward[0] == pytest.approx(sum(judged) / 15)
    assert curve.api_error_rate[0] == 1 / 16


def test_the_judge_works_while_the_reference_model_reads(policy, tokenizer, judge, tmp_path, monkeypatch):
    happened, real = [], GRPOTrainer._get_per_token_logps_and_entropies

    class WatchedJudge:
        answer_block = "last"

        def judge_many(self, submissions, progress):
            happened.append("judge begins")
            assert read.wait(timeout=60), "the model is read only after the judge has finished"
            return judge.judge_many(submissions, progress=progress)

    def reads(*arguments, **named):
        happened.append("model reads")
        found = real(*arguments, **named)
        read.set()
        return found

    read = threading.Event()
    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", reads)
    curve = train_grpo(policy, tokenizer, PROBLEMS, WatchedJudge(), dense, short(tmp_path, steps=1))
    assert sorted(happened[:2]) == ["judge begins", "model reads"]
    assert happened[2:] == ["model reads"], "of the reference, then of the policy; judged once"
    assert curve.judging_s[0] > curve.judge_s[0]


def test_two_problems_with_the_same_statement_are_judged_by_their_own_tests(policy, tokenizer, judge, tmp_path):
    """TRL's rollout sees statements only, its reward function the problems: what was begun wrongly is done again."""
    twin = replace(PROBLEMS[0], id="twin", tests=(Test("5\n", "no program prints this\n"),))
    judged = WatchingJudge(judge)
    curve = train_grpo(policy, tokenizer, [PROBLEMS[0], twin], judged, sparse, short(tmp_path, steps=2))
    assert {problem.id for problems in judged.asked for problem in problems} == {"echo", "twin"}
    assert 0 < curve.success_rate.max() <= 0.5, "half of the programs are for the twin, which nothing solves"


def test_of_several_blocks_the_judges_rule_chooses_the_program_that_is_rewarded(judge):
    text = answer("print(input())") + "\nor\n" + answer("print(0)")
    call = [[{"role": "assistant", "content": text}]], [[1]], ["echo"]
    for block, reward in (("last", 0.0), ("first", 1.0)):
        watching = WatchingJudge(judge)
        watching.answer_block = block
        rollouts = Rollouts(PROBLEMS, watching, sparse, SimpleNamespace(max_completion_length=60), "", ends=[1])
        assert rollouts(*call, log_metric=lambda *_: None) == [reward]
        assert rollouts.completions[0]["program"] == ("print(0)" if block == "last" else "print(input())")


def test_where_vllm_writes_the_samples_their_probabilities_reach_the_trainer_and_the_judge_begins(tokenizer, judge):
    """vLLM itself is a double that answers as TRL's client of it does: it needs a GPU."""
    said = tokenizer(answer("print(input())") + tokenizer.eos_token)["input_ids"]
    asked = []

    class Vllm:
        def generate(self, prompts, images, num_generations):
            asked.append((prompts, images, num_generations))
            return prompts, [said] * len(prompts), [[[-0.5] for _ in said]] * len(prompts), None

    prompts = [[{"role": "user", "content": one.prompt}] for one in PROBLEMS for _ in range(2)]
    trainer = SimpleNamespace(
        processing_class=tokenizer, use_vllm=True, vllm_generation=Vllm(), num_generations=2, accelerator=None
    )
    args = SimpleNamespace(max_completion_length=60)
    rollouts = Rollouts(PROBLEMS, WatchingJudge(judge), sparse, args, "", ends=[tokenizer.eos_token_id])
    given = rollouts.sample(prompts, trainer)
    completions = [[{"role": "assistant", "content": answer("print(input())")}]] * 4
    rewards = rollouts(completions, [said] * 4, ["echo", "echo", "wait", "wait"], log_metric=lambda *_: None)
    assert len(rollouts.judge.asked) == 1, "what the rollout had begun"
    assert asked == [(given["prompt_ids"], None, 2)]
    assert [tokenizer.decode(ids) for ids in given["prompt_ids"]] == [
        tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False) for prompt in prompts
    ]
    assert (given["completion_ids"], given["logprobs"]) == ([said] * 4, [[-0.5] * len(said)] * 4)
    assert rewards == [1.0, 1.0, 0.0, 0.0]


def test_a_step_read_in_parts_is_sampled_and_judged_at_once_and_gives_the_same_gradient(
    undecided, tokenizer, judge, tmp_path
):
    curves = []
    for parts in (1, 4):
        model, judged = load_policy(undecided, device="cpu"), WatchingJudge(judge)
        read = short(tmp_path, steps=2, batch=16 // parts, gradient_accumulation_steps=parts)
        curves.append(train_grpo(model, tokenizer, PROBLEMS, judged, dense, read))
        assert [len(problems) for problems in judged.asked] == [16, 16]
    whole, in_parts = curves
    assert list(whole.reward) == list(in_parts.reward)
    assert list(whole.grad_norm) == pytest.approx(list(in_parts.grad_norm), rel=1e-3)


def test_a_curriculum_changes_the_order_of_the_problems_and_not_which_they_are():
    ranked = [replace(PROBLEMS[0], id=f"{name}{n}", difficulty=name) for name in "CAB" for n in range(8)]
    others = [replace(PROBLEMS[0], id=f"function{n}", kind="function") for n in range(8)]
    drawn = {name: order_problems(ranked + others, 4, 6, name, seed=3) for name in CURRICULA}
    plain, sorted_ = drawn["none"], drawn["easy_to_hard"]
    assert len(plain) == 24
    assert {one.id for one in plain} == {one.id for one in sorted_}
    assert [one.kind for one in plain] == [one.kind for one in sorted_], "functions stay where they were"
    difficulties = [one.difficulty for one in sorted_ if one.kind == "stdio"]
    assert difficulties == sorted(difficulties)
    assert [one.difficulty for one in plain if one.kind == "stdio"] != difficulties
    assert all(len({one.kind for one in plain[step : step + 4]}) == 1 for step in range(0, 24, 4))
    with pytest.raises(ValueError, match="curriculum must be one of none, easy_to_hard, not 'hard_first'"):
        order_problems(ranked, 4, 6, "hard_first", seed=3)


def test_a_violation_ends_the_training_and_restores_the_last_good_weights(policy, tokenizer, judge, tmp_path):
    start = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    probe = GreedyProbe(tokenizer, {"train": PROBLEMS}, judge, max_new_tokens=60)
    early_stop = EarlyStop(probe, tmp_path, every=6, limits=Limits(kl=1e-9))
    curve = train_grpo(policy, tokenizer, PROBLEMS, judge, dense, short(tmp_path, steps=6), early_stop=early_stop)
    assert 1 < early_stop.stopped_at < 6, "by the KL that TRL logs, not by the evaluation at the end"
    assert len(curve) == early_stop.stopped_at
    assert early_stop.violated[early_stop.stopped_at][0].startswith("kl: ")
    assert all(torch.equal(start[name], tensor) for name, tensor in policy.state_dict().items())


def test_the_evaluations_of_early_stopping_are_not_counted_as_time_of_a_step(policy, tokenizer, judge, tmp_path):
    taken = []

    class TimedProbe(GreedyProbe):
        def __call__(self, model, step):
            started = time.perf_counter()
            time.sleep(1.0)
            point = super().__call__(model, step)
            taken.append(time.perf_counter() - started)
            return point

    probe = TimedProbe(tokenizer, {"train": PROBLEMS}, judge, max_new_tokens=60)
    early_stop = EarlyStop(probe, tmp_path, every=1)
    started = time.perf_counter()
    curve = train_grpo(policy, tokenizer, PROBLEMS, judge, dense, short(tmp_path, steps=2), early_stop=early_stop)
    assert len(taken) == 3
    passed = time.perf_counter() - started - sum(taken)
    assert curve.step_s.sum() < passed
    assert 60 * curve.minutes.iloc[-1] < passed


def test_training_ends_when_the_judge_fails_too_often(policy, tokenizer, judge, tmp_path):
    broken = FailingJudge(judge, 2)
    with pytest.raises(JudgeFailure, match=r"2 of 16 programs.*no worker left"):
        train_grpo(policy, tokenizer, PROBLEMS, broken, dense, short(tmp_path, steps=1))


def test_no_two_steps_draw_the_same_random_numbers(policy, tokenizer, judge, tmp_path, monkeypatch):
    """The policy and the prompts stay the same here, so that equal random numbers would give equal samples."""
    rollouts = Recorder("sample", monkeypatch)
    train_grpo(policy, tokenizer, PROBLEMS, judge, sparse, short(tmp_path, steps=3, learning_rate=0.0))
    prompts = [sorted(map(str, arguments[0])) for arguments, _, _ in rollouts.calls]
    assert prompts[0] == prompts[1] == prompts[2]
    by_prompt = [
        sorted(zip(map(str, calls[0]), given["completion_ids"], strict=True)) for calls, _, given in rollouts.calls
    ]
    assert by_prompt[0] != by_prompt[1] != by_prompt[2] != by_prompt[0]


def test_rewards_are_weighted_sums_whose_terms_and_parts_are_logged_with_some_completions(
    policy, tokenizer, judge, tmp_path
):
    kept = tmp_path / "completions.jsonl"
    weights = {"dense": 1.0, "soft_overlong": 0.5, "format": 0.1}
    settings = short(tmp_path, steps=2, max_completion_length=20)
    curve = train_grpo(policy, tokenizer, PROBLEMS, judge, weights, replace(settings, completions=kept))
    terms = sum(weight * curve[f"reward/{name}"] for name, weight in weights.items())
    assert list(curve.reward) == pytest.approx(list(terms), abs=1e-6)
    assert (curve["reward/soft_overlong"] < 0).all()
    assert {"reward/pass_ratio", "reward/format_ok", "reward/share_of_token_limit"} <= set(curve.columns)
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    assert {row["step"] for row in rows} == {1, 2}
    for row in rows:
        assert row["reward"] == pytest.approx(sum(weight * row["parts"][name] for name, weight in weights.items()))
        assert row["parts"]["share_of_token_limit"] == row["tokens"] / 20
        assert (row["program"], row["in_form"]) == (extract(row["completion"]).program, row["parts"]["format_ok"])
        [verdict] = judge.judge_many([(row["program"], by_id(row["problem_id"]))], progress=False)
        assert (verdict.error_type, verdict.pass_ratio) == (row["error_type"], row["pass_ratio"])
        assert row["sampling_dtype"] == "float32"
        assert row["logp_difference"] < 1e-5, "sampler and trainer compute the same"


def test_samples_in_bfloat16_are_logged_with_their_distance_to_the_trainer(
    policy, tokenizer, judge, tmp_path, monkeypatch
):
    monkeypatch.setattr("lib.training.grpo.sampling_dtype", lambda model: torch.bfloat16)
    kept, settings = tmp_path / "completions.jsonl", short(tmp_path, steps=1, bf16=True, temperature=0.7)
    train_grpo(policy, tokenizer, PROBLEMS, judge, sparse, replace(settings, completions=kept))
    [row, *_] = [json.loads(line) for line in kept.read_text().splitlines()]
    assert row["sampling_dtype"] == "bfloat16"
    assert 0 < row["logp_difference"] < 0.1
    assert policy.dtype == torch.float32


def test_the_logged_kl_is_the_one_that_early_stopping_measures(
    undecided, policy, tokenizer, judge, tmp_path, monkeypatch
):
    rollouts, real = [], Rollouts.sample

    def watched(rollout, prompts, trainer):
        given = real(rollout, prompts, trainer)
        weights = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
        rollouts.append((list(zip(given["prompt_ids"], given["completion_ids"], strict=True)), weights))
        return given

    monkeypatch.setattr(Rollouts, "sample", watched)
    curve = train_grpo(policy, tokenizer, PROBLEMS, judge, dense, short(tmp_path, steps=4, learning_rate=3e-3))
    start, moved = load_policy(undecided, device="cpu"), load_policy(undecided, device="cpu")
    for kl, (rows, weights) in list(zip(curve.kl, rollouts, strict=True))[2:]:
        moved.load_state_dict(weights)
        both = [log_probabilities(model, rows, tokenizer.pad_token_id) for model in (moved, start)]
        assert kl > 1e-3
        assert k3(*both) == pytest.approx(kl, rel=1e-3)


def by_id(name: str) -> Problem:
    return next(problem for problem in PROBLEMS if problem.id == name)
