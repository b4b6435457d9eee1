from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.client.vault.kernels.patients import PatientChunk, chosen, patient_chunks


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=20),
    rows=st.integers(1, 15),
    data=st.data(),
)
def test_chunks_hold_whole_patients_in_order(
    make_cohort: Any, counts: list[int], rows: int, data: st.DataObject
) -> None:
    cohort = make_cohort(counts, 2)
    everyone = np.arange(len(counts))
    patients = data.draw(
        st.none() | st.permutations(everyone).map(lambda p: np.array(p)[: len(p) // 2 + 1])
    )
    positions = everyone if patients is None else patients
    features, target, found = [], [], []
    for chunk in patient_chunks(cohort, patients, rows=rows):
        assert len(chunk.target) == chunk.counts.sum() == len(chunk.features)
        assert len(chunk.target) <= rows or len(chunk.counts) == 1
        assert chunk.features.flags.c_contiguous
        features.append(chunk.features.copy())
        target.append(chunk.target.copy())
        found += list(chunk.counts)
    expected = cohort.take(positions)
    np.testing.assert_array_equal(np.concatenate(features), expected.features)
    np.testing.assert_array_equal(np.concatenate(target), expected.target)
    assert found == [counts[p] for p in positions]


def test_everyone_is_not_copied(make_cohort: Any) -> None:
    cohort = make_cohort([1, 2, 3], 2)
    for chunk in patient_chunks(cohort, None, rows=3):
        assert np.shares_memory(chunk.features, cohort.features)
    (long,) = patient_chunks(cohort, np.array([2]), rows=2)
    assert np.shares_memory(long.features, cohort.features)


def test_patients_part_by_row_count() -> None:
    chunk = PatientChunk(np.arange(6.0)[:, None], np.arange(6.0), np.array([1, 2, 1, 2]))
    single, several = chunk.by_row_count()
    assert single is not None
    assert several is not None
    assert single.target.tolist() == [0, 3]
    assert several.target.tolist() == [1, 2, 4, 5]
    assert several.starts.tolist() == [0, 2]
    assert single.by_row_count() == (single, None)
    assert several.by_row_count() == (None, several)


@pytest.mark.parametrize(
    ("patients", "words"),
    [
        (np.array([0, 0]), "twice"),
        (np.array([2, 0, 2]), "twice"),
        (np.array([3]), "outside"),
        (np.array([-1]), "outside"),
        (np.array([0.0]), "integers"),
        (np.array([True, False]), "mask"),
        (np.array([[0]]), "vector"),
    ],
)
def test_wrong_choices_are_refused(make_cohort: Any, patients: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        chosen(make_cohort([1, 1, 1], 2), patients)
