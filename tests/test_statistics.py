from itertools import combinations, product
from math import comb

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given
from hypothesis import strategies as st
from statsmodels.stats import contingency_tables, proportion

from lib.statistics import (
    bootstrap,
    crossed_bootstrap,
    detectable_difference,
    mcnemar_exact,
    mean_sd,
    paired_bootstrap,
    pass_at_k,
    sign_flip,
    wilson,
)


# Newcombe (1998), Statistics in Medicine 17:857, table I, method 3.
@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(k, n, low, high):
    assert wilson(k, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_rate_stays_in_bounds_and_is_symmetric(case):
    k, n = case
    low, high = wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1
    assert wilson(n - k, n) == pytest.approx((1 - high, 1 - low))


def test_wilson_knows_nothing_without_data_and_refuses_what_is_no_rate():
    assert wilson(0, 0) == (0, 1)
    with pytest.raises(ValueError, match="5 of 3"):
        wilson(5, 3)


@pytest.mark.parametrize(("n", "c"), [(6, c) for c in range(7)])
def test_pass_at_k_is_the_share_of_draws_that_hold_a_correct_sample(n, c):
    for k in range(1, n + 1):
        draws = list(combinations([True] * c + [False] * (n - c), k))
        assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_k_equals_the_product_published_with_it():
    for n, c, k in [(200, 7, 1), (200, 7, 10), (200, 7, 100), (200, 150, 100)]:
        product_form = 1.0 if n - c < k else 1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1))
        assert pass_at_k(n, c, k) == pytest.approx(product_form)


@pytest.mark.parametrize(("n", "c", "k"), [(5, 1, 6), (5, 6, 1), (5, 1, 0)])
def test_pass_at_k_refuses_more_draws_than_samples(n, c, k):
    with pytest.raises(ValueError, match="can't be estimated"):
        pass_at_k(n, c, k)


def test_mcnemar_counts_only_problems_on_which_the_runs_differ():
    a = [1, 1, 0, 0, 0, 0, 0, 0]
    b = [1, 0, 1, 1, 1, 1, 1, 0]
    expected = 2 * (comb(6, 0) + comb(6, 1)) / 2**6
    assert mcnemar_exact(a, b) == {"only_a": 1, "only_b": 5, "p_value": pytest.approx(expected)}
    assert mcnemar_exact(a, a)["p_value"] == 1


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_mcnemar_does_not_care_which_run_comes_first(pairs):
    a, b = zip(*pairs, strict=True)
    one, other = mcnemar_exact(a, b), mcnemar_exact(b, a)
    assert one["p_value"] == other["p_value"] <= 1
    assert (one["only_a"], one["only_b"]) == (other["only_b"], other["only_a"])


def test_the_paired_bootstrap_is_near_the_normal_interval_and_repeats_with_its_seed():
    random = np.random.default_rng(0)
    a = random.random(400)
    b = a + random.normal(0.1, 0.2, 400)
    found = paired_bootstrap(a, b, seed=1)
    half = 1.96 * (b - a).std() / 20
    assert found["difference"] == pytest.approx((b - a).mean())
    assert (found["low"], found["high"]) == pytest.approx(
        (found["difference"] - half, found["difference"] + half), abs=2e-3
    )
    assert found == paired_bootstrap(a, b, seed=1) != paired_bootstrap(a, b, seed=2)


@pytest.mark.parametrize("compare", [mcnemar_exact, paired_bootstrap])
@pytest.mark.parametrize(("a", "b"), [([1, 0], [1]), ([], [])])
def test_runs_on_different_problems_are_not_compared(compare, a, b):
    with pytest.raises(ValueError, match="same problems"):
        compare(a, b)


def test_mean_and_spread_over_seeds():
    assert mean_sd([0.6, 0.7, 0.8]) == pytest.approx((0.7, 0.1))
    assert mean_sd([0.6]) == (0.6, None)


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_agrees_with_its_formula_and_with_statsmodels(case):
    k, n = case
    z = scipy.stats.norm.ppf(0.975)
    half = z / (n + z * z) * (k * (n - k) / n + z * z / 4) ** 0.5
    centre = (k + z * z / 2) / (n + z * z)
    assert wilson(k, n) == pytest.approx((centre - half, centre + half), abs=1e-9)
    assert wilson(k, n) == pytest.approx(proportion.proportion_confint(k, n, method="wilson"), abs=1e-9)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80))
def test_mcnemar_agrees_with_its_definition_and_with_statsmodels(pairs):
    a, b = zip(*pairs, strict=True)
    table = [[sum((x, y) == (p, q) for x, y in pairs) for q in (True, False)] for p in (True, False)]
    found = mcnemar_exact(a, b)
    assert found["p_value"] == pytest.approx(contingency_tables.mcnemar(table, exact=True).pvalue)
    differ = found["only_a"] + found["only_b"]
    tail = sum(comb(differ, i) for i in range(min(found["only_a"], found["only_b"]) + 1)) / 2**differ
    assert found["p_value"] == pytest.approx(min(1, 2 * tail))


