from __future__ import annotations

import numpy as np
import pytest
from heart_disease_notes import luck_of_five, patients_right


def test_luck_counts_the_groups_that_reach_the_target() -> None:
    accuracy = np.repeat([0.79, 0.80, 0.81, 0.70], 5)
    assert "2 of 4 disjoint groups" in luck_of_five(accuracy)


@pytest.mark.parametrize(("accuracy", "right"), [(201 / 254, 201), (0.7953, 202)])
def test_accuracy_is_told_in_patients(accuracy: float, right: int) -> None:
    words = patients_right(accuracy)
    assert "has 202 of 254 right" in words
    assert f"not private, {right}." in words
