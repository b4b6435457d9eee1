"""The gate: every reason to refuse a query, decided before any record is read."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from fedward.client.vault.ledger import Ledger, LedgerEntry
from fedward.client.vault.protection import Protection, SumKind, SumRules
from fedward.common.errors import FedwardError, PrivacyRefusal
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.events import GaussianEvent
from fedward.common.protocol.queries import AnySumQuery, LocalUpdateQuery, MomentsQuery
from fedward.common.protocol.releases import RefusalReason
from fedward.common.study.definition import DistributedTraining, LocalTraining, Study


class Refused(FedwardError):
    """A query that the gate does not let through, with its typed reason."""

    def __init__(self, reason: RefusalReason, message: str) -> None:
        self.reason = reason
        super().__init__(message)


@dataclass(frozen=True, kw_only=True)
class SitePolicy:
    """What this hospital allows beyond the study's own terms.

    ``known_sites`` are the names that a roster may hold: a site's share of the noise shrinks with
    the roster, so a coordinator that could invent sites would thin it out. ``minimum_sites`` may
    ask for a larger roster than the study does. ``epsilon_cap`` and ``epsilon_alone_cap`` bound
    what all entries of one study at the study's delta may add up to, below what its plan spends.
    """

    known_sites: frozenset[str]
    minimum_sites: int = 1
    epsilon_cap: float | None = None
    epsilon_alone_cap: float | None = None


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """A query that was let through and charged: its study and the rules of its sum."""

    study: Study
    rules: SumRules
    entry: LedgerEntry


class Gate:
    """Admits a query and reserves its cost, in one code path for checking and for charging."""

    def __init__(
        self,
        *,
        site: str,
        studies: Mapping[str, Study],
        policy: SitePolicy,
        ledger: Ledger,
        protection: Protection,
    ) -> None:
        self._site = site
        self._studies = dict(studies)
        self._policy = policy
        self._ledger = ledger
        self._protection = protection
        self._rules: dict[tuple[str, SumKind, int], SumRules] = {}
        self._admitting = threading.Lock()

    def approved(self, study_digest: str) -> Study:
        """Return the approved study of this digest, or refuse."""
        study = self._studies.get(study_digest)
        if study is None:
            raise Refused(
                RefusalReason.STUDY_NOT_APPROVED,
                f"{self._site} has not approved the study {study_digest[:12]}",
            )
        return study

    def admit(self, query: AnySumQuery, *, query_digest: str) -> Admitted:
        """Check everything, then reserve the entry.

        Raises:
            Refused: with the typed reason; nothing was reserved and no record was read.
        """
        study = self.approved(query.study_digest)
        self._check_roster(query, study)
        kind = _sum_kind(query, study)
        rules = self._rules_of(study, query.study_digest, kind, sites=len(query.roster))
        entry = _entry_for(query, study, kind, rules, query_digest)
        # Two queries at once must not both be admitted on what is left for one.
        with self._admitting:
            if self._ledger.answered(entry.place):
                raise Refused(
                    RefusalReason.ALREADY_ANSWERED,
                    f"{self._site} answered round {query.round}, attempt {query.attempt} before",
                )
            self._check_budget(study, entry, sites=len(query.roster))
            self._ledger.reserve(entry)
        return Admitted(study=study, rules=rules, entry=entry)

    def _check_roster(self, query: AnySumQuery, study: Study) -> None:
        if self._site not in query.roster:
            raise Refused(RefusalReason.NOT_IN_ROSTER, f"{self._site} is not in the roster")
        unknown = sorted(set(query.roster) - self._policy.known_sites)
        if unknown:
            raise Refused(
                RefusalReason.UNKNOWN_SITE, f"{self._site} does not know the site {unknown[0]}"
            )
        minimum = max(self._policy.minimum_sites, self._protection.minimum_roster(study))
        if len(query.roster) < minimum:
            raise Refused(
                RefusalReason.ROSTER_TOO_SMALL,
                f"the roster has {len(query.roster)} sites; {self._site} asks for {minimum}",
            )

    def _rules_of(self, study: Study, digest: str, kind: SumKind, *, sites: int) -> SumRules:
        key = (digest, kind, sites)
        if key not in self._rules:
            try:
                self._rules[key] = self._protection.rules(study, kind, sites=sites)
            except PrivacyRefusal as refusal:
                raise Refused(RefusalReason.PRIVACY, str(refusal)) from refusal
        return self._rules[key]

    def _check_budget(self, study: Study, entry: LedgerEntry, *, sites: int) -> None:
        """Refuse what the study's plan does not hold, or what a cap of the site forbids.

        Only planned sums are admitted, so that nobody can choose on the way what is released next:
        the accountants compose what was fixed in advance.
        """
        if entry.event is None or entry.event_alone is None:
            return
        entries = [e for e in self._ledger.entries() if e.study_digest == entry.study_digest]
        self._check_plan(study, [*entries, entry], sites=sites)
        delta = study.privacy.delta
        for name, cap, events in (
            ("epsilon", self._policy.epsilon_cap, [e.event for e in [*entries, entry]]),
            (
                "epsilon_alone",
                self._policy.epsilon_alone_cap,
                [e.event_alone for e in [*entries, entry]],
            ),
        ):
            if cap is not None:
                self._refuse_above([e for e in events if e], cap=cap, delta=delta, name=name)

    def _check_plan(self, study: Study, entries: list[LedgerEntry], *, sites: int) -> None:
        counts: Counter[SumKind] = Counter()
        for entry in entries:
            executed = self._rules_of(study, entry.study_digest, entry.kind, sites=sites).executed
            if (
                entry.event is None
                or executed is None
                or entry.event.noise_multiplier != executed.noise_multiplier
                or entry.event.sampling_rate != executed.sampling_rate
            ):
                raise Refused(
                    RefusalReason.BUDGET_EXCEEDED,
                    f"{self._site} holds releases of this study that its plan does not know",
                )
            counts[entry.kind] += entry.event.count
        for kind, count in counts.items():
            planned = self._protection.planned(study, kind, sites=sites) or 0
            if count > planned:
                raise Refused(
                    RefusalReason.BUDGET_EXCEEDED,
                    f"{self._site} has released all {planned} {kind} sums that the study's "
                    "budget pays for",
                )

    def _refuse_above(
        self, events: list[GaussianEvent], *, cap: float, delta: float, name: str
    ) -> None:
        spent = epsilon_of(events, delta=delta)
        if not spent <= cap:
            raise Refused(
                RefusalReason.BUDGET_EXCEEDED,
                f"{self._site} would spend {name} {spent:.4g}; its cap for this study is {cap:.4g}",
            )


def _sum_kind(query: AnySumQuery, study: Study) -> SumKind:
    if isinstance(query, MomentsQuery):
        if study.scaling.method != "private_moments":
            raise Refused(RefusalReason.NOT_IN_STUDY, "the study plans no private moments")
        return "moments"
    wanted = LocalTraining if isinstance(query, LocalUpdateQuery) else DistributedTraining
    if not isinstance(study.training, wanted):
        raise Refused(
            RefusalReason.NOT_IN_STUDY, f"the study plans {study.training.method} training"
        )
    return "training"


def _entry_for(
    query: AnySumQuery, study: Study, kind: SumKind, rules: SumRules, query_digest: str
) -> LedgerEntry:
    executed = rules.executed
    count = 1
    if isinstance(query, LocalUpdateQuery) and isinstance(study.training, LocalTraining):
        count = study.training.steps_per_round
    event = event_alone = None
    if executed is not None:
        event, event_alone = (
            GaussianEvent(
                noise_multiplier=multiplier, sampling_rate=executed.sampling_rate, count=count
            )
            for multiplier in (executed.noise_multiplier, executed.share_multiplier)
        )
    return LedgerEntry(
        run_id=query.run_id,
        study_digest=query.study_digest,
        query_digest=query_digest,
        kind=kind,
        round=query.round,
        attempt=query.attempt,
        event=event,
        event_alone=event_alone,
    )
