from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.common.privacy.plan import COUNTS_CLIP
from fedward.common.study.class_counts import (
    COUNTS_LENGTH,
    ClassCounts,
    class_count_sum,
    majority_outcomes,
)

PATIENTS = st.lists(st.lists(st.booleans(), min_size=1, max_size=5), max_size=30)


def rows_of(patients: list[list[bool]]) -> tuple[np.ndarray, np.ndarray]:
    target = np.array([float(row) for rows in patients for row in rows], dtype=np.float64)
    offsets = np.cumsum([0, *map(len, patients)], dtype=np.int64)
    return target, offsets


@given(PATIENTS)
def test_a_patient_counts_once_by_its_majority(patients: list[list[bool]]) -> None:
    target, offsets = rows_of(patients)
    outcomes = majority_outcomes(target, offsets)
    assert outcomes.tolist() == [float(2 * sum(rows) >= len(rows)) for rows in patients]
    total = class_count_sum(outcomes)
    positive = sum(2 * sum(rows) >= len(rows) for rows in patients)
    assert total.tolist() == [positive, len(patients) - positive]


def test_a_tie_is_positive() -> None:
    assert majority_outcomes(*rows_of([[True, False], [False, False, True]])).tolist() == [1.0, 0.0]


@given(PATIENTS, st.lists(st.booleans(), min_size=1, max_size=5))
def test_one_patient_more_changes_the_sum_by_exactly_the_clip(
    patients: list[list[bool]], another: list[bool]
) -> None:
    without = class_count_sum(majority_outcomes(*rows_of(patients)))
    with_it = class_count_sum(majority_outcomes(*rows_of([*patients, another])))
    assert np.linalg.norm(with_it - without) == COUNTS_CLIP


def test_a_released_sum_is_read() -> None:
    counts = ClassCounts.of(np.array([12.5, -3.0]), noise_deviation=4.0)
    assert counts == ClassCounts(positive=12.5, negative=-3.0, noise=4.0)
    with pytest.raises(ValueError, match="2 numbers"):
        ClassCounts.of(np.zeros(COUNTS_LENGTH + 1), noise_deviation=1.0)
