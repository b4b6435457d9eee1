from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from flwr.serverapp import ServerApp

from fedward.client.vault.protection import PlannedProtection
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.budget import RunBudget
from fedward.common.privacy.plan import Part, PrivacyPlan, plan_for
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions
from fedward.server.errors import CoordinationError
from fedward.server.run_options import RunOptions
from fedward.simulations.drop_outs import DropOuts
from fedward.simulations.engines.in_process_engine import InProcessEngine
from fedward.simulations.federation import SimulatedRun, SimulatedSite, executed_events, train
from fedward.simulations.hospitals.holdout import concatenate
from fedward.simulations.unprotected import Unprotected

MakeStudy = Callable[..., Study]
MakeSites = Callable[..., list[SimulatedSite]]
MakeOptions = Callable[..., RunOptions]
SITES = ("site-0", "site-1", "site-2")
PARTS: tuple[Part, ...] = ("training", "held_out")


@pytest.fixture
def options(make_options: MakeOptions) -> RunOptions:
    return make_options()


def planned(study: Study, *, sites: int) -> PrivacyPlan:
    """The plan that vaults protect the study by."""
    return plan_for(study, sites=sites, coordinates=Dimensions.of(study).longest)


def trained(study: Study, sites: Sequence[SimulatedSite], options: RunOptions) -> SimulatedRun:
    """Train within the study's budget, if the sites protect it."""
    if options.budget is None and isinstance(sites[0].protection, PlannedProtection):
        plan = planned(study, sites=len(options.signed_roster.roster.sites))
        options = replace(options, budget=RunBudget(plan))
    return train(study, sites, engine=InProcessEngine(), options=options)


@pytest.mark.parametrize("local", [False, True])
def test_executed_events_stay_within_the_studys_epsilon_for_either_part_of_patients(
    make_study: MakeStudy, make_sites: MakeSites, options: RunOptions, local: bool
) -> None:
    study = make_study(local=local, statistics={"budget_share": 0.1})
    run = trained(study, make_sites(study), options)
    expected = {"training": 2 + study.training.rounds, "held_out": 1}

    for site in SITES:
        for part in PARTS:
            whole, alone = executed_events(run.records, site=site, part=part)
            assert len(whole) == len(alone) == expected[part]
            spent = epsilon_of(whole, delta=study.privacy.delta)
            assert 0.97 * study.privacy.epsilon < spent <= study.privacy.epsilon
            assert epsilon_of(alone, delta=study.privacy.delta) >= spent
    assert executed_events(run.records, site="nobody", part="training") == ([], [])


def test_a_run_without_privacy_has_no_events(
    study: Study, make_sites: MakeSites, options: RunOptions
) -> None:
    run = trained(study, make_sites(study, protection=Unprotected(largest_site=100)), options)

    for part in PARTS:
        assert executed_events(run.records, site="site-0", part=part) == ([], [])


def test_every_sum_that_the_study_asks_for_is_masked_and_charged(
    make_study: MakeStudy, make_sites: MakeSites, make_options: MakeOptions
) -> None:
    study = make_study(
        statistics={"budget_share": 0.1},
        evaluation={"per_site": True, "groups": {"east": ["site-0", "site-2"]}},
        cohort={"minimum_sites": 2},
    )
    sites = make_sites(study, policy={"allow_site_evaluation": True}, count=4)
    run = trained(study, sites, make_options(4))
    kinds = Counter(record.kind for record in run.records)

    assert kinds == {
        "moments": 4,
        "training": 4 * study.training.rounds,
        "evaluation": 4,
        "site_evaluation": 4,
        "counts": 4,
    }
    assert all(record.summed and record.charged and record.executed for record in run.records)
    # A release of one site alone holds all of its noise, and has nobody to mask with.
    assert {record.kind for record in run.records if not record.masked} == {"site_evaluation"}
    assert set(run.evaluation) == {"east", "others"}
    assert set(run.site_evaluation) == {site.name for site in sites}
    assert run.counts is not None
    assert run.notes == ()


