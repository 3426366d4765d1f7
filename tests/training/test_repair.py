"""Training for repair with the real TRL and the real judge, on a tiny policy that is wrong half of the time."""

from dataclasses import replace

import pytest
from tiny_policy import make_model
from trainings import config, sft_config

from lib.evaluation.feedback import CONSTANT, constant_feedback, public_feedback
from lib.judge import Judge, Verdict
from lib.metrics import JudgeFailure
from lib.policy.models import load_policy
from lib.policy.prompts import answer, messages
from lib.policy.protocols import rollout
from lib.problems import Problem, Test
from lib.rewards import make_return
from lib.training.config import TrainingConfig
from lib.training.repair import CURVE, Rollouts, repair_examples, train_repair
from lib.training.sft import train_sft

MARK = "91827364"
WRONG, RIGHT = "print(7)", "print(input())"
ECHO = Problem(
    "echo",
    "tiny",
    "train",
    "stdio",
    "echo",
    (Test("5\n", "5\n", "public"), Test("7\n", "7\n", "private"), Test(f"{MARK}\n", f"{MARK}\n", "generated")),
    time_limit=0.2,
)
HIDDEN = replace(ECHO, id="hidden", prompt="hidden", tests=ECHO.tests[1:])
TWIN = replace(ECHO, id="twin")  # the same statement
RETURN = make_return("last", 0.03)


def short(folder, **fields) -> TrainingConfig:
    """One prompt with eight dialogues per step."""
    return config("grpo", folder, **{"learning_rate": 1e-3, "max_completion_length": 48} | fields)


