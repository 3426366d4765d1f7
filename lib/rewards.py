"""Rewards: a verdict becomes a number to train on, or None when the judge failed and there is nothing to learn from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from lib.judge.verdict import Verdict
from lib.problems import Problem

ACCEPTED = 0.2  # what a return adds for a last program that is accepted


@dataclass(frozen=True)
class Reward:
    """`value` to train on, None when the judge failed. `parts`: what it was made of, the same names for every verdict,
    in [0, 1]; empty when the judge failed."""

    value: float | None
    parts: dict[str, float]


def dense(verdict: Verdict, problem: Problem | None = None) -> float | None:
    """The share of the tests that passed, in [0, 1]."""
    return None if verdict.error_type == "api_error" else float(verdict.pass_ratio)


def sparse(verdict: Verdict, problem: Problem | None = None) -> float | None:
    """1 when every test passed, else 0."""
    return None if verdict.error_type == "api_error" else float(verdict.accepted)


def dense_by_visibility(verdict: Verdict, problem: Problem) -> float | None:
    """The mean over public, generated and private tests of the share that passed; a test that was not run did not pass.

    The groups earn the same, however many tests are in each. A sum over tests favours what many easy ones ask for over
    the few that are still open (arXiv 2601.03525, "cardinality bias"); the correction proposed there follows a group's
    successes during training, this reward knows only fixed groups. Raises ValueError where the tests of a verdict can't
    be told apart.
    """
    kinds = [test.visibility for test in problem.tests]
    if verdict.error_type == "api_error" or len(set(kinds)) == 1:
        return dense(verdict)
    if verdict.total != len(kinds):
        raise ValueError(
            f"{problem.id}: {verdict.total} cases come from {len(kinds)} tests of several visibilities, so that they "
            "can't be told apart: take the reward `dense`"
        )
    passed = [result.error_type == "success" for result in verdict.tests]
    passed += [False] * (len(kinds) - len(passed))
    groups = {kind: [ok for ok, own in zip(passed, kinds, strict=True) if own == kind] for kind in kinds}
    return fmean(fmean(group) for group in groups.values())


REWARDS: dict[str, Callable[[Verdict, Problem], float | None]] = {
    "dense": dense,
    "sparse": sparse,
    "dense_by_visibility": dense_by_visibility,
}


def return_a(verdicts: Sequence[Verdict], penalty: float) -> float | None:
    """What a repair dialogue earns by how it ended: pass_ratio_last + 0.2 accepted_last - penalty (rounds - 1).

    `verdicts`: on all tests, one per round, at least one. None when the judge failed on one that counts: the last.
    """
    last = verdicts[-1]
    if last.error_type == "api_error":
        return None
    return last.pass_ratio + ACCEPTED * last.accepted - penalty * (len(verdicts) - 1)


def return_b(verdicts: Sequence[Verdict], penalty: float) -> float | None:
    """What it earns by all its rounds: sum of pass_ratio + 0.2 accepted_last - penalty (rounds - 1); here all count.

    The sum grows with the rounds: a nearly right program that is written twice can earn more than a right one at once.
    """
    if any(verdict.error_type == "api_error" for verdict in verdicts):
        return None
    total = sum(verdict.pass_ratio for verdict in verdicts)
    return total + ACCEPTED * verdicts[-1].accepted - penalty * (len(verdicts) - 1)


RETURNS: dict[str, Callable[[Sequence[Verdict], float], float | None]] = {"A": return_a, "B": return_b}


def score(verdict: Verdict, problem: Problem, reward: str = "dense") -> Reward:
    """The reward of a verdict on `problem`, with its parts. Raises ValueError for an unknown `reward`."""
    if reward not in REWARDS:
        raise ValueError(f"no reward {reward!r}; there are {', '.join(REWARDS)}")
    value = REWARDS[reward](verdict, problem)
    if value is None:
        return Reward(None, {})
    ran = verdict.error_type in ("success", "wrong_answer")
    parts = {"pass_ratio": verdict.pass_ratio, "accepted": verdict.accepted, "ran_to_the_end": ran}
    return Reward(value, {name: float(part) for name, part in parts.items()})