@pytest.mark.parametrize("scaling", ["public_range", "private_moments"])
@pytest.mark.parametrize("model", ["logistic_regression", "mlp"])
def test_without_noise_a_federation_learns_what_pooled_data_teach(
    make_study: MakeStudy,
    make_sites: MakeSites,
    make_options: MakeOptions,
    scaling: str,
    model: str,
) -> None:
    study = make_study(
        scaling={"method": scaling}, model={"name": model}, evaluation={"release": False}
    )
    protection = Unprotected(largest_site=200)
    sites = make_sites(study, protection=protection)
    (alone,) = make_sites(study, protection=protection, count=1)
    everyone = concatenate([site.cohort for site in sites])
    pooled = SimulatedSite(
        name=alone.name,
        identity=alone.identity,
        cohort=everyone,
        held_out=None,
        study=study,
        protection=protection,
        policy=alone.policy,
        insecure_noise_seed=None,
    )
    together = trained(study, sites, make_options()).state
    at_one = trained(study, [pooled], make_options(1, minimum_sites=1)).state

    np.testing.assert_allclose(together.center, at_one.center, atol=1e-7)
    np.testing.assert_allclose(together.scale, at_one.scale, atol=1e-7)
    np.testing.assert_allclose(together.parameters, at_one.parameters, atol=1e-6)
    assert np.abs(at_one.parameters).max() > 0.05


@pytest.mark.parametrize("local", [False, True])
def test_masks_change_no_bit_of_any_sum(
    make_study: MakeStudy, make_sites: MakeSites, options: RunOptions, local: bool
) -> None:
    study = make_study(local=local, statistics={"budget_share": 0.1})
    masked, bare = (
        trained(study, make_sites(study, noise_seed=3, masked=masked), options)
        for masked in (True, False)
    )

    # What follows from the sums is the same state, byte by byte; what crossed is not.
    assert masked.state.to_frame() == bare.state.to_frame()
    assert all(record.masked for record in masked.records)
    assert not any(record.masked for record in bare.records)
    for one, other in zip(masked.records, bare.records, strict=True):
        assert one.query_digest == other.query_digest
        assert one.release_digest != other.release_digest


def test_noise_changes_the_model_and_os_randomness_every_run(
    study: Study, make_sites: MakeSites, options: RunOptions
) -> None:
    models = [trained(study, make_sites(study), options).state for _ in range(3)]

    assert len({state.parameters.tobytes() for state in models}) == 3


def test_an_insecure_seed_repeats_the_run_to_the_last_byte(
    study: Study, make_sites: MakeSites, options: RunOptions
) -> None:
    first, second, other = (
        trained(study, make_sites(study, noise_seed=seed), options) for seed in (7, 7, 8)
    )

    assert first.state.to_frame() == second.state.to_frame()
    assert first.records == second.records
    assert other.state.to_frame() != first.state.to_frame()


class Uncounted(RunBudget):
    """That of a coordinator which does not keep to it."""

    def releases_left(self, *_: object, **__: object) -> int:
        return 1000


def test_more_rounds_than_the_budget_pays_for_stop_the_training(
    study: Study, make_study: MakeStudy, make_sites: MakeSites, options: RunOptions
) -> None:
    # The coordinator asks for one round more than the sites' copy of the study plans.
    greedy = make_study(training=study.training.model_dump() | {"rounds": 5})
    object.__setattr__(greedy, "digest", study.digest)

    with pytest.raises(CoordinationError, match=r"refused \(not_in_study\)"):
        trained(
            greedy,
            make_sites(study),
            replace(options, budget=Uncounted(planned(study, sites=len(SITES)))),
        )


def test_a_study_the_sites_did_not_approve_is_not_trained(
    make_study: MakeStudy, study: Study, make_sites: MakeSites, options: RunOptions
) -> None:
    other = make_study(about={"version": 2})

    with pytest.raises(CoordinationError, match=r"refused \(study_not_approved\)"):
        trained(other, make_sites(study), options)


def test_a_site_that_is_missing_stops_the_run(
    study: Study, make_sites: MakeSites, make_options: MakeOptions
) -> None:
    with pytest.raises(CoordinationError, match="2 of 3 sites are connected"):
        trained(study, make_sites(study)[:2], make_options(timeout=0.01))


