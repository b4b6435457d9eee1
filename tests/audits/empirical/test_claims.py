"""Bounds beside claims, over real vaults: quiet over sound ones, above the claim over bad ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedward.audits.empirical.claimed_releases import ClaimedReleases
from fedward.audits.empirical.claims import audited_claim, audited_claims, beyond_refuting
from fedward.audits.empirical.rehearsal import rehearse
from fedward.audits.empirical.result import AuditedClaim
from fedward.client.vault import protection
from fedward.common.privacy.events import GaussianEvent
from fedward.common.study.definition import Study

Audited = Callable[[str], Study]


def _claims(study: Study, *, canaries: int = 800, seed: int = 1) -> dict[str, AuditedClaim]:
    rehearsal = rehearse(study, canaries=canaries, seed=seed)
    return {claim.name: claim for claim in audited_claims(rehearsal)}


@pytest.mark.parametrize("kind", ["full", "poisson", "local", "full_mlp"])
def test_sound_vaults_stay_below_both_claims(audited: Audited, kind: str) -> None:
    claims = _claims(audited(kind))
    assert set(claims) == {"epsilon", "epsilon_alone"}
    for claim in claims.values():
        assert claim.holds
        assert {bound.method for bound in claim.bounds} == {
            "steinke_nasr_jagielski_2023",
            "mahloujifar_melis_chaudhuri_2024",
        }
        assert all(bound.canaries == 800 for bound in claim.bounds)
        # An attack that sees nothing would be quiet as well.
        assert claim.highest > 0.2


def test_a_site_by_itself_gives_away_more_than_the_sum(audited: Audited) -> None:
    claims = _claims(audited("full"))
    assert claims["epsilon_alone"].claimed > claims["epsilon"].claimed
    assert claims["epsilon_alone"].highest > claims["epsilon"].highest


@pytest.mark.parametrize(
    ("kind", "refuted"),
    [
        ("full", {"epsilon", "epsilon_alone"}),
        # One in eight canaries that are in is never drawn in six rounds and looks out. That alone
        # keeps bounds below 7, which is what a site by itself claims.
        ("poisson", {"epsilon"}),
    ],
)
def test_a_sixth_of_the_noise_is_above_the_claim(
    audited: Audited, kind: str, refuted: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = protection.add_noise_share

    def too_little(elements: Any, plan: Any, codec: Any, stream: Any) -> None:
        real(elements, replace(plan, share_multiplier=plan.share_multiplier / 6), codec, stream)

    monkeypatch.setattr(protection, "add_noise_share", too_little)
    claims = _claims(audited(kind)).values()
    assert refuted <= {claim.name for claim in claims if not claim.holds}


def test_the_events_are_what_was_asked_for(audited: Audited) -> None:
    study = audited("poisson")
    rehearsal = rehearse(study, canaries=100, seed=1)
    plan, asked = rehearsal.plan, rehearsal.sites
    assert plan.scaler is not None
    first = [release for release in asked.releases if release.site == asked.roster[0]]
    for name, part in (("epsilon", "event"), ("epsilon_alone", "event_alone")):
        releases = ClaimedReleases.of(rehearsal, name)  # type: ignore[arg-type]
        assert releases.steps is None
        assert releases.events == tuple(
            getattr(planned, part)(sum(release.kind == kind for release in first))
            for kind, planned in (("moments", plan.scaler), ("training", plan.training))
        )


def test_local_steps_are_counted_one_by_one(audited: Audited) -> None:
    rehearsal = rehearse(audited("local"), canaries=100, seed=1)
    releases = ClaimedReleases.of(rehearsal, "epsilon")
    assert releases.steps is not None
    training = rehearsal.plan.training
    assert training.event() in {replace(event, count=1) for event in releases.events}
    assert releases.events[-1].count == training.count
    assert len(releases.steps) > 1


def test_the_number_of_guesses_does_not_depend_on_the_outcome(audited: Audited) -> None:
    rehearsal = rehearse(audited("full"), canaries=400, seed=1)
    view = rehearsal.views[0]
    claimed = ClaimedReleases(events=(GaussianEvent(noise_multiplier=1.0),))
    plain = audited_claim(
        replace(view, scores=np.where(view.included, 1.0, 0.0) + np.arange(400) * 1e-6), claimed
    )
    hidden = audited_claim(replace(view, scores=np.arange(400.0)), claimed)
    for open_book, secret in zip(plain.bounds, hidden.bounds, strict=True):
        assert open_book.guesses == secret.guesses
        assert open_book.correct > secret.correct
        assert open_book.epsilon > secret.epsilon


def test_says_when_no_outcome_could_refute_a_claim(audited: Audited) -> None:
    few, enough = (rehearse(audited("full"), canaries=number, seed=1) for number in (8, 800))
    said = list(beyond_refuting(few))
    assert len(said) == 2
    assert said[0].startswith("8 canaries are too few to refute epsilon 3")
    assert not list(beyond_refuting(enough))
