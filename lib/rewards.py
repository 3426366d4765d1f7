"""Rewards: a verdict becomes a number to train on, or None when the judge failed and there is nothing to learn from."""

from lib.judge.verdict import Verdict


def dense(verdict: Verdict) -> float | None:
    """The share of the tests that passed, in [0, 1]."""
    return None if verdict.error_type == "api_error" else float(verdict.pass_ratio)


def sparse(verdict: Verdict) -> float | None:
    """1 when every test passed, else 0."""
    return None if verdict.error_type == "api_error" else float(verdict.accepted)


REWARDS = {"dense": dense, "sparse": sparse}