def test_sites_named_alike_are_refused(
    study: Study, make_sites: MakeSites, options: RunOptions
) -> None:
    sites = make_sites(study)

    with pytest.raises(CoordinationError, match="two nodes answer for it"):
        trained(study, [sites[0], sites[0], sites[2]], options)


def failing(study: Study, make_sites: MakeSites, *, rate: float, seed: int) -> list[SimulatedSite]:
    return make_sites(study, noise_seed=5, drop_outs=DropOuts(rate=rate, seed=seed), count=4)


@pytest.mark.parametrize(("local", "rate", "seed"), [(False, 0.1, 2), (True, 0.15, 0)])
def test_a_run_goes_on_when_sites_fail(
    make_study: MakeStudy,
    make_sites: MakeSites,
    make_options: MakeOptions,
    local: bool,
    rate: float,
    seed: int,
) -> None:
    study = make_study(local=local, privacy={"spare_attempts": 30})
    plan = planned(study, sites=4)
    options = make_options(4, rejoin_after=1)
    run = trained(study, failing(study, make_sites, rate=rate, seed=seed), options)
    failed = [record for record in run.records if record.failure]
    asked = Counter(record.query_digest for record in run.records)

    assert run.state.round == study.training.rounds
    assert failed
    assert {"is down", "had answered"} <= {
        words
        for record in failed
        for words in ("is down", "had answered")
        if words in str(record.failure)
    }
    for record in failed:
        assert not record.summed
        assert record.charged
        # Nobody else's part of that attempt was added up either.
        same = [one for one in run.records if one.query_digest == record.query_digest]
        assert not any(one.summed for one in same)
    # The next attempt at the same place is made without the site that failed.
    by_place = {(record.round, record.attempt): record.query_digest for record in run.records}
    for record in failed:
        after = by_place.get((record.round, record.attempt + 1))
        if after is not None:
            sites = {one.site for one in run.records if one.query_digest == after}
            assert record.site not in sites
    assert max(asked.values()) == 4
    for site in SITES:
        for part in PARTS:
            whole, _ = executed_events(run.records, site=site, part=part)
            assert epsilon_of(whole, delta=plan.accounting_delta) <= study.privacy.epsilon


def test_failures_repeat_with_their_seed(
    make_study: MakeStudy, make_sites: MakeSites, make_options: MakeOptions
) -> None:
    study = make_study(privacy={"spare_attempts": 30})
    options = make_options(4, rejoin_after=1)
    first, again, other = (
        trained(study, failing(study, make_sites, rate=0.1, seed=seed), options)
        for seed in (2, 2, 3)
    )

    assert first.records == again.records
    assert first.state.to_frame() == again.state.to_frame()
    assert {record.query_digest for record in other.records if record.failure} != {
        record.query_digest for record in first.records if record.failure
    }


def test_too_few_sites_end_the_run_with_a_reason(
    study: Study, make_sites: MakeSites, make_options: MakeOptions
) -> None:
    with pytest.raises(CoordinationError, match=r"sites are left .* 2 are needed.*down"):
        trained(study, failing(study, make_sites, rate=0.9, seed=0), make_options(4))


class SilentEngine:
    """An engine that loses the run without a word, as a broken backend might."""

    name = "silent"

    def run(self, server_app: ServerApp, sites: Sequence[SimulatedSite]) -> None:
        return

    def close(self) -> None:
        return


def test_an_engine_that_loses_the_run_is_an_error_and_no_result(
    study: Study, make_sites: MakeSites, options: RunOptions
) -> None:
    with pytest.raises(CoordinationError, match="the silent engine ended without a result"):
        train(study, make_sites(study), engine=SilentEngine(), options=options)


def test_a_site_is_a_recipe_and_builds_a_new_vault_each_time(
    study: Study, make_sites: MakeSites
) -> None:
    site = make_sites(study)[0]

    assert site.vault() is not site.vault()
    assert isinstance(site.protection, PlannedProtection)


def test_a_recipe_does_not_show_its_private_key(study: Study, make_sites: MakeSites) -> None:
    site = make_sites(study)[0]

    shown = repr(site)
    assert repr(site.identity) not in shown
    assert site.identity.hex() not in shown
