"""The gate: every reason to refuse a query, decided before any record is read."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from fedward.client.vault.charges import Charged
from fedward.client.vault.cohort_budget import DEFAULT_COHORT
from fedward.client.vault.ledger import AlreadyReservedError, Ledger, LedgerEntry
from fedward.client.vault.ledger_heads import LedgerHeads, refused_without_ledger
from fedward.client.vault.planned_entry import planned_entry
from fedward.client.vault.policy import Refused, SitePolicy
from fedward.client.vault.protection import Protection, SumRules
from fedward.client.vault.session_desk import JoinedSession, SessionDesk
from fedward.client.vault.spending import look_ahead, refuse_overspending
from fedward.client.vault.sum_kinds import planned_kind
from fedward.common.errors import FedwardError, InputError, PrivacyRefusal
from fedward.common.ledger.heads import LedgerHead
from fedward.common.privacy.plan import PrivacyPlan
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.protocol.queries import (
    AnySumQuery,
    CloseSessionQuery,
    EvaluationQuery,
    OpenSessionQuery,
    SiteEvaluationQuery,
)
from fedward.common.protocol.releases import RefusalReason
from fedward.common.secure_sum.offers import SessionOffer
from fedward.common.study.definition import Study
from fedward.common.study.evaluation_groups import evaluation_groups


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """A query that was let through and charged: its study, session, and the rules of its sum.

    ``head`` is the ledger's as it ended with the reservation, None if it has no chain.
    """

    study: Study
    session: JoinedSession
    rules: SumRules
    entry: LedgerEntry
    head: LedgerHead | None


class Gate:
    """Admits a query and reserves its cost, in one code path for checking and for charging.

    ``cohort_name`` is that of the patients who are asked, as the policy's cohorts name it;
    ``identity_key`` is the site's own Ed25519 key, 32 bytes.
    """

    def __init__(
        self,
        *,
        site: str,
        identity_key: bytes,
        studies: Mapping[str, Study],
        policy: SitePolicy,
        ledger: Ledger,
        protection: Protection,
        sessions: SessionDesk,
        cohort_name: str = DEFAULT_COHORT,
    ) -> None:
        self._site = site
        self._studies = dict(studies)
        self._policy = policy
        self._ledger = ledger
        self._protection = protection
        self._sessions = sessions
        self._heads = LedgerHeads(site=site, identity_key=identity_key, ledger=ledger)
        self._cohort_name = cohort_name
        self._terms: dict[tuple[str, SumKind, int], tuple[SumRules, PrivacyPlan | None]] = {}

    def approved(self, study_digest: str) -> Study:
        """Return the approved study of this digest, or refuse."""
        study = self._studies.get(study_digest)
        if study is None:
            raise Refused(
                RefusalReason.STUDY_NOT_APPROVED,
                f"{self._site} has not approved the study {study_digest[:12]}",
            )
        return study

    def open_session(self, query: OpenSessionQuery) -> tuple[SessionOffer, LedgerHead | None]:
        """Make a key for a session of an approved study, and tell the ledger's head.

        Nothing is charged. What the site's caps leave of the study is found out here, which may
        take seconds that no round has; whether a cap forbids anything is not said before a sum is
        asked for. :class:`Refused` if the ledger was rolled back, or cannot be used; then no key is
        made.
        """
        self._heads.refuse_rolled_back()
        study = self.approved(query.study_digest)
        minimum = self._minimum_sites(study)
        roster = self._sessions.checked(query.signed_roster, minimum_sites=minimum)
        self._heads.see(query.heads, roster=roster)
        offer = self._sessions.open(query, minimum_sites=minimum)
        self._look_ahead(study, query)
        return offer, self._heads.head()

    def close_session(self, query: CloseSessionQuery) -> LedgerHead | None:
        """Strike the study's balance, and tell the ledger's head; nothing is charged.

        The session stays as it is. :class:`Refused` if this site has not opened it, or as
        :meth:`open_session` does.
        """
        self._heads.refuse_rolled_back()
        self.approved(query.study_digest)
        self._heads.see(query.heads, roster=self._sessions.roster_of(query))
        with refused_without_ledger(self._site):
            self._ledger.strike_balance(query.study_digest)
        return self._heads.head()

    def admit(self, query: AnySumQuery, *, query_digest: str) -> Admitted:
        """Check everything, then reserve the entry.

        Raises:
            Refused: with the typed reason; nothing was reserved and no record was read.
        """
        self._heads.refuse_rolled_back()
        study = self.approved(query.study_digest)
        kind = planned_kind(query, study)
        self._check_policy(query, study)
        with refused_without_ledger(self._site):
            declared = self._ledger.budgets()
        cohorts = self._policy.charged_cohorts(self._cohort_name, declared=declared)
        # The first query of a session joins it for good, so what needs no session comes before.
        session = self._sessions.joined(query)
        self._check_session(query, study, session)
        rules, plan = self._terms_of(study, query.study_digest, kind, sites=len(query.roster))
        entry = planned_entry(query, study, kind, rules, query_digest=query_digest, cohorts=cohorts)

        def check(charged: Charged) -> None:
            if plan is not None:
                refuse_overspending(
                    entry, charged=charged, plan=plan, policy=self._policy, site=self._site
                )

        try:
            with refused_without_ledger(self._site):
                head = self._ledger.reserve(entry, check=check)
        except AlreadyReservedError as error:
            raise Refused(
                RefusalReason.ALREADY_ANSWERED,
                f"{self._site} answered round {query.round}, attempt {query.attempt} before",
            ) from error
        return Admitted(study=study, session=session, rules=rules, entry=entry, head=head)

    def _look_ahead(self, study: Study, query: OpenSessionQuery) -> None:
        """What goes wrong here is said before a sum, where it goes wrong again."""
        digest, sites = query.study_digest, len(query.signed_roster.roster.names)
        try:
            plan = self._protection.plan(study, sites=sites, colluding=self._policy.colluding)
            if plan is not None:
                look_ahead(
                    study,
                    study_digest=digest,
                    cohort_name=self._cohort_name,
                    charged=self._ledger.charged(),
                    plan=plan,
                    policy=self._policy,
                    site=self._site,
                )
        except FedwardError:
            pass
        except Exception:
            logging.getLogger(__name__).exception("%s could not look at its caps", self._site)

    def _minimum_sites(self, study: Study) -> int:
        """One honest site's noise must be left, whatever else allows for less."""
        return max(
            self._policy.minimum_sites,
            self._policy.colluding + 1,
            self._protection.minimum_roster(study),
        )

    def _check_policy(self, query: AnySumQuery, study: Study) -> None:
        """Refuse what no session could make good."""
        if isinstance(query, SiteEvaluationQuery) and not self._policy.allow_site_evaluation:
            raise Refused(
                RefusalReason.NOT_ALLOWED, f"{self._site} allows no evaluation of its own patients"
            )
        if self._site not in query.roster:
            raise Refused(RefusalReason.NOT_IN_ROSTER, f"{self._site} is not in the roster")
        minimum = self._minimum_sites(study)
        if len(query.roster) < minimum:
            raise Refused(
                RefusalReason.ROSTER_TOO_SMALL,
                f"the roster has {len(query.roster)} sites; {self._site} asks for {minimum}",
            )

    def _check_session(self, query: AnySumQuery, study: Study, session: JoinedSession) -> None:
        strangers = sorted(set(query.roster).difference(session.participants))
        if strangers:
            raise Refused(
                RefusalReason.UNKNOWN_SITE,
                f"{strangers[0]} did not open session {query.session} with {self._site}",
            )
        if not isinstance(query, EvaluationQuery):
            return
        names = session.roster.names
        try:
            groups = evaluation_groups(study, names)
        except InputError as error:
            raise Refused(RefusalReason.NOT_IN_STUDY, str(error)) from error
        if query.group not in groups:
            raise Refused(
                RefusalReason.NOT_IN_STUDY, f"the study evaluates no group {query.group!r}"
            )
        outsiders = sorted(set(query.roster).difference(groups[query.group]))
        if outsiders:
            raise Refused(
                RefusalReason.NOT_IN_STUDY,
                f"{outsiders[0]} is not in the evaluation's group {query.group!r}",
            )

    def _terms_of(
        self, study: Study, digest: str, kind: SumKind, *, sites: int
    ) -> tuple[SumRules, PrivacyPlan | None]:
        key = (digest, kind, sites)
        if key not in self._terms:
            colluding = self._policy.colluding
            try:
                self._terms[key] = (
                    self._protection.rules(study, kind, sites=sites, colluding=colluding),
                    self._protection.plan(study, sites=sites, colluding=colluding),
                )
            except PrivacyRefusal as refusal:
                raise Refused(RefusalReason.PRIVACY, str(refusal)) from refusal
        return self._terms[key]
