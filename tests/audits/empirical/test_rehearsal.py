"""A rehearsal spends the whole budget, and its scores are what the planned noise makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from fedward.audits.empirical.rehearsal import Rehearsal, rehearse, training_places
from fedward.client.cohort import Cohort
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.study.definition import Study

Audited = Callable[[str], Study]


def spent(rehearsal: Rehearsal, site: str, *, alone: bool) -> float:
    """Epsilon of what a site's ledger holds, recomputed from its events."""
    entries = rehearsal.sites.ledgers[site].entries()
    events = [entry.event_alone if alone else entry.event for entry in entries]
    found = [event for event in events if event is not None]
    return epsilon_of(found, delta=rehearsal.plan.accounting_delta)


@pytest.mark.parametrize("name", ["full", "full_mlp"])
def test_scores_of_full_batches_are_those_of_the_gaussian_test(audited: Audited, name: str) -> None:
    rehearsal = rehearse(audited(name), sites=4, canaries=2000)
    plan = rehearsal.plan
    releases = len({(one.round, one.attempt) for one in rehearsal.sites.releases})
    multipliers = {
        "epsilon": plan.training.noise_multiplier,
        "epsilon_alone": plan.training.share_multiplier,
    }

    assert [view.name for view in rehearsal.views] == ["epsilon", "epsilon_alone"]
    for view in rehearsal.views:
        # Likelihood ratios of Normal(0, 1) and Normal(mu, 1) are Normal(-+ mu^2 / 2, mu).
        mu = np.sqrt(releases) / multipliers[view.name]
        inside = (view.scores[view.included] - mu**2 / 2) / mu
        outside = (view.scores[~view.included] + mu**2 / 2) / mu
        for scores in (inside, outside):
            assert stats.kstest(scores, "norm").pvalue > 1e-6
        assert view.delta == rehearsal.study.privacy.delta
        assert abs(view.included.mean() - 0.5) < 0.06


@pytest.mark.parametrize("name", ["full", "poisson", "poisson_mlp", "local"])
def test_the_whole_budget_is_spent_and_no_more(audited: Audited, name: str) -> None:
    rehearsal = rehearse(audited(name), sites=4, canaries=20)

    claims = {view.name: view.claimed for view in rehearsal.views}
    for site in rehearsal.honest:
        together = spent(rehearsal, site, alone=False)
        assert together <= claims["epsilon"] <= rehearsal.study.privacy.epsilon
        assert spent(rehearsal, site, alone=True) <= claims["epsilon_alone"]
        # What is left is less than one more sum; of sampled studies, the counts of outcomes.
        assert together > 0.85 * claims["epsilon"]


@pytest.mark.parametrize("name", ["poisson", "poisson_mlp", "local", "local_mlp"])
def test_scores_of_sampled_studies_tell_in_from_out(audited: Audited, name: str) -> None:
    rehearsal = rehearse(audited(name), sites=3, canaries=1000)

    for view in rehearsal.views:
        inside, outside = view.scores[view.included], view.scores[~view.included]
        assert stats.mannwhitneyu(inside, outside, alternative="greater").pvalue < 1e-6


def test_canaries_are_at_honest_sites_alone(audited: Audited) -> None:
    rehearsal = rehearse(audited("full"), sites=4, canaries=90)

    assert len(rehearsal.honest) == 4 - rehearsal.plan.colluding
    assert Counter(rehearsal.canaries.site.tolist()) == {0: 30, 1: 30, 2: 30}
    assert rehearsal.canaries.sites == rehearsal.honest
    colluding = set(rehearsal.sites.roster) - set(rehearsal.honest)
    assert all(not len(rehearsal.canaries.at(site)) for site in colluding)


def test_where_each_site_adds_all_noise_both_claims_are_about_one_site(audited: Audited) -> None:
    together, alone = rehearse(audited("local"), sites=3, canaries=30).views

    np.testing.assert_array_equal(together.scores, alone.scores)
    assert together.claimed == pytest.approx(alone.claimed, abs=1e-3)


def test_a_seed_repeats_a_rehearsal_and_none_does_not(audited: Audited) -> None:
    first, again, other, fresh = (
        rehearse(audited("poisson"), sites=3, canaries=40, seed=seed).views[0]
        for seed in (1, 1, 2, None)
    )

    np.testing.assert_array_equal(first.scores, again.scores)
    np.testing.assert_array_equal(first.included, again.included)
    assert not np.array_equal(first.scores, other.scores)
    assert not np.array_equal(first.scores, fresh.scores)


def test_given_patients_take_part(audited: Audited, make_cohort: Callable[..., Cohort]) -> None:
    cohorts = {name: make_cohort(9, seed=number) for number, name in enumerate("abc")}
    rehearsal = rehearse(audited("full"), cohorts=cohorts, canaries=20)

    assert rehearsal.sites.roster == ("a", "b", "c")
    assert rehearsal.honest == ("a", "b")


def test_a_study_with_little_room_gets_as_much_as_the_canaries_need(
    make_study: Callable[..., Study],
) -> None:
    study = make_study(cohort={"max_patients_per_site": 10})

    assert len(rehearse(study, sites=2, canaries=50).views[0].scores) == 50


def test_spare_attempts_are_asked_for(make_study: Callable[..., Study]) -> None:
    study = make_study(privacy={"spare_attempts": 2}, scaling={"method": "public_range"})
    rehearsal = rehearse(study, sites=2, canaries=4)

    attempts = Counter(one.attempt for one in rehearsal.sites.releases if one.site == "site-1")
    assert attempts == {1: 4, 2: 2}


def test_places_are_every_round_before_a_second_attempt(audited: Audited) -> None:
    places = training_places(audited("full"), releases=6)

    assert places == [(1, 1), (2, 1), (3, 1), (4, 1), (1, 2), (2, 2)]


def test_progress_ends_at_its_whole(audited: Audited) -> None:
    seen: list[tuple[int, int]] = []
    rehearse(audited("poisson"), sites=2, canaries=4, on_progress=lambda *done: seen.append(done))

    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert {of for _, of in seen} == {len(seen)}
