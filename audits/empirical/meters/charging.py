"""The meter of charges: every release stands in its site's ledger once, at what the study plans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from fedward.audits.empirical.meters.levels import decided
from fedward.audits.empirical.rehearsed_sites import RehearsedSites, Release
from fedward.audits.empirical.result import MeterResult
from fedward.audits.findings import Finding
from fedward.client.vault.ledger import LedgerEntry
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.plan import plan_for
from fedward.common.study.definition import LocalTraining
from fedward.common.study.dimensions import Dimensions

_MOST_FINDINGS = 20


def charge_meter(rehearsals: Sequence[RehearsedSites]) -> MeterResult:
    """Hold the ledgers of all rehearsals against what was released."""
    findings = [finding for asked in rehearsals for finding in _findings(asked)]
    releases = sum(len(asked.releases) for asked in rehearsals)
    entries = sum(len(asked.ledgers.entries(site)) for asked in rehearsals for site in asked.roster)
    return decided(
        "charges",
        f"Each of {releases} releases, the scaler's and every round's, is charged once in the "
        "ledger of its site, with the noise, rate and number of steps that the study plans; in "
        "masked rounds it is a hospital's ledger in a file.",
        findings=tuple(findings[:_MOST_FINDINGS]),
        observed=float(entries),
        expected=float(releases),
        unit="charged releases",
    )


def _findings(asked: RehearsedSites) -> Iterator[Finding]:
    for site in asked.roster:
        releases = {(one.round, one.attempt): one for one in asked.releases if one.site == site}
        charged: dict[tuple[int, int], LedgerEntry] = {}
        for entry in asked.ledgers.entries(site):
            place = entry.round, entry.attempt
            where = _place(site, *place)
            if place in charged:
                yield _error(where, "This release is charged twice.")
            charged[place] = entry
            if place not in releases:
                yield _error(where, "The ledger charges what was never released.")
        for place, release in releases.items():
            where = _place(site, *place)
            if (found := charged.get(place)) is None:
                yield _error(where, f"This {release.kind} sum was released and not charged.")
            else:
                yield from _differences(where, asked, release, found)


def _differences(
    where: str, asked: RehearsedSites, release: Release, entry: LedgerEntry
) -> Iterator[Finding]:
    expected = (asked.study.digest, release.kind, release.query_digest, release.digest)
    found = (entry.study_digest, entry.kind, entry.query_digest, entry.release_digest)
    if found != expected:
        yield _error(where, "The ledger charges another study, kind, query or release.")
    planned = planned_events(asked, release)
    for name, event in zip(("event", "event_alone"), planned, strict=True):
        charged = getattr(entry, name)
        if charged != event:
            yield _error(where, f"{name} is {_text(charged)}; the study plans {_text(event)}.")
    executed = release.executed
    declared = None if executed is None else (executed.noise_multiplier, executed.sampling_rate)
    if declared != (planned[0].noise_multiplier, planned[0].sampling_rate):
        yield _error(where, "The release declares other noise than the study plans.")


def planned_events(asked: RehearsedSites, release: Release) -> tuple[GaussianEvent, GaussianEvent]:
    """What the study's plan charges for a release: at the sum's noise, and at the share's."""
    study = asked.study
    plan = plan_for(study, sites=len(asked.roster), coordinates=Dimensions.of(study).longest)
    planned = plan.of(release.kind)
    if planned is None:
        raise ValueError(f"the study plans no {release.kind} sum")
    local = release.kind == "training" and isinstance(study.training, LocalTraining)
    steps = study.training.steps_per_round if local else 1  # type: ignore[union-attr]
    return planned.event(steps), planned.event_alone(steps)


def _error(where: str, sentence: str) -> Finding:
    return Finding(severity="error", where=where, sentence=sentence)


def _place(site: str, number: int, attempt: int) -> str:
    return f"{site}, round {number}, attempt {attempt}"


def _text(event: GaussianEvent | None) -> str:
    if event is None:
        return "nothing"
    fields = asdict(event).items()
    return ", ".join(f"{name.replace('_', ' ')} {value:.6g}" for name, value in fields)
