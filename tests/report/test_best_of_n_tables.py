"""Tables about best of n, from samples written down or drawn here."""

from dataclasses import replace

import pytest
from samples import some_samples

from lib.evaluation.best_of_n import ORACLE, RULES
from lib.report.best_of_n import curve, versus_policy


def test_a_curve_has_an_interval_for_every_rule_and_says_what_a_problem_costs():
    judged = [some_samples(seed, n=4) for seed in range(40)]
    judged = [([replace(one, public_s=0.5, outputs_s=0.25) for one in own], right) for own, right in judged]
    rows, by_problem = curve(judged, [1, 4])
    assert [(row["rule"], row["n"]) for row in rows] == [(rule, n) for rule in (*RULES, ORACLE) for n in (1, 4)]
    assert all(row["low"] <= row["accepted"] <= row["high"] for row in rows)
    costs = {(row["rule"], row["n"]): (row["tokens"], row["judge_s"]) for row in rows}
    assert costs["public tests", 1] == (10, 0.5)
    assert costs["public tests", 4] == (40, 2.0)
    assert costs["majority", 4] == (40, 1.0)
    assert costs[ORACLE, 4] == (40, 0)
    assert len(by_problem["majority", 4]) == 40


def test_a_policy_is_compared_at_the_tokens_that_it_spends_itself_and_with_all_samples():
    by_n = {n: [0.2 * n, 0.1 * n, 0.0, 0.0] for n in (1, 2, 4)}
    paid, most = versus_policy(25, [True, False, False, False], by_n, per_sample=10)
    assert (paid["n"], most["n"]) == (2, 4)
    assert (paid["times the tokens"], most["times the tokens"]) == (0.8, 1.6)
    assert (paid["best of n"], most["best of n"]) == (pytest.approx(0.15), pytest.approx(0.3))
    assert (paid["points"], most["points"]) == (pytest.approx(10), pytest.approx(-5))
    assert paid["low"] <= 10 <= paid["high"]
    assert paid["reached with"] == 4
    [never, _] = versus_policy(5, [True] * 4, by_n, 10)
    assert (never["n"], never["reached with"]) == (1, None), "at least one sample is written"
