"""What the scaler promises, whatever its formula: bounds for privacy, and true moments back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.common.study.definition import Study
from fedward.common.study.scaling import (
    SCALE_FLOOR,
    Scaler,
    moments_length,
    moments_of_patients,
    scaler_from_moments,
)

MakeStudy = Callable[..., Study]
ROUNDING = 1e-12
UNIT = st.floats(-1, 1, width=64)
ROWS = npst.arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 6)), elements=UNIT)


def grouped(features: NDArray[np.float64], sizes: list[int]) -> NDArray[np.int64]:
    """Offsets that deal the rows to patients, in runs of these sizes as long as rows last."""
    ends = np.cumsum(sizes)
    inner = ends[ends < len(features)]
    return np.array([0, *inner.tolist(), len(features)], dtype=np.int64)


@given(ROWS, st.lists(st.integers(1, 5), max_size=5), st.floats(1e-3, 1e3))
def test_one_patients_moments_have_a_norm_of_at_most_the_clip(
    features: NDArray[np.float64], sizes: list[int], clip: float
) -> None:
    offsets = grouped(features, sizes)
    moments = moments_of_patients(features, offsets, clip=clip)

    assert moments.shape == (len(offsets) - 1, moments_length(features.shape[1]))
    assert np.linalg.norm(moments, axis=1).max() <= clip * (1 + ROUNDING)


@pytest.mark.parametrize("corner", [-1.0, 1.0])
def test_the_bound_holds_at_the_corners_of_the_range(corner: float) -> None:
    features = np.full((4, 50), corner)
    moments = moments_of_patients(features, np.array([0, 1, 4]), clip=1.0)

    assert np.linalg.norm(moments, axis=1).max() <= 1 + ROUNDING


@given(ROWS, st.integers(2, 20))
def test_a_patient_counts_once_however_often_it_was_seen(
    features: NDArray[np.float64], visits: int
) -> None:
    once = moments_of_patients(features, np.arange(len(features) + 1), clip=1.0)
    often = moments_of_patients(
        np.repeat(features, visits, axis=0), visits * np.arange(len(features) + 1), clip=1.0
    )

    np.testing.assert_allclose(often, once, atol=ROUNDING)


def test_a_patients_moments_do_not_depend_on_the_other_patients() -> None:
    generator = np.random.default_rng(0)
    features = generator.uniform(-1, 1, (10, 3))
    changed = features.copy()
    changed[4:] = generator.uniform(-1, 1, (6, 3))
    offsets = np.array([0, 2, 4, 10])

    before, after = (moments_of_patients(rows, offsets, clip=1.0) for rows in (features, changed))

    assert before[:2].tobytes() == after[:2].tobytes()
    assert not np.allclose(before[2], after[2])


@given(ROWS, st.floats(0.1, 100), st.data())
def test_scaled_entries_are_cut_off_at_the_studys_bound(
    features: NDArray[np.float64], feature_clip: float, data: st.DataObject
) -> None:
    columns = features.shape[1]
    centers = npst.arrays(np.float64, columns, elements=st.floats(-1e300, 1e300))
    scales = npst.arrays(np.float64, columns, elements=st.floats(1e-300, 1e300))
    # Center and scale come from a coordinator, who may send anything above 0.
    scaler = Scaler(center=data.draw(centers), scale=data.draw(scales), feature_clip=feature_clip)
    with np.errstate(over="ignore"):
        scaled = scaler.apply(features)

    assert scaled.shape == features.shape
    assert np.abs(scaled).max() <= feature_clip


def test_entries_within_the_bound_are_moved_and_divided() -> None:
    scaler = Scaler(center=np.array([0.5, 0.0]), scale=np.array([0.5, 2.0]), feature_clip=2.5)

    scaled = scaler.apply(np.array([[1.0, 1.0], [0.0, -1.0], [-1.0, 0.0]]))

    assert scaled.tolist() == [[1.0, 0.5], [-1.0, -0.5], [-2.5, 0.0]]


def test_the_identity_changes_nothing_within_the_range(study: Study) -> None:
    features = np.array([[0.1, -0.2, 0.0], [1.0, -1.0, 0.4]])

    assert Scaler.identity(study, columns=3).apply(features).tolist() == features.tolist()


def test_scalers_are_equal_to_the_last_bit_or_not() -> None:
    one = Scaler(center=np.array([0.1]), scale=np.array([1.0]), feature_clip=3.0)

    def other(**change: Any) -> Scaler:
        return replace(one, **change)

    assert one.equals(other(center=np.array([0.1])))
    assert not one.equals(other(scale=np.nextafter([1.0], 2)))
    assert not one.equals(other(center=np.nextafter([0.1], 1)))
    assert not one.equals(other(feature_clip=2.0))
    assert not one.equals(other(center=np.zeros(2), scale=np.ones(2)))


@pytest.mark.parametrize("most_rows", [1, 4])
def test_the_exact_sum_gives_back_the_true_mean_and_deviation(
    make_study: MakeStudy, make_cohort: Callable[..., Cohort], most_rows: int
) -> None:
    patients = 500
    study = make_study(columns=5, cohort={"expected_patients": patients})
    cohort = make_cohort(patients, columns=5, most_rows=most_rows)
    # Deviations above the floor, and no patient so far out that its moments are clipped.
    features = cohort.features * [0.3, 0.5, 0.4, 0.3, 0.6] + [0.3, -0.2, 0, 0.1, 0]
    total = moments_of_patients(features, cohort.offsets, clip=1e6).sum(axis=0)

    scaler = scaler_from_moments(total, study, noise_deviation=0.0)

    rows = np.diff(cohort.offsets)
    weights = np.repeat(1 / rows, rows) / patients
    mean = weights @ features
    deviation = np.sqrt(weights @ (features - mean) ** 2)
    assert deviation.min() > SCALE_FLOOR
    np.testing.assert_allclose(scaler.center, mean, atol=1e-9)
    np.testing.assert_allclose(scaler.scale, deviation, rtol=1e-6)
    assert scaler.feature_clip == study.scaling.feature_clip


@given(npst.arrays(np.float64, 6, elements=st.floats(-1e6, 1e6)), st.floats(0, 1e6))
def test_any_noise_gives_a_scaler_that_can_be_used(
    study: Study, total: NDArray[np.float64], noise: float
) -> None:
    scaler = scaler_from_moments(total, study, noise_deviation=noise)

    assert (np.abs(scaler.center) <= 1).all()
    assert np.isfinite(scaler.scale).all()
    assert (scaler.scale > 0).all()
