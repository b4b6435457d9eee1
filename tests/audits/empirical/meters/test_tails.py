"""Bounds on tails of sums of coins: never below the truth, however small the rate, and sharp."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fedward.audits.empirical.meters.levels import LEVEL
from fedward.audits.empirical.meters.tails import CoinSums, coin_sum_p, spread_p


def of(
    *, groups: int = 1, terms: int = 48, weights: tuple[float, ...] = (1.0,), rate: float = 0.3
) -> CoinSums:
    return CoinSums(groups=groups, terms=terms, weights=np.array(weights), rate=rate)


@pytest.mark.parametrize("rate", [0.001, 0.05, 0.5, 0.97])
@pytest.mark.parametrize("slope", [-40.0, -0.3, 0.01, 0.2, 1.0])
def test_the_moment_of_a_square_is_that_of_all_outcomes(rate: float, slope: float) -> None:
    one = of(rate=rate)
    outcomes = np.arange(one.terms + 1)
    chances = stats.binom.pmf(outcomes, one.terms, rate)
    squares = (outcomes - one.mean) ** 2 / one.variance
    # Of exp(slope * square), whose largest term may be beyond a float.
    logs = np.log(np.maximum(chances, 1e-300)) + slope * squares
    exact = logs.max() + np.log(np.sum(np.exp(logs - logs.max())))

    assert one.log_moment_of_square(slope) == pytest.approx(exact, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("slope", [-5.0, 0.3])
def test_the_moment_of_a_square_is_that_of_weighted_coins(slope: float) -> None:
    one = of(terms=1, weights=(1.0, 0.25, 2.5, 1.0), rate=0.2)
    tossed = (np.arange(16)[:, None] >> np.arange(4)) & 1
    chances = np.prod(np.where(tossed, 0.2, 0.8), axis=1)
    squares = (tossed @ one.weights - one.mean) ** 2 / one.variance

    exact = np.log(np.sum(chances * np.exp(slope * squares)))
    assert one.log_moment_of_square(slope) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("rate", [0.002, 0.02, 0.3, 0.95])
@pytest.mark.parametrize("weights", [(1.0,), (1.0, 0.5, 0.1)])
def test_alarms_are_no_more_frequent_than_their_level(
    rate: float, weights: tuple[float, ...]
) -> None:
    one = of(groups=30, weights=weights, rate=rate)
    coins = np.random.default_rng(8).binomial(one.terms, rate, (20_000, 30, len(weights)))
    sums = coins @ one.weights
    statistics = np.sum((sums - one.mean) ** 2, axis=1) / one.variance
    totals = sums.sum(axis=1)

    for share in (1e-2, 1e-3):
        for values, p_of in ((statistics, spread_p), (totals, coin_sum_p)):
            # Beyond the empirical quantiles lie so many of all, with 5 standard errors to spare.
            for tail in (share / 2, 1 - share / 2):
                level = 2 * (share / 2 + 5 * np.sqrt(share / 2 / len(values)))
                at = float(np.quantile(values, tail))
                below, above = np.mean(values <= at), np.mean(values >= at)
                assert p_of(at, [one]) >= 2 * min(below, above) - level


def test_a_bound_is_about_as_small_as_the_tail_itself() -> None:
    for count in (150, 330):
        exact = 2 * min(stats.binom.cdf(count, 800, 0.3), stats.binom.sf(count - 1, 800, 0.3))
        assert exact <= coin_sum_p(float(count), [of(terms=800)]) < 30 * exact
    # As good as Gaussian: chi-square of 200 degrees.
    many = of(groups=200, terms=20_000)
    for statistic in (100.0, 330.0):
        exact = 2 * min(stats.chi2.cdf(statistic, 200), stats.chi2.sf(statistic, 200))
        assert 0.9 * exact < spread_p(statistic, [many]) < 60 * exact


def test_both_directions_count() -> None:
    one = of(groups=60)
    assert spread_p(0.0, [one]) < LEVEL
    assert spread_p(300.0, [one]) < LEVEL
    assert spread_p(60.0, [one]) == pytest.approx(1.0)
    assert coin_sum_p(0.0, [one]) < LEVEL
    assert coin_sum_p(60.0 * 48, [one]) < LEVEL
    assert coin_sum_p(60 * one.mean, [one]) == pytest.approx(1.0)


def test_several_kinds_of_groups_are_judged_together() -> None:
    one, other = of(groups=10), of(groups=20, terms=7, rate=0.1)
    assert spread_p(30.0, [one, other]) == pytest.approx(1.0)
    assert spread_p(120.0, [one, other]) < 1e-5


def test_a_few_patients_in_large_batches_are_no_alarm_at_a_small_rate() -> None:
    """A scaled chi-square gives 1e-8 where the truth is nearer to 1e-5."""
    one = of(groups=120, rate=0.005)
    counts = np.zeros(120)
    counts[:29], counts[29] = 1, 4
    statistic = float(np.sum((counts - one.mean) ** 2) / one.variance)

    assert spread_p(statistic, [one]) > LEVEL
