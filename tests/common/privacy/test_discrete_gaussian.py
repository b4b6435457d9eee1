from __future__ import annotations

import bisect
from decimal import Decimal, localcontext
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
    add_discrete_gaussian,
    sample_discrete_gaussian,
)
from fedward.common.privacy.discrete_gaussian_table import OPEN, EnvelopeTable, envelope_table
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

    def fill(self, words: NDArray[np.uint64]) -> None:
        words[:] = self.uint64(words.size)


class Recorded:
    """Stands in for a stream: yields given words one after another, then those of a stream."""

    def __init__(self, first: list[int], seed: int) -> None:
        self._first = first
        self._stream = RandomSource.insecure(seed).stream(purpose="noise", context=b"recorded")

    def uint64(self, size: int) -> NDArray[np.uint64]:
        given, self._first = self._first[:size], self._first[size:]
        fresh = self._stream.uint64(size - len(given))
        return np.concatenate([np.array(given, dtype=np.uint64), fresh])

    def fill(self, words: NDArray[np.uint64]) -> None:
        words[:] = self.uint64(words.size)


def one_by_one(stream: Any, *, sigma: float, size: int) -> list[int]:
    """The sampler without blocks or vectors; words are used in the documented order."""
    table = envelope_table(sigma)
    words = stream.uint64(size).tolist()
    offsets = [word % 2**table.width_log2 for word in words]
    cells = [int(table.cells[word >> 50]) for word in words]
    drawn = [start + offset for start, offset in zip(cells, offsets, strict=True)]
    places = [place for place, start in enumerate(cells) if start == OPEN]
    if not places:
        return drawn
    selectors = stream.uint64(len(places)).tolist()
    coins = stream.uint64(len(places)).tolist()
    heads = table.heads.tolist()
    known = set(heads)
    bins = [bisect.bisect_right(heads, word) for word in selectors]
    for index, word in enumerate(selectors):
        if word in known:
            bins[index] = table.open_bin(joined([word, *stream.uint64(3).tolist()]))
    rejected = []
    for place, bin_, word in zip(places, bins, coins, strict=True):
        drawn[place] = int(table.starts[bin_]) + offsets[place]
        magnitude, edge = abs(drawn[place]), int(table.edges[bin_])
        exponent = float(magnitude - edge) * (magnitude + edge) * (-0.5 / (sigma * sigma))
        reject = np.expm1(exponent) * -table.slopes[bin_]
        coin = word >> 11
        margin = discrete_gaussian._FLOAT_MARGIN
        tails_up = (coin + 1) / 2**53 <= reject - margin
        if not tails_up and coin / 2**53 < reject + margin:
            uniform = joined([word, *stream.uint64(4).tolist()])
            tails_up = table.rejects(uniform, 64 + 256, bin_=bin_, magnitude=magnitude)
        if tails_up:
            rejected.append(place)
    again = one_by_one(stream, sigma=sigma, size=len(rejected))
    for place, value in zip(rejected, again, strict=True):
        drawn[place] = value
    return drawn


def joined(words: list[int]) -> int:
    return int.from_bytes(b"".join(word.to_bytes(8, "big") for word in words), "big")


