from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.simulations.hospitals.holdout import (
    concatenate,
    fold_split,
    patient_labels,
    site_generator,
    split_holdout,
)


def cohort_of(labels: list[int], rows: list[int] | None = None) -> Cohort:
    """A cohort whose only feature is the patient's number, ``rows`` rows each."""
    counts = np.array(rows if rows is not None else [1] * len(labels), dtype=np.int64)
    return Cohort(
        features=np.repeat(np.arange(len(labels), dtype=np.float64), counts)[:, None],
        target=np.repeat(np.array(labels, dtype=np.float64), counts),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


def patients_of(cohort: Cohort) -> NDArray[np.float64]:
    return cohort.features[cohort.offsets[:-1], 0]


LABELS = st.lists(st.integers(0, 1), min_size=1, max_size=60)


@given(LABELS, st.floats(0.01, 0.99), st.integers(0, 2**63), st.data())
def test_every_patient_is_on_exactly_one_side_with_all_rows(
    labels: list[int], holdout: float, seed: int, data: st.DataObject
) -> None:
    rows = data.draw(st.lists(st.integers(1, 4), min_size=len(labels), max_size=len(labels)))
    train, test = split_holdout(cohort_of(labels, rows), holdout=holdout, seed=seed, site="a")
    assert sorted([*patients_of(train), *patients_of(test)]) == list(range(len(labels)))
    assert train.patient_count >= 1
    for part in (train, test):
        for patient, count in zip(patients_of(part), np.diff(part.offsets), strict=True):
            assert rows[int(patient)] == count
        assert np.all(np.diff(patients_of(part)) > 0)
    ideal = test.patient_count * sum(labels) / len(labels)
    assert abs(patient_labels(test).sum() - ideal) <= 0.5


@pytest.mark.parametrize(("patients", "held"), [(303, 104), (261, 89), (46, 16), (130, 45)])
def test_sizes_are_flambys_at_its_share(patients: int, held: int) -> None:
    labels = [number % 2 for number in range(patients)]
    train, test = split_holdout(cohort_of(labels), holdout=0.34, seed=0, site="a")
    assert (train.patient_count, test.patient_count) == (patients - held, held)


def test_a_round_share_is_not_rounded_up_by_floating_point() -> None:
    for holdout in (0.1, 0.2, 0.3, 0.7):
        _, test = split_holdout(cohort_of([0, 1] * 50), holdout=holdout, seed=0, site="a")
        assert test.patient_count == round(100 * holdout)


def test_one_patient_is_never_held_out() -> None:
    train, test = split_holdout(cohort_of([1]), holdout=0.5, seed=0, site="a")
    assert (train.patient_count, test.patient_count) == (1, 0)


def test_no_patient_at_all_splits_into_nothing() -> None:
    train, test = split_holdout(cohort_of([]), holdout=0.5, seed=0, site="a")
    assert (train.patient_count, test.patient_count) == (0, 0)


def test_the_split_depends_on_seed_and_site_alone() -> None:
    cohort = cohort_of([0, 1] * 50)

    def held(seed: int, site: str) -> list[float]:
        return list(patients_of(split_holdout(cohort, holdout=0.2, seed=seed, site=site)[1]))

    assert held(1, "a") == held(1, "a")
    assert held(1, "a") != held(2, "a")
    assert held(1, "a") != held(1, "b")
    # Pinned: a change of the split would silently move every published figure.
    assert held(1, "a")[:5] == [1.0, 6.0, 10.0, 16.0, 29.0]


def test_each_patient_is_held_out_about_equally_often() -> None:
    cohort = cohort_of([0, 1] * 20)
    counts = np.zeros(40)
    for seed in range(600):
        counts[
            patients_of(split_holdout(cohort, holdout=0.25, seed=seed, site="a")[1]).astype(int)
        ] += 1
    # Binomial(600, 1/4): sd 10.6; five of them.
    assert np.all(np.abs(counts - 150) < 53)
    assert counts.std() > 3


@given(LABELS, st.integers(2, 7), st.integers(0, 1000))
def test_folds_partition_the_patients(labels: list[int], folds: int, seed: int) -> None:
    cohort = cohort_of(labels)
    tests = []
    for fold in range(folds):
        train, test = fold_split(cohort, folds=folds, fold=fold, seed=seed, site="a")
        assert train.patient_count + test.patient_count == len(labels)
        assert not set(patients_of(train)) & set(patients_of(test))
        tests.append(test)
    assert sorted(p for test in tests for p in patients_of(test)) == list(range(len(labels)))
    sizes = [test.patient_count for test in tests]
    positives = [int(patient_labels(test).sum()) for test in tests]
    assert max(sizes) - min(sizes) <= 1
    assert max(positives) - min(positives) <= 1


@pytest.mark.parametrize(("folds", "fold"), [(1, 0), (5, 5), (5, -1)])
def test_impossible_folds_are_refused(folds: int, fold: int) -> None:
    with pytest.raises(ValueError, match="fold must be in"):
        fold_split(cohort_of([0, 1]), folds=folds, fold=fold, seed=0, site="a")


@pytest.mark.parametrize("holdout", [0.0, 1.0, -1.0])
def test_impossible_shares_are_refused(holdout: float) -> None:
    with pytest.raises(ValueError, match=r"holdout must be in \(0, 1\)"):
        split_holdout(cohort_of([0, 1]), holdout=holdout, seed=0, site="a")


def test_the_majority_label_and_a_tie() -> None:
    cohort = Cohort(
        features=np.zeros((6, 1)),
        target=np.array([0, 0, 1, 0, 1, 1.0]),
        offsets=np.array([0, 3, 5, 6]),
    )
    assert patient_labels(cohort).tolist() == [False, True, True]


def test_concatenate_keeps_patients_and_rows() -> None:
    one, other = cohort_of([0, 1], [2, 1]), cohort_of([1], [3])
    joined = concatenate([one, other])
    assert joined.patient_count == 3
    assert joined.offsets.tolist() == [0, 2, 3, 6]
    assert joined.features[:, 0].tolist() == [0, 0, 1, 0, 0, 0]
    assert joined.target.tolist() == [0, 0, 1, 1, 1, 1]
    with pytest.raises(ValueError, match="at least one"):
        concatenate([])


def test_generators_of_different_names_differ() -> None:
    draws = {site_generator(0, *names).integers(2**62) for names in (("a",), ("b",), ("a", "b"))}
    assert len(draws) == 3
    assert site_generator(0, "a").integers(2**62) in draws
