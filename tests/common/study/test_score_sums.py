from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedward.common.privacy.plan import EVALUATION_CLIP
from fedward.common.study import score_sums
from fedward.common.study.score_sums import ScoreSums, score_sum, score_sums_length

BINS = st.integers(2, 50)
THRESHOLD = st.floats(0.01, 0.99)
ANY = st.floats(allow_nan=True, allow_infinity=True)
PROBABILITY = st.one_of(st.floats(0.0, 1.0), st.integers(0, 100).map(lambda n: n / 100))
PATIENTS = st.lists(st.tuples(PROBABILITY, st.booleans()), max_size=40)


def sum_of(
    patients: list[tuple[float, bool]], *, threshold: float = 0.5, bins: int = 10
) -> NDArray[np.float64]:
    return score_sum(
        np.array([p for p, _ in patients], dtype=np.float64),
        np.array([float(y) for _, y in patients], dtype=np.float64),
        threshold=threshold,
        bins=bins,
    )


@given(probability=ANY, outcome=ANY, threshold=THRESHOLD, bins=BINS)
@example(probability=1.0, outcome=0.0, threshold=0.5, bins=20)
@example(probability=0.0, outcome=1.0, threshold=0.5, bins=20)
@example(probability=math.inf, outcome=-math.inf, threshold=0.5, bins=20)
@example(probability=math.nan, outcome=1.0, threshold=0.5, bins=20)
def test_no_patient_adds_more_than_the_clip(
    probability: float, outcome: float, threshold: float, bins: int
) -> None:
    total = score_sum(np.array([probability]), np.array([outcome]), threshold=threshold, bins=bins)
    assert total.shape == (score_sums_length(bins),)
    assert np.isfinite(total).all()
    assert sum(Fraction(x) ** 2 for x in total) <= Fraction(EVALUATION_CLIP) ** 2


def test_the_worst_patient_nearly_reaches_the_clip() -> None:
    assert np.linalg.norm(sum_of([(1.0, False)])) > 1 - 1e-6


def test_a_patient_without_a_number_adds_nothing() -> None:
    assert not sum_of([(math.nan, True)]).any()
    known = sum_of([(0.3, True)])
    assert (sum_of([(0.3, True), (math.nan, False)]) == known).all()


@given(patients=PATIENTS, another=st.tuples(ANY, st.booleans()), bins=BINS)
def test_one_patient_more_changes_the_sum_by_at_most_the_clip(
    patients: list[tuple[float, bool]], another: tuple[float, bool], bins: int
) -> None:
    change = sum_of([*patients, another], bins=bins) - sum_of(patients, bins=bins)
    assert np.linalg.norm(change) <= EVALUATION_CLIP


@given(
    counts=st.tuples(*[st.integers(0, 2**24 - 1)] * 2),
    errors=st.integers(0, 2**48 - 2**24),
    error=st.integers(0, 2**24),
)
@example(counts=(2**24 - 1, 2**24 - 1), errors=2**48 - 2**24, error=2**24)
def test_rounding_of_large_sums_stays_within_the_clip(
    counts: tuple[int, int], errors: int, error: int
) -> None:
    # The products that a sum over up to 2^24 patients holds, with one patient more and without.
    weights = (score_sums.CONFUSION_WEIGHT, score_sums.HISTOGRAM_WEIGHT)
    changes = [
        Fraction((count + 1) * weight) - Fraction(count * weight)
        for count, weight in zip(counts, weights, strict=True)
    ]
    weight = score_sums.SQUARED_ERROR_WEIGHT
    before, after = errors / 2**24 * weight, (errors + error) / 2**24 * weight
    changes.append(Fraction(after) - Fraction(before))
    assert sum(change**2 for change in changes) <= 1


