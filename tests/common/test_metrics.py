from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as reference

from fedward.common.metrics import (
    PROBABILITY_FLOOR,
    auroc,
    brier_score,
    calibration_bins,
    classification_metrics,
    confusion,
    log_loss,
)

Floats = NDArray[np.float64]


def predictions(pairs: list[tuple[int, float]]) -> tuple[Floats, Floats]:
    return (
        np.array([pair[0] for pair in pairs], dtype=np.float64),
        np.array([pair[1] for pair in pairs], dtype=np.float64),
    )


# Few distinct values, so that ties and exact thresholds are common.
pairs = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 20).map(lambda n: n / 20)), min_size=1, max_size=60
)


@given(pairs)
def test_figures_agree_with_scikit_learn(drawn: list[tuple[int, float]]) -> None:
    target, probability = predictions(drawn)
    called = probability >= 0.5
    found = classification_metrics(target, probability, threshold=0.5)
    assert found.accuracy == pytest.approx(reference.accuracy_score(target, called))
    assert found.brier == pytest.approx(float(np.mean((target - probability) ** 2)))
    assert found.log_loss == pytest.approx(
        reference.log_loss(
            target,
            np.clip(probability, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR),
            labels=[0.0, 1.0],
        )
    )
    if target.min() == target.max():
        assert found.auroc is None
    else:
        assert found.auroc == pytest.approx(reference.roc_auc_score(target, probability))
    if target.any():
        assert found.sensitivity == pytest.approx(reference.recall_score(target, called))
        assert found.f1 == pytest.approx(reference.f1_score(target, called))
    else:
        assert found.sensitivity is None
    if not target.all():
        assert found.specificity == pytest.approx(
            reference.recall_score(target, called, pos_label=0)
        )
    else:
        assert found.specificity is None
    if called.any():
        assert found.precision == pytest.approx(reference.precision_score(target, called))
    else:
        assert found.precision is None


@given(pairs, st.integers(0, 20).map(lambda n: n / 20))
def test_confusion_counts_everyone_once(drawn: list[tuple[int, float]], threshold: float) -> None:
    target, probability = predictions(drawn)
    found = confusion(target, probability, threshold=threshold)
    called = probability >= threshold
    assert found.count == len(drawn)
    assert found.true_positive == int(np.sum((target == 1) & called))
    assert found.false_positive == int(np.sum((target == 0) & called))
    assert found.true_negative == int(np.sum((target == 0) & ~called))
    assert found.false_negative == int(np.sum((target == 1) & ~called))


def test_a_probability_at_the_threshold_is_positive() -> None:
    found = confusion(np.array([1.0, 0.0]), np.array([0.5, 0.5]), threshold=0.5)
    assert (found.true_positive, found.false_positive) == (1, 1)


def test_auroc_of_a_worked_example() -> None:
    # Of 2 x 2 pairs: one tie (half), three wins.
    target = np.array([0.0, 1.0, 0.0, 1.0])
    assert auroc(target, np.array([0.1, 0.4, 0.4, 0.9])) == pytest.approx(3.5 / 4)


def test_log_loss_of_a_certain_mistake_is_finite_and_large() -> None:
    found = log_loss(np.array([1.0]), np.array([0.0]))
    assert found == pytest.approx(-math.log(PROBABILITY_FLOOR))


@given(pairs, st.integers(1, 25))
def test_every_prediction_falls_into_the_bin_that_contains_it(
    drawn: list[tuple[int, float]], bins: int
) -> None:
    target, probability = predictions(drawn)
    found = calibration_bins(target, probability, bins=bins)
    assert len(found) == bins
    assert (found[0].low, found[-1].high) == (0.0, 1.0)
    assert sum(part.count for part in found) == len(drawn)
    for part in found:
        upper = probability <= part.high if part.high == 1.0 else probability < part.high
        inside = (probability >= part.low) & upper
        assert part.count == int(inside.sum())
        if part.count == 0:
            assert part.mean_predicted is None
            assert part.observed_rate is None
        else:
            assert part.mean_predicted == pytest.approx(float(probability[inside].mean()))
            assert part.observed_rate == pytest.approx(float(target[inside].mean()))


def test_an_edge_of_a_bin_belongs_to_the_bin_above() -> None:
    # .29 * 100 is 28.999..., so multiplication would put it below its own edge.
    found = calibration_bins(np.array([1.0]), np.array([0.29]), bins=100)
    assert [part.low for part in found if part.count] == [0.29]


@pytest.mark.parametrize(
    ("target", "probability", "message"),
    [
        ([0.0, 1.0], [0.5], "must be"),
        ([0.0, 2.0], [0.5, 0.5], "0 and 1"),
        ([0.0, float("nan")], [0.5, 0.5], "0 and 1"),
        ([0.0, 1.0], [0.5, float("nan")], "NaN"),
        ([0.0, 1.0], [0.5, 1.01], "must lie"),
        ([], [], "at least one"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    target: list[float], probability: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        classification_metrics(np.array(target), np.array(probability))


def test_means_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        brier_score(np.array([]), np.array([]))
    with pytest.raises(ValueError, match="at least one"):
        log_loss(np.array([]), np.array([]))
    with pytest.raises(ValueError, match="bins"):
        calibration_bins(np.array([1.0]), np.array([0.5]), bins=0)
