from __future__ import annotations

import bisect
from decimal import Decimal, localcontext
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from fedward.common.privacy import discrete_gaussian
from fedward.common.privacy.discrete_gaussian import (
    TOTAL_VARIATION_PER_DRAW,
    sample_discrete_gaussian,
)
from fedward.common.privacy.discrete_gaussian_table import envelope_table
from fedward.common.privacy.random_source import RandomSource

UNIT = 2.0**24


def draws(sigma: float, size: int, seed: int = 0) -> NDArray[np.int64]:
    stream = RandomSource.insecure(seed).stream(purpose="noise", context=b"test")
    return sample_discrete_gaussian(stream, sigma=sigma, size=size)


class Words:
    """Stands in for a stream: yields given words."""

    def __init__(self, *rows: list[int]) -> None:
        self._rows = list(rows)

    def uint64(self, size: int) -> NDArray[np.uint64]:
        row = self._rows.pop(0)
        assert len(row) == size
        return np.array(row, dtype=np.uint64)


class Recorded:
    """Stands in for a stream: yields given words one after another, then those of a stream."""

    def __init__(self, first: list[int], seed: int) -> None:
        self._first = first
        self._stream = RandomSource.insecure(seed).stream(purpose="noise", context=b"recorded")

    def uint64(self, size: int) -> NDArray[np.uint64]:
        given, self._first = self._first[:size], self._first[size:]
        fresh = self._stream.uint64(size - len(given))
        return np.concatenate([np.array(given, dtype=np.uint64), fresh])


def one_by_one(stream: Any, *, sigma: float, size: int) -> list[int]:
    """The sampler without tables, blocks or vectors; words are used in the documented order."""
    table = envelope_table(sigma)
    drawn = [0] * size
    pending = list(range(size))
    while pending:
        selectors = stream.uint64(len(pending)).tolist()
        rests = stream.uint64(len(pending)).tolist()
        heads = table.heads.tolist()
        known = set(heads)
        bins = [bisect.bisect_right(heads, word) for word in selectors]
        for index, word in enumerate(selectors):
            if word in known:
                bins[index] = table.bin_of(joined([word, *stream.uint64(3).tolist()]))
        kept = []
        mask = 2**table.width_log2 - 1
        for index, rest in enumerate(rests):
            start, offset = bins[index] << table.width_log2, rest & mask
            coin = (rest >> 41) % 2**22
            keep = np.exp(float(offset) * (2 * start + offset) * (-0.5 / (sigma * sigma)))
            heads_up = table.width_log2 == 0 or (coin + 1) / 2**22 <= keep - 2.0**-45
            if not heads_up and coin / 2**22 < keep + 2.0**-45:
                words = joined([coin, *stream.uint64(4).tolist()])
                heads_up = table.keeps(words, 22 + 256, start=start, offset=offset)
            minus = rest >> 63
            kept.append(heads_up and not (minus and start + offset == 0))
            drawn[pending[index]] = -(start + offset) if minus else start + offset
        pending = [place for place, good in zip(pending, kept, strict=True) if not good]
    return drawn


def joined(words: list[int]) -> int:
    return int.from_bytes(b"".join(word.to_bytes(8, "big") for word in words), "big")


