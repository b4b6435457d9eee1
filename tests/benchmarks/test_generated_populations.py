from __future__ import annotations

import numpy as np
import pytest
from generated_populations import RANGE_TAIL, Population, drawn

COLUMNS = 30


def test_same_seed_same_patients() -> None:
    first, _ = drawn(5, columns=COLUMNS, training=50, held_out=20)
    second, _ = drawn(5, columns=COLUMNS, training=50, held_out=20)
    other, _ = drawn(6, columns=COLUMNS, training=50, held_out=20)
    np.testing.assert_array_equal(first.features, second.features)
    np.testing.assert_array_equal(first.target, second.target)
    assert not np.array_equal(first.features, other.features)


def test_training_and_held_out_patients_differ() -> None:
    training, held_out = drawn(5, columns=COLUMNS, training=50, held_out=50)
    assert not np.isin(training.features, held_out.features).any()


@pytest.mark.parametrize("seed", range(4))
def test_patients_lie_in_the_public_range(seed: int) -> None:
    training, held_out = drawn(seed, columns=COLUMNS, training=455, held_out=1000)
    for cohort, patients in ((training, 455), (held_out, 1000)):
        assert cohort.features.shape == (patients, COLUMNS)
        assert cohort.patient_count == patients
        assert np.abs(cohort.features).max() <= 1
        assert set(cohort.target) == {0.0, 1.0}


@pytest.mark.parametrize("seed", range(4))
def test_ranges_hold_all_but_the_tails(seed: int) -> None:
    population = Population.of(seed, columns=COLUMNS)
    readings, _ = population.readings(20_000, np.random.default_rng(1))
    below = (readings < population.low).mean(axis=0)
    above = (readings > population.high).mean(axis=0)
    # At most the tails that the range was cut at, with room for the chance of 20,000 draws.
    assert max(below.max(), above.max()) < 3 * RANGE_TAIL
    width = population.high - population.low
    seen = np.quantile(readings, [RANGE_TAIL, 1 - RANGE_TAIL], axis=0)
    assert ((seen[1] - seen[0]) / width).min() > 0.6


def test_populations_are_what_is_said_of_them() -> None:
    populations = [Population.of(seed, columns=COLUMNS) for seed in range(20)]
    distances = [float(np.linalg.norm(p.direction)) for p in populations]
    assert 1.3 * 3.2 <= min(distances) < max(distances) <= 1.3 * 4.6
    assert {len(p.direction) for p in populations} == {4, 5, 6, 7, 8}
    for population in populations:
        assert 0.3 <= population.prevalence <= 0.5
        assert 1 <= population.spread_of_ill <= 2
        np.testing.assert_allclose(np.linalg.norm(population.loadings, axis=1), 1)
        assert (population.loadings[:, 0] > 0).all()
        assert (population.direction > 0).all()


def test_the_ill_vary_more_and_come_at_their_prevalence() -> None:
    population = max(
        (Population.of(seed, columns=COLUMNS) for seed in range(8)), key=lambda p: p.spread_of_ill
    )
    readings, ill = population.readings(40_000, np.random.default_rng(2))
    assert abs(ill.mean() - population.prevalence) < 0.015
    plain = readings[:, ~population.skewed]
    deviations = plain[ill == 1].std(axis=0) / plain[ill == 0].std(axis=0)
    error = population.error[~population.skewed] ** 2
    expected = np.sqrt((population.spread_of_ill**2 + error) / (1 + error))
    np.testing.assert_allclose(deviations, expected, rtol=0.03)