def test_the_bootstrap_is_the_percentiles_of_resampled_means():
    values = np.random.default_rng(3).beta(0.4, 0.6, 150)
    means = values[np.random.default_rng(7).integers(0, 150, (10_000, 150))].mean(1)
    assert bootstrap(values, seed=7) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=1e-12)
    assert bootstrap([0.3]) == (0.3, 0.3)


@example([0.7124048631276604] * 2, 0)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 9))
def test_a_bootstrap_interval_lies_within_the_values_and_repeats_with_its_seed(values, seed):
    low, high = bootstrap(values, resamples=50, seed=seed)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert (low, high) == bootstrap(values, resamples=50, seed=seed)


def test_an_interval_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one problem"):
        bootstrap([])


def exact_power(n: int, discordant: float, difference: float) -> float:
    """How often McNemar's exact test finds the difference, summed over all outcomes."""
    wins = (discordant + difference) / (2 * discordant)
    power = 0.0
    for m in range(1, n + 1):
        only_b = np.arange(m + 1)
        p_values = np.minimum(1, 2 * scipy.stats.binom.cdf(np.minimum(only_b, m - only_b), m, 0.5))
        found = scipy.stats.binom.pmf(only_b, m, wins)[p_values < 0.05].sum()
        power += scipy.stats.binom.pmf(m, n, discordant) * found
    return power


@pytest.mark.parametrize(("n", "discordant"), [(165, 0.5), (117, 0.2), (500, 0.3)])
def test_the_detectable_difference_is_found_about_as_often_as_promised(n, discordant):
    difference = detectable_difference(n, discordant)
    assert 0.72 <= exact_power(n, discordant, difference) <= 0.82, "the exact test is a little conservative"
    assert exact_power(n, discordant, difference / 2) < 0.4


def test_more_problems_show_smaller_differences_and_too_few_show_none():
    assert detectable_difference(1000, 0.3) < detectable_difference(100, 0.3) < 0.3
    assert detectable_difference(5, 0.3) is None
    assert detectable_difference(165, 0.0) is None
    with pytest.raises(ValueError, match="not a comparison"):
        detectable_difference(0, 0.5)


def test_a_permutation_of_signs_finds_what_is_no_chance_and_nothing_else():
    drawn = np.random.default_rng(0)
    noise = drawn.normal(0, 0.3, (3, 200))
    assert sign_flip(noise + 0.1) < 0.001
    assert sign_flip(noise - noise.mean()) > 0.9
    exact = sum(abs(sum(s)) >= 4 for s in product((1, -1), repeat=4)) / 16
    assert sign_flip(np.ones((1, 4))) == pytest.approx(exact, abs=0.01)
    false = [sign_flip(drawn.normal(0, 1, (3, 40)), seed=trial, draws=400) < 0.05 for trial in range(200)]
    assert 0.01 <= np.mean(false) <= 0.10


def test_the_permutation_of_signs_agrees_with_scipys():
    by_problem = np.random.default_rng(5).normal(0.15, 1, 60)
    sides = by_problem, np.zeros(60)
    kind = {"permutation_type": "samples", "n_resamples": 4_999, "rng": np.random.default_rng(0)}
    theirs = scipy.stats.permutation_test(sides, lambda a, b, axis: (a - b).mean(axis), vectorized=True, **kind)
    assert sign_flip(by_problem[None]) == pytest.approx(theirs.pvalue, abs=0.02)


def test_the_crossed_interval_widens_with_the_variance_between_seeds_and_with_few_problems():
    drawn = np.random.default_rng(0)
    alike = (drawn.random((3, 200)) < 0.1).astype(float)
    unlike = alike + np.array([[0.2], [0.0], [-0.2]])
    few = alike[:, :20]
    width = {name: np.ptp(crossed_bootstrap(d)) for name, d in (("alike", alike), ("unlike", unlike), ("few", few))}
    assert width["unlike"] > 3 * width["alike"]
    assert width["few"] > 2 * width["alike"]
    assert crossed_bootstrap(alike) == crossed_bootstrap(alike)


def test_the_crossed_interval_holds_the_truth_about_as_often_as_it_says_with_many_seeds():
    drawn = np.random.default_rng(1)
    held = 0
    for trial in range(100):
        truth = 0.1 + drawn.normal(0, 0.05, (12, 1)) + drawn.normal(0, 0.3, 80)
        low, high = crossed_bootstrap(truth + drawn.normal(0, 0.3, (12, 80)), seed=trial, resamples=500)
        held += low <= 0.1 <= high
    assert held >= 88
