"""Policies small enough to be trained inside a test, made once for all tests of the trainings."""

import pytest
from tiny_policy import make_model, make_tokenizer, teach
from trainings import UNDECIDED, chat, sft_config

from lib.judge import Judge
from lib.policy.models import load_policy
from lib.training.sft import train_sft


@pytest.fixture(scope="session")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="session")
def judge():
    with Judge(workers=2) as judge:
        yield judge


@pytest.fixture(scope="session")
def start(tokenizer, tmp_path_factory):
    """On disk: a policy that has seen right and wrong answers."""
    folder, model = tmp_path_factory.mktemp("start"), make_model(tokenizer)
    teach(model, tokenizer, {"print 0": "print(0)", "print 1": "print(0)"}, steps=60)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def undecided(tokenizer, tmp_path_factory):
    """On disk, where TRL reads the reference model: a policy that has seen two answers to a prompt, equally often."""
    folder, model = tmp_path_factory.mktemp("undecided"), make_model(tokenizer)
    pairs = [(chat(name), program) for name in UNDECIDED for program in UNDECIDED[name]]
    curve = train_sft(model, tokenizer, pairs * 2, sft_config(folder, max_steps=120, learning_rate=4e-3))
    assert curve.loss.iloc[-1] < 0.15, "the policy must know the answers, and only be undecided between two"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def policy(undecided):
    return load_policy(undecided, device="cpu")
