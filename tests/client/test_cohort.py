from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedward.client.cohort import Cohort


def rows_of(cohort: Cohort, patient: int) -> NDArray[np.float64]:
    return cohort.features[cohort.offsets[patient] : cohort.offsets[patient + 1]]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30))
def test_rows_are_grouped_by_patient_in_their_own_order(owners: list[int]) -> None:
    patients = np.array(owners)
    features = np.arange(2.0 * len(owners)).reshape(-1, 2)
    target = np.arange(len(owners)) % 2.0
    cohort = Cohort.from_rows(features=features, target=target, patients=patients)

    assert cohort.patient_count == len(set(owners))
    for position, owner in enumerate(sorted(set(owners))):
        mine = slice(cohort.offsets[position], cohort.offsets[position + 1])
        assert cohort.features[mine].tolist() == features[patients == owner].tolist()
        assert cohort.target[mine].tolist() == target[patients == owner].tolist()


@given(st.lists(st.integers(1, 4), min_size=1, max_size=10), st.data())
def test_taking_patients_takes_exactly_their_rows(counts: list[int], data: st.DataObject) -> None:
    owners = np.repeat(np.arange(len(counts)), counts)
    cohort = Cohort.from_rows(
        features=np.arange(float(len(owners)))[:, None],
        target=np.zeros(len(owners)),
        patients=owners,
    )
    chosen = data.draw(st.permutations(range(len(counts))).map(lambda order: order[: len(order)]))
    chosen = chosen[: data.draw(st.integers(0, len(chosen)))]
    part = cohort.take(np.array(chosen, dtype=np.int64))

    assert part.patient_count == len(chosen)
    for position, patient in enumerate(chosen):
        assert rows_of(part, position).tolist() == rows_of(cohort, patient).tolist()


def test_nobody_can_be_taken() -> None:
    cohort = Cohort.from_rows(
        features=np.zeros((2, 3)), target=np.zeros(2), patients=np.array([0, 1])
    )
    nobody = cohort.take(np.array([], dtype=np.int64))

    assert nobody.patient_count == 0
    assert nobody.features.shape == (0, 3)


def test_its_arrays_cannot_be_changed() -> None:
    cohort = Cohort.from_rows(features=np.zeros((2, 3)), target=np.zeros(2), patients=np.arange(2))

    for array in (cohort.features, cohort.target, cohort.offsets):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.parametrize(
    ("features", "target", "offsets"),
    [
        (np.zeros(4), np.zeros(4), [0, 4]),
        (np.zeros((4, 2, 1)), np.zeros(4), [0, 4]),
        (np.zeros((4, 2)), np.zeros(3), [0, 4]),
        (np.zeros((4, 2)), np.zeros((4, 1)), [0, 4]),
        (np.zeros((4, 2)), np.zeros(4), [0, 3]),
        (np.zeros((4, 2)), np.zeros(4), [1, 4]),
        (np.zeros((4, 2)), np.zeros(4), [0, 2, 2, 4]),
        (np.zeros((4, 2)), np.zeros(4), [0, 3, 2, 4]),
        (np.zeros((4, 2)), np.zeros(4), [[0, 4]]),
        (np.zeros((4, 2)), np.zeros(4), []),
        (np.zeros((4, 2)), np.zeros(4), 4),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    features: NDArray[np.float64], target: NDArray[np.float64], offsets: list[int]
) -> None:
    with pytest.raises(ValueError, match=r"must|needs"):
        Cohort(features=features, target=target, offsets=np.array(offsets, dtype=np.int64))


@pytest.mark.parametrize(("target", "patients"), [(10, 8), (8, 10), (10, 12), (12, 10)])
def test_rows_without_a_patient_are_refused_and_not_dropped(target: int, patients: int) -> None:
    with pytest.raises(ValueError, match="must"):
        Cohort.from_rows(
            features=np.zeros((10, 2)), target=np.zeros(target), patients=np.arange(patients)
        )
