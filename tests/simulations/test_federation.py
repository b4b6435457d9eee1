from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from flwr.serverapp import ServerApp

from fedward.client.vault.gate import SitePolicy
from fedward.client.vault.protection import PlannedProtection
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.study.definition import Study
from fedward.server.coordinator import RunOptions
from fedward.server.sum_rounds import CoordinationError
from fedward.simulations.engines.in_process_engine import InProcessEngine
from fedward.simulations.federation import SimulatedSite, executed_events, train
from fedward.simulations.hospitals.holdout import concatenate
from fedward.simulations.unprotected import Unprotected

MakeStudy = Callable[..., Study]
MakeSites = Callable[..., list[SimulatedSite]]
OPTIONS = RunOptions(run_id="run", expected_sites=3)


@pytest.mark.parametrize("local", [False, True])
def test_executed_events_stay_within_the_studys_epsilon(
    study: Study, local_study: Study, make_sites: MakeSites, local: bool
) -> None:
    chosen = local_study if local else study
    run = train(chosen, make_sites(chosen), engine=InProcessEngine(), options=OPTIONS)

    for site in ("site-0", "site-1", "site-2"):
        whole, alone = executed_events(run.records, site=site)
        assert len(whole) == len(alone) == 1 + chosen.training.rounds
        spent = epsilon_of(whole, delta=chosen.privacy.delta)
        assert 0.97 * chosen.privacy.epsilon < spent <= chosen.privacy.epsilon
        assert epsilon_of(alone, delta=chosen.privacy.delta) >= spent
    assert executed_events(run.records, site="nobody") == ([], [])


def test_a_run_without_privacy_has_no_events(study: Study, make_sites: MakeSites) -> None:
    sites = make_sites(study, protection=Unprotected(largest_site=100))
    run = train(study, sites, engine=InProcessEngine(), options=OPTIONS)

    assert executed_events(run.records, site="site-0") == ([], [])


@pytest.mark.parametrize("scaling", ["public_range", "private_moments"])
@pytest.mark.parametrize("model", ["logistic_regression", "mlp"])
def test_without_noise_a_federation_learns_what_pooled_data_teach(
    make_study: MakeStudy, make_sites: MakeSites, scaling: str, model: str
) -> None:
    study = make_study(scaling={"method": scaling}, model={"name": model})
    sites = make_sites(study, protection=Unprotected(largest_site=200))
    pooled = SimulatedSite(
        name="pooled",
        cohort=concatenate([site.cohort for site in sites]),
        study=study,
        protection=Unprotected(largest_site=200),
        policy=SitePolicy(known_sites=frozenset({"pooled"})),
        insecure_noise_seed=None,
    )
    together = train(study, sites, engine=InProcessEngine(), options=OPTIONS).state
    alone = train(
        study,
        [pooled],
        engine=InProcessEngine(),
        options=RunOptions(run_id="run", expected_sites=1),
    ).state

    np.testing.assert_allclose(together.center, alone.center, atol=1e-7)
    np.testing.assert_allclose(together.scale, alone.scale, atol=1e-7)
    np.testing.assert_allclose(together.parameters, alone.parameters, atol=1e-6)
    assert np.abs(alone.parameters).max() > 0.05


def test_noise_changes_the_model_and_os_randomness_every_run(
    study: Study, make_sites: MakeSites
) -> None:
    models = [
        train(study, make_sites(study), engine=InProcessEngine(), options=OPTIONS).state
        for _ in range(3)
    ]

    assert len({state.parameters.tobytes() for state in models}) == 3


def test_an_insecure_seed_repeats_the_run_to_the_last_byte(
    study: Study, make_sites: MakeSites
) -> None:
    first, second, other = (
        train(study, make_sites(study, noise_seed=seed), engine=InProcessEngine(), options=OPTIONS)
        for seed in (7, 7, 8)
    )

    assert first.state.to_frame() == second.state.to_frame()
    assert first.records == second.records
    assert other.state.to_frame() != first.state.to_frame()


def test_more_rounds_than_the_budget_pays_for_stop_the_run(
    study: Study, make_study: MakeStudy, make_sites: MakeSites
) -> None:
    # The coordinator asks for one round more than the sites' copy of the study plans.
    greedy = make_study(training=study.training.model_dump() | {"rounds": 5})
    object.__setattr__(greedy, "digest", study.digest)

    with pytest.raises(CoordinationError, match=r"site-0 refused \(budget_exceeded\)"):
        train(greedy, make_sites(study), engine=InProcessEngine(), options=OPTIONS)


def test_a_study_the_sites_did_not_approve_is_not_trained(
    study: Study, make_study: MakeStudy, make_sites: MakeSites
) -> None:
    other = make_study(about={"version": 2})

    with pytest.raises(CoordinationError, match=r"refused \(study_not_approved\)"):
        train(other, make_sites(study), engine=InProcessEngine(), options=OPTIONS)


def test_a_site_that_is_missing_stops_the_run(study: Study, make_sites: MakeSites) -> None:
    options = RunOptions(run_id="run", expected_sites=3, timeout=0.01)

    with pytest.raises(CoordinationError, match="2 of 3 sites are connected"):
        train(study, make_sites(study, count=2), engine=InProcessEngine(), options=options)


def test_sites_named_alike_are_refused(study: Study, make_sites: MakeSites) -> None:
    sites = make_sites(study)

    with pytest.raises(CoordinationError, match="two nodes call themselves site-0"):
        train(study, [sites[0], sites[0], sites[2]], engine=InProcessEngine(), options=OPTIONS)


class SilentEngine:
    """An engine that loses the run without a word, as a broken backend might."""

    name = "silent"

    def run(self, server_app: ServerApp, sites: Sequence[SimulatedSite]) -> None:
        return

    def close(self) -> None:
        return


def test_an_engine_that_loses_the_run_is_an_error_and_no_result(
    study: Study, make_sites: MakeSites
) -> None:
    with pytest.raises(CoordinationError, match="the silent engine ended without a result"):
        train(study, make_sites(study), engine=SilentEngine(), options=OPTIONS)


def test_a_site_is_a_recipe_and_builds_a_new_vault_each_time(
    study: Study, make_sites: MakeSites
) -> None:
    site = make_sites(study)[0]

    assert site.vault() is not site.vault()
    assert isinstance(site.protection, PlannedProtection)