def failure(program: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": answer(program)}, {"role": "user", "content": CONSTANT}]


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    """On disk, where TRL reads the reference model: a policy that has seen WRONG and RIGHT in either round."""
    folder = tmp_path_factory.mktemp("undecided")
    chats = [messages(ECHO), messages(ECHO) + failure(WRONG)]
    model = make_model(tokenizer)
    pairs = [(chat, program) for chat in chats for program in (WRONG, RIGHT)] * 4
    curve = train_sft(model, tokenizer, pairs, sft_config(folder, steps=100, learning_rate=4e-3))
    assert curve.loss.iloc[-1] < 0.2, "the policy must know the answers, and only be undecided between two"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def policy(folder):
    return load_policy(folder, device="cpu")


@pytest.fixture
def rollouts(monkeypatch):
    """What every rollout gave, and its dialogues and rewards."""
    seen, rollout, reward = [], Rollouts.sample, Rollouts.__call__

    def watched(own, *arguments):
        seen.append({"given": rollout(own, *arguments), "dialogues": own.dialogues})
        return dict(seen[-1]["given"])

    def rewarded(own, *arguments, **named):
        seen[-1]["rewards"] = reward(own, *arguments, **named)
        return seen[-1]["rewards"]

    monkeypatch.setattr(Rollouts, "sample", watched)
    monkeypatch.setattr(Rollouts, "__call__", rewarded)
    return seen


@pytest.fixture
def stubborn(policy, tokenizer, tmp_path):
    """The policy, taught to prefer WRONG, so that it fails greedily and is sometimes right when it samples."""
    pairs = [(messages(ECHO), WRONG), (messages(ECHO), WRONG), (messages(ECHO), RIGHT)] * 4
    train_sft(policy, tokenizer, pairs, sft_config(tmp_path, steps=20, batch=12, learning_rate=2e-3))
    return policy


def test_repair_examples_are_the_policys_own_failures_with_a_right_program_to_end_with(stubborn, tokenizer, judge):
    asked = {"decoding": rollout(48, 24), "max_length": 300}
    pairs, failed, counts = repair_examples(stubborn, tokenizer, [ECHO, HIDDEN], judge, public_feedback, **asked)
    assert (failed, counts["problems"], counts["failed"]) == ([ECHO], 1, 1)
    assert RIGHT in {program for _, program in pairs}
    assert all(judge.judge(program, ECHO).accepted for _, program in pairs)
    assert pairs[0][0] == messages(ECHO), "the statement alone"
    dialogues = [conversation for conversation, _ in pairs[1:]]
    assert len(dialogues) == len(pairs) - 1 == sum(counts.get(f"of {n} rounds", 0) for n in (2, 3)) > 0
    for chat in dialogues:
        assert [one["role"] for one in chat] == ["user", *["assistant", "user"] * (len(chat) // 2)]
        assert chat[1]["content"] == answer(WRONG), "each begins with the greedy failure"
        assert "public tests passed" in chat[-1]["content"]
    assert MARK not in repr(pairs)
    assert repair_examples(stubborn, tokenizer, [ECHO, HIDDEN], judge, public_feedback, **asked) == (
        pairs,
        failed,
        counts,
    )


def test_a_problem_that_is_solved_at_once_gives_its_statement_and_no_dialogue(stubborn, tokenizer, judge):
    seven = replace(ECHO, tests=(Test("5\n", "7\n", "public"),))  # what is wrong elsewhere is right here
    asked = {"decoding": rollout(48, 4), "max_length": 300}
    pairs, failed, _ = repair_examples(stubborn, tokenizer, [seven], judge, public_feedback, **asked)
    assert (pairs, failed) == ([(messages(seven), WRONG)], [])


def test_a_repair_example_can_end_with_a_verified_solution_and_one_that_is_too_long_is_counted(
    stubborn, tokenizer, judge
):
    other = "n = input()\nprint(n)"
    known = replace(ECHO, solutions=(other,))
    asked = {"decoding": rollout(48, 2)}
    pairs, _, _ = repair_examples(stubborn, tokenizer, [known], judge, constant_feedback, max_length=300, **asked)
    assert other in {program for conversation, program in pairs if len(conversation) > 1}
    pairs, failed, counts = repair_examples(
        stubborn, tokenizer, [known], judge, constant_feedback, max_length=10, **asked
    )
    assert (pairs, failed) == ([], [known])
    assert counts["too long"] > 0


def test_dialogues_that_end_well_become_likelier_and_the_curve_tells_how(policy, tokenizer, judge, tmp_path, rollouts):
    curve = train_repair(
        policy, tokenizer, [ECHO] * 12, judge, constant_feedback, RETURN, short(tmp_path, steps=12), rounds=2
    )
    assert list(curve.columns) == [*CURVE.values(), "tokens"]
    assert list(curve.step) == list(range(1, 13))
    assert curve.accepted_last.tail(4).mean() > curve.accepted_first.head(4).mean() + 0.15
    assert (curve.accepted_last >= curve.accepted_first).all()
    assert curve.kl.iloc[0] == pytest.approx(0, abs=1e-6), "at first the policy is the reference"
    for step, seen in enumerate(rollouts):
        verdicts = [[turn.verdict for turn in dialogue.turns] for dialogue in seen["dialogues"]]
        assert seen["rewards"] == [RETURN(rounds) for rounds in verdicts]
        assert curve.reward[step] == pytest.approx(sum(seen["rewards"]) / 8)
        assert curve.rounds[step] == sum(map(len, verdicts)) / 8


def test_what_the_policy_was_told_is_in_the_sequence_and_masked(policy, tokenizer, judge, tmp_path, rollouts):
    returns = make_return("sum", 0.05)
    settings = short(tmp_path, steps=1)
    curve = train_repair(policy, tokenizer, [ECHO], judge, public_feedback, returns, settings, rounds=2)
    [seen] = rollouts
    given, longer = seen["given"], 0
    for ids, mask, dialogue in zip(given["completion_ids"], given["env_mask"], seen["dialogues"], strict=True):
        written = tokenizer.decode([token for token, own in zip(ids, mask, strict=True) if own])
        assert written.count(tokenizer.eos_token) == sum(not turn.completion.truncated for turn in dialogue.turns)
        assert "public tests passed" not in written
        assert tokenizer.decode(ids).count("public tests passed") == len(dialogue.turns) - 1
        longer += len(dialogue.turns) > 1
    assert 0 < longer < 8
    assert curve.completion_tokens[0] == pytest.approx(sum(map(sum, given["env_mask"])) / 8), (
        "only its own tokens count"
    )
    verdicts = [[turn.verdict for turn in dialogue.turns] for dialogue in seen["dialogues"]]
    assert seen["rewards"] == [returns(rounds) for rounds in verdicts]
    assert MARK not in tokenizer.decode([token for ids in given["completion_ids"] for token in ids])


def test_of_problems_with_one_statement_or_without_public_tests_none_is_mistaken_for_another(
    policy, tokenizer, judge, tmp_path, rollouts
):
    train_repair(
        policy, tokenizer, [ECHO, TWIN, HIDDEN], judge, constant_feedback, RETURN, short(tmp_path, steps=2), rounds=2
    )
    assert {dialogue.problem.id for seen in rollouts for dialogue in seen["dialogues"]} == {"echo"}


def test_no_two_steps_draw_the_same_random_numbers(policy, tokenizer, judge, tmp_path, rollouts):
    """The policy and the prompt stay the same here, so that equal random numbers would give equal dialogues."""
    settings = short(tmp_path, steps=3, learning_rate=0.0)
    train_repair(policy, tokenizer, [ECHO], judge, constant_feedback, RETURN, settings, rounds=2)
    first, second, third = ([tuple(ids) for ids in seen["given"]["completion_ids"]] for seen in rollouts)
    assert first != second != third != first


def test_without_public_tests_there_is_nothing_to_train_on(policy, tokenizer, judge, tmp_path):
    with pytest.raises(ValueError, match="no problem with public tests"):
        train_repair(policy, tokenizer, [HIDDEN], judge, constant_feedback, RETURN, short(tmp_path, steps=1), rounds=2)


class FailingJudge:
    """The real judge, except that it fails on the first `failures` programs of every call on whole problems."""

    def __init__(self, judge: Judge, failures: int):
        self.judge, self.failures, self.answer_block = judge, failures, judge.answer_block

    def judge_many(self, pairs, progress):
        verdicts = self.judge.judge_many(pairs, progress=progress)
        if len(pairs[0][1].tests) == len(ECHO.tests):
            verdicts[: self.failures] = [Verdict(False, 0.0, "api_error", 0, 3, 0.0)] * self.failures
        return verdicts


def test_a_failure_of_the_judge_is_no_return_and_too_many_end_the_training(
    policy, tokenizer, judge, tmp_path, rollouts
):
    returns, settings = (
        make_return("sum", 0.03),
        short(tmp_path, steps=1, batch=16, num_generations=16),
    )
    arguments = (constant_feedback, returns, settings)
    curve = train_repair(policy, tokenizer, [ECHO], FailingJudge(judge, 1), *arguments, rounds=2)
    rewards = rollouts[0]["rewards"]
    assert rewards[0] is None
    assert curve.reward[0] == pytest.approx(sum(rewards[1:]) / 15)
    assert curve.api_error_rate[0] > 0
    with pytest.raises(JudgeFailure):
        train_repair(policy, tokenizer, [ECHO], FailingJudge(judge, 9), *arguments, rounds=2)
