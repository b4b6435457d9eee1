from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from fedward.audits.attacks.result import VIEWS
from fedward.audits.attacks.views import Sites, SumsInView
from fedward.audits.coordinator_role import NotAnsweredError
from fedward.client.cohort import Cohort
from fedward.client.vault.kernels.clipped_sum import clipped_gradient_sum
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions, study_model
from fedward.common.study.scaling import Scaler
from fedward.simulations.arms import changed

PARAMETERS = np.array([2.0, -1.0, 0.5, 0.3])


def sites_of(make_cohort: Callable[..., Cohort], *, seed: int | None = 5) -> Sites:
    cohorts = {f"site-{number}": make_cohort(12 + number, seed=number) for number in range(3)}
    return Sites(cohorts=cohorts, victim="site-1", noise_seed=seed)


def expected(study: Study, cohort: Cohort, *, clip: float) -> NDArray[np.float64]:
    return clipped_gradient_sum(study_model(study), PARAMETERS, cohort, None, clip=clip)


def test_each_view_is_what_it_says(study: Study, make_cohort: Callable[..., Cohort]) -> None:
    sharp = changed(study, {"privacy": {"clip": 0.2}})
    sites = sites_of(make_cohort)
    seen = {view: SumsInView(sharp, sites, view, run_id=view).ask(PARAMETERS) for view in VIEWS}
    one = sites.cohorts["site-1"]
    everyone = sites.cohorts.values()

    bare, clipped = expected(sharp, one, clip=1e6), expected(sharp, one, clip=0.2)
    assert seen["raw"] == pytest.approx(bare, abs=1e-6)
    assert seen["clipped"] == pytest.approx(clipped, abs=1e-5)
    assert np.linalg.norm(bare - clipped) > 0.5
    assert seen["masked"] == pytest.approx(
        np.sum([expected(sharp, cohort, clip=1e6) for cohort in everyone], axis=0), abs=1e-6
    )
    exact = np.sum([expected(sharp, cohort, clip=0.2) for cohort in everyone], axis=0)
    assert np.linalg.norm(seen["noised"] - exact) > 0.1


@pytest.mark.parametrize("local", [False, True])
def test_the_noise_has_the_deviation_that_is_told(
    make_study: Callable[..., Study], make_cohort: Callable[..., Cohort], local: bool
) -> None:
    training = {
        "method": "local" if local else "distributed",
        "rounds": 80,
        "learning_rate": 0.001,
        "momentum": 0.5,
    } | ({"epochs": 1, "sampling_rate": 0.5} if local else {})
    study = make_study(local=local, training=training)
    sums = SumsInView(study, sites_of(make_cohort), "noised", run_id="run")
    drawn = np.array([sums.ask(PARAMETERS) for _ in range(80)])

    # 320 draws: one standard error is 4 %. Batches of a local update add next to nothing.
    assert drawn.std(axis=0).mean() / sums.noise_deviation == pytest.approx(1.0, abs=0.16)


def test_the_ledger_ends_an_attack_on_the_release(
    study: Study, make_cohort: Callable[..., Cohort]
) -> None:
    sums = SumsInView(study, sites_of(make_cohort), "noised", run_id="run")
    for _ in range(sums.rounds):
        sums.ask(PARAMETERS)

    with pytest.raises(NotAnsweredError, match="plans no gradient_sum in round 5"):
        sums.ask(PARAMETERS)


def test_the_asker_scales_features_as_it_likes(
    study: Study, make_cohort: Callable[..., Cohort]
) -> None:
    sites = sites_of(make_cohort)
    center, scale = np.array([0.1, 0.2, 0.3]), np.array([0.5, 2.0, 1.0])
    seen = SumsInView(study, sites, "raw", run_id="run").ask(PARAMETERS, center=center, scale=scale)
    one = sites.cohorts["site-1"]
    scaler = Scaler(center=center, scale=scale, feature_clip=study.scaling.feature_clip)
    scaled = Cohort(features=scaler.apply(one.features), target=one.target, offsets=one.offsets)

    assert seen == pytest.approx(expected(study, scaled, clip=1e6), abs=1e-6)


def test_a_study_for_more_sites_is_refused_under_the_study_own_rules(
    make_study: Callable[..., Study], make_cohort: Callable[..., Cohort]
) -> None:
    study = make_study(cohort={"minimum_sites": 4})
    with pytest.raises(NotAnsweredError, match="asks for 4"):
        SumsInView(study, sites_of(make_cohort), "noised", run_id="run")


def test_local_updates_are_told_without_what_they_do_to_the_model_itself(
    make_study: Callable[..., Study], make_cohort: Callable[..., Cohort]
) -> None:
    """A huge model shrinks by its penalty; a coordinator knows that, and takes it off."""
    training = {
        "method": "local",
        "rounds": 3,
        "epochs": 2,
        "sampling_rate": 0.5,
        "learning_rate": 0.1,
        "momentum": 0.3,
        "l2": 0.01,
    }
    study = make_study(local=True, training=training)
    sums = SumsInView(study, sites_of(make_cohort), "raw", run_id="run")
    seen = sums.ask(100 * PARAMETERS)

    assert np.linalg.norm(seen) < 5
    assert len(seen) == Dimensions.of(study).parameters
