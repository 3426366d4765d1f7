from dataclasses import FrozenInstanceError

import pytest

from lib.policy.protocols import Protocol, eval_at_1, protocol_named


def test_the_protocols_are_what_their_names_say():
    greedy = eval_at_1(2048)
    assert (greedy.name, greedy.temperature, greedy.top_p, greedy.samples) == ("EVAL@1", 0.0, 1.0, 1)
    assert greedy.decoding() == {
        "max_new_tokens": 2048,
        "samples": 1,
        "temperature": 0.0,
        "top_p": 1.0,
        "ks": [],
        "token_budget": None,
    }


def test_a_protocol_does_not_change():
    with pytest.raises(FrozenInstanceError):
        eval_at_1(160).temperature = 1.0


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"samples": 4}, "all be the same"),
        ({"samples": 0}, "at least one sample"),
        ({"max_new_tokens": 0}, "at least one token"),
        ({"top_p": 0.9}, "top_p must be 1"),
        ({"ks": (5,)}, "pass@5 can't be estimated from 1"),
        ({"token_budget": 100}, "less than one answer"),
    ],
)
def test_nonsense_is_refused(given, reason):
    with pytest.raises(ValueError, match=reason):
        Protocol("X", **{"max_new_tokens": 160} | given)


def test_a_notebook_names_its_protocol():
    assert protocol_named("EVAL@1", 128) == eval_at_1(128)
    assert protocol_named("EVAL@10", 128) == Protocol("EVAL@k", 128, 10, 0.8, ks=(1, 5, 10))
    assert (protocol_named("EVAL@5", 128).samples, protocol_named("EVAL@5", 128).ks) == (5, (1, 5))
    assert protocol_named("EVAL@16", 128).ks == (1, 5, 10, 16)
    assert protocol_named("EVAL@budget=640", 128) == Protocol("EVAL@budget", 128, 16, 0.8, token_budget=640)
    asked = protocol_named("EVAL@5", 128, "In Python.", seed=7)
    assert (asked.instruction, asked.seed, asked.decoding()["seed"]) == ("In Python.", 7, 7)
    assert "seed" not in protocol_named("EVAL@1", 128, seed=7).decoding(), "a greedy answer has no seed"
    for name in ("EVAL@0", "EVAL@k", "eval@1", "EVAL@budget", "ROLLOUT"):
        with pytest.raises(ValueError, match=f"unknown protocol '{name}'"):
            protocol_named(name, 128)
