"""Doses of local training are sums of whole steps, so the sampler is seen through the updates."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from fedward.audits.empirical.meters.bare_rehearsal import (
    SMALL_SITE,
    empty_chance,
    rounds_needed,
    small_size,
)
from fedward.audits.empirical.meters.sampling import local_doses
from fedward.common.study.definition import Study


@pytest.mark.parametrize(
    "changes",
    [
        {"momentum": 0.5, "sampling_rate": 0.25},
        {"momentum": 0.9, "l2": 0.1, "combine": "fedprox", "proximal": 0.2},
    ],
)
def test_a_dose_is_the_weight_of_some_of_the_steps(
    make_study: Callable[..., Study], changes: dict[str, float]
) -> None:
    study = make_study(local=True)
    training = study.training.model_dump() | changes
    doses, asked = local_doses(make_study(local=True, training=training), seed=None)

    assert doses is not None
    assert asked
    sums = np.array([np.dot(chosen, doses.weights) for chosen in _subsets(len(doses.weights))])
    for found in doses.by_site.values():
        nearest = np.abs(found[..., None] - sums).min(axis=-1)
        assert nearest.max() < 0.01
        assert len(np.unique(found.round(2))) > 1


def test_steps_too_long_to_be_read_are_left_alone(make_study: Callable[..., Study]) -> None:
    study = make_study(local=True)
    training = study.training.model_dump() | {"learning_rate": 100.0}
    doses, asked = local_doses(make_study(local=True, training=training), seed=None)

    assert doses is None
    assert asked == ()


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.25, 0.5, 0.9])
def test_the_small_site_has_empty_batches_often_enough(rate: float) -> None:
    assert small_size(rate) >= 1
    # Unless the rate is so low that no cohort of the rehearsal's size would do.
    assert 0.05 < empty_chance(rate) < 0.7 or rate > 0.95 or rate < 0.02
    missed = (1 - empty_chance(rate)) ** rounds_needed(rate)
    assert missed < 1e-9


def test_the_small_site_is_the_last_of_a_sorted_roster() -> None:
    assert max("site-1", "site-99", SMALL_SITE) == SMALL_SITE


def _subsets(steps: int) -> product[tuple[int, ...]]:
    return product((0, 1), repeat=steps)