@pytest.mark.parametrize("sigma", [0.25, 3.0, 70.0, 333.3, UNIT, 2.0**45])
@pytest.mark.parametrize("size", [1, 31, 4500])
def test_draws_are_those_of_one_by_one_to_the_bit(
    sigma: float, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discrete_gaussian, "_BLOCK", 2**11)
    heads = envelope_table(sigma).heads.tolist()
    # Open cells, then words at and around every boundary, so that ties are met, and small coins.
    around = [(head + step) % 2**64 for head in heads for step in (-1, 0, 1)]
    wholly_open = [2**64 - 1 - 31 * place for place in range(size)]
    many = (around * (size // len(around) + 1))[:size]
    for words in ([], wholly_open, wholly_open + many, wholly_open + many + [0] * size):
        ours, theirs = Recorded(words, seed=size), Recorded(words, seed=size)
        found = sample_discrete_gaussian(ours, sigma=sigma, size=size)  # type: ignore[arg-type]
        assert found.tolist() == one_by_one(theirs, sigma=sigma, size=size)
        assert ours.uint64(1) == theirs.uint64(1), "another number of words was used"


def test_chunks_are_drawn_one_after_another() -> None:
    chunk = 2**18
    stream = RandomSource.insecure(3).stream(purpose="noise", context=b"test")
    parts = [sample_discrete_gaussian(stream, sigma=UNIT, size=size) for size in (chunk, 1000)]
    assert np.array_equal(np.concatenate(parts), draws(UNIT, chunk + 1000, seed=3))


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_draws_are_added_in_place_and_wrap(size: int) -> None:
    before = RandomSource.insecure(1).stream(purpose="n", context=b"").uint64(size)
    target = before.copy()
    stream = RandomSource.insecure(0).stream(purpose="noise", context=b"test")
    add_discrete_gaussian(target.view(np.int64), stream, sigma=UNIT)
    assert np.array_equal(target - before, draws(UNIT, size).view(np.uint64))


def implemented_mass(table: EnvelopeTable, bin_: int, offset: int) -> Decimal:
    """What the table gives one integer, before rejected draws are made anew, in 120 digits."""
    edges = (0, *table.boundaries, 2**256)
    x = int(table.starts[bin_]) + offset
    rejection = table.rejection_probability(bin_, abs(x))
    assert 0 <= rejection <= 1
    part = Decimal(edges[bin_ + 1] - edges[bin_]) / 2**256 * (1 - rejection)
    return (table.counts[bin_] + table.open_cells * part) / 2 ** (14 + table.width_log2)


@pytest.mark.parametrize("sigma", [0.25, 0.5, 1.3, 4.0, 63.9, 70.0, 160.0])
def test_implemented_distribution_is_within_the_stated_gap(sigma: float) -> None:
    """Sums |implemented - ideal| over the integers, from the table itself."""
    with localcontext() as context:
        context.prec = 120
        table = envelope_table(sigma)
        width = 2**table.width_log2
        mass = {
            int(table.starts[bin_]) + offset: implemented_mass(table, bin_, offset)
            for bin_ in range(table.bins)
            for offset in range(width)
        }
        reach = max(mass) + int(5 * sigma) + 5  # beyond, less than exp(-22^2 / 2) is left
        twice_variance = 2 * Decimal(sigma) ** 2
        ideal = [(-(Decimal(x) ** 2) / twice_variance).exp() for x in range(reach)]
        total = sum(mass.values())
        assert total > Decimal("0.9"), "more is drawn anew than the gap allows for"
        ideal_total = 2 * sum(ideal) - ideal[0]
        gap = sum(
            abs(mass.get(x, Decimal(0)) / total - ideal[abs(x)] / ideal_total)
            for x in range(-reach + 1, reach)
        )
        assert gap / 2 < Decimal(TOTAL_VARIATION_PER_DRAW)


@pytest.mark.parametrize("sigma", [1.99 * UNIT, 2.0**45])
def test_every_bin_is_proportional_to_the_density(sigma: float) -> None:
    """As above where there are too many integers: ends and middle of every bin."""
    with localcontext() as context:
        context.prec = 120
        table = envelope_table(sigma)
        width = 2**table.width_log2
        twice_variance = 2 * Decimal(sigma) ** 2
        constant = implemented_mass(table, int(np.flatnonzero(table.starts == 0)[0]), 0)
        for bin_ in range(table.bins):
            for offset in (0, width // 3, width - 1):
                x = Decimal(int(table.starts[bin_]) + offset)
                gap = implemented_mass(table, bin_, offset) - constant * (
                    (-(x**2) / twice_variance).exp()
                )
                # All integers and both signs together stay far below the stated 2^-200.
                assert abs(gap) * table.bins * width < Decimal(2) ** -230


def test_cells_are_what_the_counts_say() -> None:
    table = envelope_table(3.3 * UNIT)
    starts, counts = np.unique(table.cells, return_counts=True)
    assert dict(zip(starts.tolist(), counts.tolist(), strict=True)) == {
        OPEN: table.open_cells,
        **{s: c for s, c in zip(table.starts.tolist(), table.counts, strict=True) if c},
    }
    assert table.open_cells < 0.04 * 2**14


@pytest.mark.parametrize("sigma", [0.5, 1.0, 4.0, 40.0, 100.0, 333.3])
def test_small_sigmas_fit_the_mass_function(sigma: float) -> None:
    sample = draws(sigma, 600_000)
    assert fit(sample, sigma) > 1e-6
    assert fit(sample, sigma * 1.02) < 1e-6
    assert fit(sample, sigma * 0.98) < 1e-6


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


@pytest.mark.parametrize("sigma", [2.0**20, UNIT, 37.3 * UNIT, 2.0**45])
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


@pytest.mark.parametrize("sigma", [70.0, UNIT, 2.0**45])
def test_a_coin_is_decided_alike_in_float64_and_exactly(sigma: float) -> None:
    table = envelope_table(sigma)
    size = 3000
    generator = np.random.default_rng(0)
    bins = generator.integers(0, table.bins, size)
    magnitudes = np.abs(table.starts[bins] + generator.integers(0, 2**table.width_log2, size))
    coins = generator.integers(0, 2**64, size, dtype=np.uint64)
    certain, doubtful = discrete_gaussian._rejected(table, bins, magnitudes, coins)
    assert not doubtful.size
    exact = [
        table.rejects((int(coin) << 256) + 1, 64 + 256, bin_=int(bin_), magnitude=int(magnitude))
        for bin_, magnitude, coin in zip(bins, magnitudes, coins, strict=True)
    ]
    assert certain.tolist() == exact
    assert 0.05 < certain.mean() < 0.95


@pytest.mark.parametrize("sigma", [3.0, 70.0, UNIT])
def test_draws_are_right_when_every_coin_is_decided_exactly(
    sigma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an absurd margin each coin takes the path that chance takes once in 2^44 coins."""
    monkeypatch.setattr(discrete_gaussian, "_FLOAT_MARGIN", 2.0)
    ours, theirs = Recorded([], seed=5), Recorded([], seed=5)
    sample = sample_discrete_gaussian(ours, sigma=sigma, size=20_000)  # type: ignore[arg-type]
    assert sample.tolist() == one_by_one(theirs, sigma=sigma, size=20_000)
    assert (
        fit(sample, sigma) > 1e-6 if sigma < 100 else stats.kstest(sample / sigma, "norm")[1] > 1e-6
    )


def test_ties_between_word_and_boundary_are_resolved_by_further_bits() -> None:
    table = envelope_table(3.0)
    middle = table.bins // 2
    head = int(table.heads[middle])
    tail = table.boundaries[middle] & (2**192 - 1)
    split = [(tail >> shift) & (2**64 - 1) for shift in (128, 64, 0)]
    below = [split[0], split[1], split[2] - 1]
    for words, expected in ((split, middle + 1), (below, middle)):
        stream = Words([2**64 - 1], [head, 2**63], words)
        drawn = sample_discrete_gaussian(stream, sigma=3.0, size=1)[0]  # type: ignore[arg-type]
        assert drawn == table.starts[expected]


def test_the_far_tails_can_be_drawn() -> None:
    ones = 2**64 - 1
    sigma = 5.0
    for selector, sign in ((ones, 1), (0, -1)):
        stream = Words([ones], [selector, 2**63], [selector] * 3)
        drawn = int(sample_discrete_gaussian(stream, sigma=sigma, size=1)[0])  # type: ignore[arg-type]
        assert 16 * sigma <= sign * drawn <= 18 * sigma + 2


def test_who_rejects_is_drawn_anew_and_nobody_else() -> None:
    sigma = 300.0
    table = envelope_table(sigma)
    far = 2**table.width_log2 - 1
    bin_ = int(np.flatnonzero(table.starts == 0)[0]) + 20
    selector = int(table.heads[bin_ - 1]) + 1
    inside = 5 << 50  # the sixth cell has a bin
    # Both lie at the far end of one bin's open part; the coin rejects the second.
    stream = Words([inside, 2**64 - 1, 2**64 - 1], [selector] * 2 + [2**64 - 1, 0], [inside + 1])
    drawn = sample_discrete_gaussian(stream, sigma=sigma, size=3)  # type: ignore[arg-type]
    start = int(table.cells[5])
    assert drawn.tolist() == [start, int(table.starts[bin_]) + far, start + 1]


@settings(max_examples=30, deadline=None)
@given(log_sigma=st.floats(-2, 45), size=st.integers(0, 50))
def test_table_is_a_distribution_and_draws_stay_inside(log_sigma: float, size: int) -> None:
    sigma = 2.0**log_sigma
    table = envelope_table(sigma)
    assert list(table.boundaries) == sorted(table.boundaries)
    assert 0 <= table.boundaries[0] <= table.boundaries[-1] < 2**256
    assert table.bins <= 2200
    assert 0 < table.open_cells == np.count_nonzero(table.cells == OPEN)
    assert min(table.rises) > 0
    assert np.isfinite(table.slopes).all()
    sample = draws(sigma, size)
    assert sample.shape == (size,)
    assert sample.dtype == np.int64
    assert (np.abs(sample) <= 18 * sigma + 2).all()


@pytest.mark.parametrize("sigma", [0.0, -1.0, 0.2, 2.0**46, float("nan"), float("inf")])
def test_sigma_out_of_range(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma"):
        draws(sigma, 1)
