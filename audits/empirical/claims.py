"""Every claimed epsilon beside the lower bounds that an adversary's guesses give."""

from __future__ import annotations

from collections.abc import Iterator

from fedward.audits.empirical.claimed_releases import ClaimedReleases
from fedward.audits.empirical.guess_choice import METHODS, chosen_plan, could_fail, lower_bound
from fedward.audits.empirical.rehearsal import AuditedView, Rehearsal
from fedward.audits.empirical.result import AuditedClaim, LowerBound
from fedward.common.ledger.entries import ChargedEvent

CONFIDENCE = 0.95
"""Of each lower bound by itself."""


def audited_claims(
    rehearsal: Rehearsal, *, confidence: float = CONFIDENCE
) -> Iterator[AuditedClaim]:
    """Bound each view of a rehearsal by both methods, one claim at a time.

    How many guesses are made is fixed by the study's plan and the number of canaries alone.
    """
    for view in rehearsal.views:
        yield audited_claim(view, ClaimedReleases.of(rehearsal, view.name), confidence=confidence)


def audited_claim(
    view: AuditedView, claimed: ClaimedReleases, *, confidence: float = CONFIDENCE
) -> AuditedClaim:
    """Guess by the view's scores as planned for ``claimed``, and bound epsilon at its delta."""
    bounds = []
    for method in METHODS:
        plan = chosen_plan(
            method, claimed, canaries=len(view.scores), delta=view.delta, confidence=confidence
        )
        guessed = plan.made(view.scores, view.included)
        epsilon = lower_bound(method, guessed, claimed, delta=view.delta, confidence=confidence)
        bounds.append(
            LowerBound(
                method=method,
                epsilon=epsilon,
                confidence=confidence,
                canaries=guessed.canaries,
                guesses=guessed.guesses,
                correct=guessed.correct,
                sides=2 if guessed.sides == 2 else 1,
            )
        )
    return AuditedClaim(
        name=view.name,
        claimed=view.claimed,
        delta=view.delta,
        bounds=tuple(bounds),
        events=tuple(ChargedEvent.of(event) for event in claimed.events),
    )


def beyond_refuting(rehearsal: Rehearsal, *, confidence: float = CONFIDENCE) -> Iterator[str]:
    """A sentence for each claim that no outcome could have refuted, canaries being too few."""
    for view in rehearsal.views:
        claimed, canaries = ClaimedReleases.of(rehearsal, view.name), len(view.scores)
        able = False
        for method in METHODS:
            plan = chosen_plan(
                method, claimed, canaries=canaries, delta=view.delta, confidence=confidence
            )
            able = able or could_fail(
                method, plan, claimed, canaries=canaries, delta=view.delta, confidence=confidence
            )
        if not able:
            yield (
                f"{canaries} canaries are too few to refute {view.name} {view.claimed:.4g}, "
                "however right the guesses are; its bounds show only that the attack was made."
            )