@pytest.mark.parametrize("sigma", [0.25, 0.7, 3.0, 31.9, 333.3, UNIT, 7.3 * UNIT, 2.0**45])
@pytest.mark.parametrize("size", [1, 31, 4096, 4097, 20_000])
def test_draws_are_those_of_one_by_one_to_the_bit(sigma: float, size: int) -> None:
    heads = envelope_table(sigma).heads.tolist()
    # Words at and around every boundary first, so that ties and crowded cells are all met.
    around = [(head + step) % 2**64 for head in heads for step in (-1, 0, 1)]
    first = (around * (size // len(around) + 1))[:size]
    for words in ([], first):
        ours, theirs = Recorded(words, seed=size), Recorded(words, seed=size)
        found = sample_discrete_gaussian(ours, sigma=sigma, size=size)  # type: ignore[arg-type]
        assert found.tolist() == one_by_one(theirs, sigma=sigma, size=size)
        assert ours.uint64(1) == theirs.uint64(1), "another number of words was used"


@pytest.mark.parametrize("sigma", [0.25, 1.0, 5.0, 40.0, UNIT, 2.0**45])
def test_the_guide_finds_the_bins_of_a_plain_search(sigma: float) -> None:
    table = envelope_table(sigma)
    edges = [*table.heads.tolist(), *(cell << 53 for cell in range(2**11)), 2**64]
    words = sorted({(edge + step) % 2**64 for edge in edges for step in (-1, 0, 1)})
    words += RandomSource.insecure(0).stream(purpose="n", context=b"").uint64(10_000).tolist()
    known = set(table.heads.tolist())
    found = table.bins_of_words(np.array(words, dtype=np.uint64)).tolist()
    plain = [bisect.bisect_right(table.heads.tolist(), word) for word in words]
    assert found == [-1 - b if w in known else b for w, b in zip(words, plain, strict=True)]


@pytest.mark.parametrize("sigma", [0.25, 0.5, 1.3, 4.0, 31.9, 40.0, 333.3])
def test_implemented_distribution_is_within_the_stated_gap(sigma: float) -> None:
    """Sums |implemented - ideal| over the integers, from the table itself, in 120 digits."""
    with localcontext() as context:
        context.prec = 120
        table = envelope_table(sigma)
        edges = [0, *table.boundaries, 2**256]
        twice_variance = 2 * Decimal(sigma) ** 2
        width = 2**table.width_log2
        mass: dict[int, Decimal] = {}
        for index, (low, high) in enumerate(pairwise(edges)):
            for offset in range(width):
                keep = table.keep_probability(start=index * width, offset=offset)
                mass[index * width + offset] = Decimal(high - low) / 2**256 / width * keep
        reach = max(mass) + int(5 * sigma) + 5  # beyond, less than exp(-22^2 / 2) is left
        ideal = [(-(Decimal(x) ** 2) / twice_variance).exp() for x in range(reach)]
        total = 2 * sum(mass.values()) - mass[0]
        ideal_total = 2 * sum(ideal) - ideal[0]
        gap = sum(
            (1 if x == 0 else 2) * abs(mass.get(x, Decimal(0)) / total - ideal[x] / ideal_total)
            for x in range(reach)
        )
        assert gap / 2 < Decimal(TOTAL_VARIATION_PER_DRAW)


@pytest.mark.parametrize("sigma", [0.5, 3.0, 40.0])
def test_small_sigmas_fit_the_mass_function(sigma: float) -> None:
    size = 400_000
    assert fit(draws(sigma, size), sigma) > 1e-6
    assert fit(draws(sigma, size), sigma * 1.02) < 1e-6
    assert fit(draws(sigma, size), sigma * 0.98) < 1e-6


def fit(sample: NDArray[np.int64], sigma: float) -> float:
    """Chi-square p-value against the discrete Gaussian, cells of at least ten expected draws."""
    reach = int(15 * sigma) + 5
    values = np.arange(-reach, reach + 1)
    mass = np.exp(-(values**2) / (2 * sigma**2))
    expected = mass / mass.sum() * sample.size
    observed = np.bincount(sample + reach, minlength=2 * reach + 1)
    central = expected >= 10
    cells = [*observed[central], observed[~central].sum()]
    wanted = [*expected[central], expected[~central].sum()]
    if wanted[-1] < 5:
        cells[-2:] = [cells[-2] + cells[-1]]
        wanted[-2:] = [wanted[-2] + wanted[-1]]
    return float(stats.chisquare(cells, wanted).pvalue)


@pytest.mark.parametrize("sigma", [UNIT, 37.3 * UNIT, 2.0**45])
def test_large_sigmas_fit_the_normal(sigma: float) -> None:
    sample = draws(sigma, 400_000) / sigma
    inner = np.linspace(-4, 4, 200)

    def p_value(scale: float) -> float:
        edges = np.concatenate([[-np.inf], inner, [np.inf]])
        observed = np.histogram(sample, np.concatenate([[-40], inner, [40]]))[0]
        wanted = np.diff(stats.norm.cdf(edges / scale)) * sample.size
        return float(stats.chisquare(observed, wanted).pvalue)

    assert p_value(1.0) > 1e-6
    assert p_value(1.02) < 1e-6
    assert p_value(0.98) < 1e-6
    assert stats.kstest(sample, "norm").pvalue > 1e-6


def test_low_digits_are_uniform() -> None:
    low = draws(30 * UNIT, 256_000) & 255
    assert stats.chisquare(np.bincount(low, minlength=256)).pvalue > 1e-6


def test_draws_are_uncorrelated_and_centred() -> None:
    sample = draws(UNIT, 400_000) / UNIT
    assert abs(sample.mean()) * np.sqrt(sample.size) < 5
    assert abs(np.mean(sample[1:] * sample[:-1])) * np.sqrt(sample.size) < 5


def test_alike_seeds_alike_draws_but_never_from_the_system() -> None:
    assert np.array_equal(draws(UNIT, 100, seed=1), draws(UNIT, 100, seed=1))
    assert not np.array_equal(draws(UNIT, 100, seed=1), draws(UNIT, 100, seed=2))
    source = RandomSource.from_os()
    first, second = (
        sample_discrete_gaussian(source.stream(purpose="n", context=b""), sigma=UNIT, size=100)
        for _ in range(2)
    )
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("sigma", [3.0, 40.0, UNIT])
def test_coins_and_bins_are_right_when_every_one_is_decided_exactly(
    sigma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an absurd margin each coin takes the path that chance takes once in 2^22 draws."""
    monkeypatch.setattr(discrete_gaussian, "_FLOAT_MARGIN", 2.0)
    sample = draws(sigma, 20_000)
    assert (
        fit(sample, sigma) > 1e-6 if sigma < 100 else stats.kstest(sample / sigma, "norm")[1] > 1e-6
    )
    assert abs(sample.var() / sigma**2 - 1) < 0.06


def test_ties_between_word_and_boundary_are_resolved_by_further_bits() -> None:
    table = envelope_table(3.0)
    head = int(table.heads[1])
    tail = table.boundaries[1] & (2**192 - 1)
    split = [(tail >> shift) & (2**64 - 1) for shift in (128, 64, 0)]
    below = [split[0], split[1], split[2] - 1]
    for words, expected in ((split, 2), (below, 1)):
        stream = Words([head, 1], words)
        assert sample_discrete_gaussian(stream, sigma=3.0, size=1)[0] == expected  # type: ignore[arg-type]


def test_the_far_tail_can_be_drawn() -> None:
    ones = 2**64 - 1
    sigma = 5.0
    stream = Words([ones, 0], [ones] * 3)
    drawn = int(sample_discrete_gaussian(stream, sigma=sigma, size=1)[0])  # type: ignore[arg-type]
    assert drawn >= 16 * sigma
    stream = Words([ones, 1 << 63], [ones - 2**40, 0, 0])
    drawn = int(sample_discrete_gaussian(stream, sigma=sigma, size=1)[0])  # type: ignore[arg-type]
    assert -16 * sigma < drawn <= -9 * sigma


def test_minus_zero_is_drawn_again() -> None:
    stream = Words([0, 1 << 63], [0, 0])
    assert sample_discrete_gaussian(stream, sigma=3.0, size=1)[0] == 0  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None)
@given(log_sigma=st.floats(-2, 45), size=st.integers(0, 50))
def test_table_is_a_distribution_and_draws_stay_inside(log_sigma: float, size: int) -> None:
    sigma = 2.0**log_sigma
    table = envelope_table(sigma)
    assert list(table.boundaries) == sorted(table.boundaries)
    assert 0 < table.boundaries[0] <= table.boundaries[-1] < 2**256
    assert table.bins <= 800
    sample = draws(sigma, size)
    assert sample.shape == (size,)
    assert sample.dtype == np.int64
    assert (np.abs(sample) <= 18 * sigma + 2).all()


@pytest.mark.parametrize("sigma", [0.0, -1.0, 0.2, 2.0**46, float("nan"), float("inf")])
def test_sigma_out_of_range(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma"):
        draws(sigma, 1)
