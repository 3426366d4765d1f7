"""Figures of repair, and resampling as its control, on dialogues written down here."""

from itertools import permutations
from statistics import fmean

import numpy as np
import pytest

from lib.evaluation.best_of_n import Sample
from lib.evaluation.dialogues import Dialogue, Turn
from lib.evaluation.repair_metrics import (
    NOT_CONTINUED,
    Retries,
    at_budget,
    resampled,
    summary,
    transitions,
)
from lib.judge import Verdict
from lib.policy.generation import Completion
from lib.problems import Problem

PROBLEM = Problem("p", "tiny", "test", "stdio", "p", ())


def verdict(passed: int, error_type: str = "wrong_answer") -> Verdict:
    return Verdict(passed == 4, passed / 4, "success" if passed == 4 else error_type, passed, 4, 0.5)


def dialogue(*verdicts: Verdict, ending: str = "passed", read: int = 10, written: int = 5) -> Dialogue:
    """Round k reads `read` times k tokens and writes `written`; the public tests take half a second."""
    turns = []
    for k, one in enumerate(verdicts, 1):
        turns.append(Turn([], [0] * read * k, Completion("", (0,) * written, False), "", public_verdict=verdict(0)))
        turns[-1].verdict = one
    return Dialogue(PROBLEM, turns, ending)


RIGHT_AT_ONCE = dialogue(verdict(4))
RIGHT_AT_LAST = dialogue(verdict(0, "timeout"), verdict(1), verdict(4))
NEVER = dialogue(verdict(1), verdict(2), ending="repeated")
MISSED = dialogue(verdict(3))  # public tests let it pass
ALL = [RIGHT_AT_ONCE, RIGHT_AT_LAST, NEVER, MISSED]


def test_the_figures_of_three_rounds_and_of_two():
    three, two = summary(ALL, 3), summary(ALL, 2)
    assert (three["accepted_at_1"], three["accepted_at_multi"], two["accepted_at_multi"]) == (0.25, 0.5, 0.25)
    assert (three["recovery_rate"], two["recovery_rate"]) == (pytest.approx(1 / 3), 0)
    low, high = three["recovery_rate_interval"]
    assert low < 1 / 3 < high
    assert three["missed"] == 1
    assert three["delta_pass_ratio"] == {"n": 2, "mean": 0.625, "p50": 0.625, "p90": pytest.approx(0.925)}
    assert (three["avg_rounds_used"], two["avg_rounds_used"]) == (7 / 4, 6 / 4)
    assert three["saved_rounds"] == pytest.approx(1 - 7 / 12)
    assert three["endings"] == {"passed": 3, "repeated": 1}
    assert two["endings"] == {"passed": 2, "repeated": 1, "rounds": 1}


def test_costs_are_told_per_round_in_total_and_per_solved_problem():
    found = summary(ALL, 3)
    assert [part["dialogues"] for part in found["by_round"]] == [4, 2, 1]
    assert [part["tokens"] for part in found["by_round"]] == [20, 10, 5]
    assert [part["prompt_tokens"] for part in found["by_round"]] == [40, 40, 30]
    assert found["total"]["public_judge_s"] == 3.5
    assert found["cost_per_solved_tokens"] == {"repair": 35 / 2, "single": 20}
    assert found["cost_per_solved_all_tokens"] == {"repair": 145 / 2, "single": 60}
    assert summary([NEVER], 3)["cost_per_solved_tokens"] == {"repair": None, "single": None}
    assert summary([RIGHT_AT_ONCE], 3)["recovery_rate"] is None


def test_transitions_count_every_dialogue_that_had_the_round():
    first, second = transitions(ALL, 1), transitions(ALL, 2)
    assert first["timeout"]["wrong_answer"] == 1
    assert first["wrong_answer"] == {**dict.fromkeys(first["success"], 0), "wrong_answer": 1, NOT_CONTINUED: 1}
    assert first["success"][NOT_CONTINUED] == 1
    assert sum(sum(row.values()) for row in first.values()) == 4
    assert second["wrong_answer"]["success"] == 1
    assert sum(sum(row.values()) for row in second.values()) == 2


def by_hand(first: tuple[int, bool], drawn: list, k: int) -> tuple[float, float]:
    """Resampling on demand played through in every order of the samples: (accepted, tokens)."""
    results = []
    for order in permutations(drawn):
        tokens, tried = first[0], []
        for one in order[:k]:
            tokens += one[0].tokens
            tried.append(one)
            if one[1]:
                break
        best = max(tried, key=lambda one: one[0].passed) if tried else None
        results.append((best[2] if best else first[1], tokens))
    return fmean(accepted for accepted, _ in results), fmean(tokens for _, tokens in results)


@pytest.mark.parametrize("passes", [(0, 0, 0, 0), (1, 0, 0, 0), (1, 0, 1, 0), (1, 1, 1, 1)])
def test_resampling_is_worth_what_playing_it_in_every_order_gives(passes):
    rights = (True, False, False, True)
    drawn = [
        (Sample(tokens, passed=2 if ok else 1 if n == 1 else 0), bool(ok), right and bool(ok))
        for n, (tokens, ok, right) in enumerate(zip((3, 5, 8, 13), passes, rights, strict=True))
    ]
    found = resampled([NEVER, RIGHT_AT_ONCE], [drawn, []])
    for k in range(5):
        accepted, tokens = by_hand((5, False), drawn, k)
        assert (found.accepted[0, k], found.tokens[0, k]) == (pytest.approx(accepted), pytest.approx(tokens))
    assert found.prompt_tokens[0, :2].tolist() == [10, 20], "every retry reads the statement again"
    closed = [table[1].tolist() for table in (found.accepted, found.tokens, found.prompt_tokens)]
    assert closed == [[1.0] * 5, [5.0] * 5, [10.0] * 5], "what passed is not drawn again"


def test_a_budget_between_two_numbers_of_retries_is_met_exactly():
    retries = Retries(*map(np.array, ([[0, 0.5, 0.75], [1, 1, 1]], [[10, 20, 30], [10] * 3], [[1, 2, 3], [1] * 3])))
    found = at_budget(retries, 17.5)
    assert (found["retries"], found["tokens"], found["accepted"]) == (1.5, 17.5, [0.625, 1])
    both = at_budget(retries, 17.5 + 1.75, with_prompts=True)
    assert both["retries"] == 1.5
    assert at_budget(retries, 10)["accepted"] == [0, 1]
    assert at_budget(retries, 5)["tokens"] == 10, "the first answer is always written"
    assert at_budget(retries, 99) == {"retries": 2, "tokens": 20, "accepted": [0.75, 1]}
