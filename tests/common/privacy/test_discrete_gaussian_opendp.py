"""Our sampler and OpenDP's exact one (dashu rationals, CKS20's algorithm) give one distribution."""

from __future__ import annotations

import math

import numpy as np
import opendp.prelude as dp
import pytest
from numpy.typing import NDArray
from scipy import stats

from fedward.common.privacy.discrete_gaussian import sample_discrete_gaussian
from fedward.common.privacy.random_source import RandomSource

OURS, THEIRS = 1_000_000, 150_000
REJECT = 1e-6
"""A sound pair fails once in 10^6 runs; 2 % are over ten standard errors at these sizes."""


def ours(sigma: float) -> NDArray[np.int64]:
    stream = RandomSource.from_os().stream(purpose="noise", context=b"two samples")
    return sample_discrete_gaussian(stream, sigma=sigma, size=OURS)


def theirs(sigma: float, size: int = THEIRS) -> NDArray[np.int64]:
    dp.enable_features("contrib")
    integers = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64")
    mechanism = dp.m.make_gaussian(*integers, scale=sigma)
    return np.array(mechanism([0] * size), dtype=np.int64)


def p_value(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Whether two samples are of one distribution: the larger hint of spread and of shape."""
    return 2 * min(spread_p_value(first, second), shape_p_value(first, second))


def spread_p_value(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Two-sided z-test of the logarithm of the ratio of second moments about zero."""
    logarithm, variance = 0.0, 0.0
    for sample, sign in ((first, 1), (second, -1)):
        squares = sample.astype(np.float64) ** 2
        logarithm += sign * math.log(squares.mean())
        variance += squares.var() / squares.mean() ** 2 / squares.size
    return float(2 * stats.norm.sf(abs(logarithm) / math.sqrt(variance)))


def shape_p_value(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Chi-square test of homogeneity over cells between quantiles of both together."""
    edges = np.unique(np.quantile(np.concatenate([first, second]), np.linspace(0, 1, 41)[1:-1]))
    counts = [
        np.bincount(np.searchsorted(edges, s), minlength=edges.size + 1) for s in (first, second)
    ]
    table = np.array(counts)
    return float(stats.chi2_contingency(table[:, table.sum(axis=0) > 0]).pvalue)


@pytest.mark.parametrize("sigma", [0.5, 4.0, 100.0, 2.0**20])
def test_our_draws_and_those_of_opendp_are_of_one_distribution(sigma: float) -> None:
    exact = theirs(sigma)
    assert p_value(ours(sigma), exact) > REJECT
    assert p_value(ours(1.02 * sigma), exact) < REJECT
    assert p_value(ours(0.98 * sigma), exact) < REJECT


def test_another_shape_of_the_same_spread_is_rejected() -> None:
    generator = np.random.default_rng(0)
    sigma = 100.0
    exact = theirs(sigma, size=30_000)
    laplace = np.rint(generator.laplace(scale=sigma / math.sqrt(2), size=OURS)).astype(np.int64)
    assert spread_p_value(laplace, exact) > REJECT
    assert p_value(laplace, exact) < REJECT
    shifted = ours(sigma) + 10
    assert p_value(shifted, exact) < REJECT