@given(patients=PATIENTS, threshold=THRESHOLD, bins=BINS)
def test_a_sum_without_noise_gives_back_every_count(
    patients: list[tuple[float, bool]], threshold: float, bins: int
) -> None:
    sums = ScoreSums.of(
        sum_of(patients, threshold=threshold, bins=bins), bins=bins, noise_deviation=0.0
    )
    counted = {(called, ill): 0 for called in (True, False) for ill in (True, False)}
    positives, negatives = [0] * bins, [0] * bins
    for probability, ill in patients:
        counted[probability >= threshold, ill] += 1
        place = max(k for k in range(bins) if k / bins <= probability)
        (positives if ill else negatives)[place] += 1
    assert sums.true_positive == pytest.approx(counted[True, True], abs=1e-9)
    assert sums.false_positive == pytest.approx(counted[True, False], abs=1e-9)
    assert sums.true_negative == pytest.approx(counted[False, False], abs=1e-9)
    assert sums.false_negative == pytest.approx(counted[False, True], abs=1e-9)
    assert sums.positives == pytest.approx(positives, abs=1e-9)
    assert sums.negatives == pytest.approx(negatives, abs=1e-9)
    squared = math.fsum((probability - ill) ** 2 for probability, ill in patients)
    assert sums.squared_error == pytest.approx(squared, abs=1e-6)
    assert sums.bins == bins
    assert (sums.confusion_noise, sums.histogram_noise, sums.squared_error_noise) == (0, 0, 0)


def test_edges_belong_to_the_bin_above_and_1_to_the_last() -> None:
    edges = [(k / 100, True) for k in range(100)]
    sums = ScoreSums.of(sum_of(edges, bins=100), bins=100, noise_deviation=0.0)
    assert sums.positives == pytest.approx(np.ones(100))
    last = ScoreSums.of(sum_of([(1.0, False)], bins=4), bins=4, noise_deviation=0.0)
    assert last.negatives == pytest.approx([0, 0, 0, 1])


def test_probabilities_beyond_the_range_are_cut_off() -> None:
    assert (sum_of([(-3.0, True)]) == sum_of([(0.0, True)])).all()
    assert (sum_of([(math.inf, True)]) == sum_of([(1.0, True)])).all()


def test_the_threshold_itself_counts_as_positive() -> None:
    sums = ScoreSums.of(sum_of([(0.3, True)], threshold=0.3), bins=10, noise_deviation=0.0)
    assert sums.true_positive == pytest.approx(1)


@given(first=PATIENTS, second=PATIENTS)
def test_sums_over_disjoint_patients_add_up(
    first: list[tuple[float, bool]], second: list[tuple[float, bool]]
) -> None:
    one = ScoreSums.of(sum_of(first), bins=10, noise_deviation=3.0)
    two = ScoreSums.of(sum_of(second), bins=10, noise_deviation=4.0)
    both = ScoreSums.of(sum_of(first + second), bins=10, noise_deviation=5.0)
    added = one + two
    for name in vars(both):
        assert getattr(added, name) == pytest.approx(getattr(both, name), abs=1e-9), name


def test_other_bins_do_not_add_up() -> None:
    one = ScoreSums.of(sum_of([], bins=3), bins=3, noise_deviation=0.0)
    two = ScoreSums.of(sum_of([], bins=4), bins=4, noise_deviation=0.0)
    with pytest.raises(ValueError, match="3 and 4 bins"):
        _ = one + two


def test_noise_is_told_in_patients() -> None:
    generator = np.random.default_rng(5)
    bins, deviation, draws = 3, 2.0, 4000
    read = [
        ScoreSums.of(
            generator.normal(0, deviation, score_sums_length(bins)),
            bins=bins,
            noise_deviation=deviation,
        )
        for _ in range(draws)
    ]
    parts = {
        "confusion_noise": [s.true_negative for s in read],
        "histogram_noise": [s.negatives[2] for s in read],
        "squared_error_noise": [s.squared_error for s in read],
    }
    # The deviation of a sample of 4000 is within 5 % of the truth but once in 10^5.
    for name, values in parts.items():
        assert np.std(values) == pytest.approx(getattr(read[0], name), rel=0.05), name


@pytest.mark.parametrize("length", [0, 20, score_sums_length(10) + 1])
def test_a_sum_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="shape"):
        ScoreSums.of(np.zeros(length), bins=10, noise_deviation=0.0)


def test_arrays_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="outcomes"):
        score_sum(np.zeros(3), np.zeros(2), threshold=0.5, bins=10)
    with pytest.raises(ValueError, match="outcomes"):
        score_sum(np.zeros((3, 1)), np.zeros((3, 1)), threshold=0.5, bins=10)


def test_a_decoded_histogram_cannot_be_written() -> None:
    sums = ScoreSums.of(sum_of([(0.5, True)]), bins=10, noise_deviation=0.0)
    with pytest.raises(ValueError, match="read-only"):
        sums.positives[0] = 7
