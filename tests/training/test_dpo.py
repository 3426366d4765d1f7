"""DPO with the real TRL on a tiny policy that is undecided between two answers."""

import pytest
import torch
from trainings import UNDECIDED, chat, config

from lib.evaluation.export import load_complete
from lib.policy.models import load_policy
from lib.policy.prompts import answer
from lib.training.dpo import CURVE, preference_row, train_dpo

PAIRS = [preference_row(chat(name), answer(good), answer(bad)) for name, (good, bad) in UNDECIDED.items()] * 4


@torch.no_grad()
def log_probability(model, tokenizer, prompt: str, text: str) -> float:
    asked = tokenizer.apply_chat_template(chat(prompt), add_generation_prompt=True, return_dict=False)
    said = tokenizer(text + tokenizer.eos_token)["input_ids"]
    logits = model(input_ids=torch.tensor([asked + said])).logits[0, len(asked) - 1 : -1]
    return logits.log_softmax(-1)[torch.arange(len(said)), said].sum().item()


def preference(model, tokenizer) -> list[float]:
    """Log-odds of the good answer against the bad one, per prompt."""
    return [
        log_probability(model, tokenizer, name, answer(good)) - log_probability(model, tokenizer, name, answer(bad))
        for name, (good, bad) in UNDECIDED.items()
    ]


def test_the_policy_comes_to_prefer_what_was_chosen_and_the_curve_tells_how(policy, tokenizer, tmp_path):
    before = preference(policy, tokenizer)
    curve = train_dpo(policy, tokenizer, PAIRS, config("dpo", tmp_path, steps=12, batch=4, learning_rate=3e-4))
    assert list(curve.columns) == list(CURVE.values())
    assert list(curve.step) == list(range(1, 13))
    assert not curve.isna().any().any()
    assert curve.loss[0] == pytest.approx(0.6931, abs=1e-3), "log 2: at first the policy is the reference"
    assert curve.loss.iloc[-1] < 0.6
    assert curve.margin.iloc[-1] > curve.margin[0] == pytest.approx(0, abs=1e-3)
    after = preference(policy, tokenizer)
    assert all(now > then + 1 for then, now in zip(before, after, strict=True))


def test_the_margin_is_beta_times_the_change_of_the_log_odds(policy, tokenizer, undecided, tmp_path):
    curve = train_dpo(
        policy, tokenizer, PAIRS, config("dpo", tmp_path, steps=3, batch=8, learning_rate=3e-4, save_steps=2)
    )
    moved = load_policy(tmp_path / "checkpoint-2", device="cpu")
    change = [
        now - then
        for now, then in zip(
            preference(moved, tokenizer), preference(load_policy(undecided, device="cpu"), tokenizer), strict=True
        )
    ]
    assert curve.margin[2] == pytest.approx(0.1 * sum(change) / len(change), abs=2e-3), "of the weights before step 3"


def test_checkpoints_are_complete_model_folders(policy, tokenizer, tmp_path):
    train_dpo(policy, tokenizer, PAIRS, config("dpo", tmp_path, steps=3, batch=2, save_steps=2))
    saved = sorted(tmp_path.glob("checkpoint-*"))
    assert [path.name for path in saved] == ["checkpoint-2", "checkpoint-3"]
    for path in saved:
        load_complete(path)
        assert not list(path.glob("optimizer*"))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(undecided, tokenizer, tmp_path):
    rows = [
        preference_row(chat(f"{name} {n}"), answer(good), answer(bad))
        for n in range(6)
        for name, (good, bad) in UNDECIDED.items()
    ]
    trained = []
    for seed in (3, 3, 4):
        model = load_policy(undecided, device="cpu")
        train_dpo(model, tokenizer, rows, config("dpo", tmp_path, steps=2, batch=4, seed=seed))
        trained.append(model.state_dict())
    first, again, other = trained
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("side", ["chosen", "rejected", "prompt"])
def test_a_pair_that_would_be_cut_is_an_error_and_nothing_is_trained(policy, tokenizer, tmp_path, side):
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    long = {"prompt": "echo", "chosen": answer("print(input())"), "rejected": answer("print(5)")}
    long[side] += " and so on" * 60
    rows = [*PAIRS, preference_row(chat(long["prompt"]), long["chosen"], long["rejected"])]
    with pytest.raises(ValueError, match=r"1 of 9 pairs are longer than 128 tokens \(the longest has \d{3}\)"):
        train_dpo(policy, tokenizer, rows, config("dpo", tmp_path, steps=1, max_length=128))
    assert all(torch.equal(before[name], tensor) for name, tensor in policy.state_dict().items())


def test_without_pairs_nothing_is_trained_and_the_reader_is_told_what_to_do(policy, tokenizer, tmp_path):
    with pytest.raises(ValueError, match="more samples per problem"):
        train_dpo(policy, tokenizer, [], config("dpo", tmp_path, steps=1))
