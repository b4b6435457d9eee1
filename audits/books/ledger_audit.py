"""The whole audit of the books: ledgers by themselves, against each other's log, and recomputed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from fedward.audits.books.accountants import MANY_LINES, Accountants
from fedward.audits.books.budget_history import budget_history
from fedward.audits.books.chain_verification import ChainChecks, ReadLedger, read_ledger
from fedward.audits.books.checks import Check
from fedward.audits.books.claimed_epsilons import (
    check_balances,
    check_caps,
    check_single_epsilons,
)
from fedward.audits.books.entry_rules import (
    Reservation,
    check_clock,
    check_noise,
    reservations_of,
)
from fedward.audits.books.evidence import Evidence
from fedward.audits.books.reconciliation import reconcile
from fedward.audits.books.result import AuditedLedger, LedgerAudit
from fedward.audits.books.run_evidence import check_ledgers, check_log, log_of, roster_of, run_of
from fedward.audits.books.seen_heads import check_ends, check_known_heads, check_own_heads
from fedward.audits.books.spending import LedgerSpending
from fedward.audits.books.study_plan import check_study_plan
from fedward.audits.findings import CheckResult
from fedward.common.errors import PrivacyRefusal
from fedward.common.secure_sum.roster import Roster
from fedward.common.study.definition import Study
from fedward.server.run_log import RunLog

MOST_DIFFERENT_EVENTS = 1_000
"""Different sampled events of one ledger that are recomputed; each may take a second."""
_LIBRARIES = ("fedward", "dp-accounting", "opacus", "cryptography")


@dataclass(frozen=True, kw_only=True)
class _Checked:
    """A ledger after its own checks; ``spending`` is None if no epsilon can be computed."""

    ledger: ReadLedger
    reservations: tuple[Reservation, ...]
    spending: LedgerSpending | None


@dataclass(frozen=True, kw_only=True)
class Books:
    """The audit's result, and the ledgers that could be read, by site, for whoever shows them."""

    audit: LedgerAudit
    ledgers: dict[str, ReadLedger]
    log: RunLog | None


def audit_books(evidence: Evidence) -> Books:
    """Verify all ledgers, recompute every epsilon, and reconcile them with the log.

    Never raises for what the books say: that is what the checks are for.
    """
    lines = sum(len(given.raw.lines) for given in evidence.ledgers)
    with Accountants(apart=lines >= MANY_LINES) as accountants:
        return _Audit(evidence, accountants).run()


class _Audit:
    """The checks, in the order in which they are told."""

    def __init__(self, evidence: Evidence, accountants: Accountants) -> None:
        self._evidence = evidence
        self._accountants = accountants
        self._chain = ChainChecks.new()
        self._roster = Check("roster", "The federation signed the roster.")
        self._clock = Check("clock", "Times never go back.")
        self._reservations = Check(
            "reservations", "Every place was reserved once, and each reservation closed once."
        )
        self._noise = Check("noise", "Every release was noised, and its events fit each other.")
        self._budgets = Check(
            "budgets", "Budgets rose by signed entries alone, and all that share patients paid."
        )
        self._caps = Check("caps", "No cohort spent more than its cap, at any moment.")
        self._single = Check("release_epsilons", "Every release costs what its entry says.")
        self._balances = Check("balances", "Every balance is what the entries before it add up to.")
        self._agreed = Check(
            "accountants", "PLD, PRV and RDP agree on every epsilon, from the events alone."
        )
        self._plan = Check(
            "study_plan", "Every release of this study was made as its plan demands."
        )
        self._heads = Check(
            "seen_heads", "Every head that the coordinator counter-signed is in its ledger."
        )
        self._ends = Check("ends", "Every ledger goes up to a head that its site signed.")
        self._ledgers = Check("ledgers", "Every site of the run handed in its ledger.")
        self._log = Check("run_log", "The coordinator's log is whole and signed.")
        self._reconciled = Check(
            "reconciliation",
            "Every release received in this run has one committed entry, and every entry of it "
            "one release or a declared failure.",
        )

    def run(self) -> Books:
        evidence = self._evidence
        log = log_of(evidence, check=self._log)
        roster = roster_of(evidence, log, check=self._roster)
        study = evidence.study or (log.study if log else None)
        ledgers: dict[str, ReadLedger] = {}
        reservations: dict[str, tuple[Reservation, ...]] = {}
        checked: list[_Checked] = []
        for given in evidence.ledgers:
            if given.cut_off:
                where = f"{given.raw.source}: line {len(given.raw.lines) + 1}"
                self._chain.text.error(where, "is cut off: no line feed ends it")
            ledger = read_ledger(
                given.raw, roster=roster, checks=self._chain, head_expected=given.is_export
            )
            if ledger is None:
                continue
            of_ledger = reservations_of(ledger, check=self._reservations)
            if ledger.site in ledgers:
                other = ledgers[ledger.site].source
                self._chain.identity.error(
                    ledger.source, f"is a second ledger of {ledger.site}, besides {other}"
                )
            else:
                ledgers[ledger.site], reservations[ledger.site] = ledger, of_ledger
            checked.append(self._checked(ledger, of_ledger, study, roster))
        if log is None:
            self._reconciled.missing("no usable log of the run was given")
            self._ledgers.missing("no usable log of the run was given, so its sites are not known")
        else:
            check_log(log, evidence, roster, check=self._log)
            check_known_heads(
                log.heads,
                ledgers,
                sites={one.site for one in log.records if one.release_digest is not None},
                source=log.source,
                roster=roster,
                check=self._heads,
            )
            check_ledgers(log, ledgers, roster, check=self._ledgers)
            reconcile(log, ledgers, reservations, check=self._reconciled)
        check_ends(
            (one.ledger for one in checked),
            log.heads if log else (),
            exports={one.raw.source for one in evidence.ledgers if one.raw.head_line},
            check=self._ends,
        )
        audit = LedgerAudit(
            ledgers=self._summaries(checked),
            run=None if log is None else run_of(log, ledgers),
            checks=self._results(),
            evidence=evidence.digests,
            versions=_versions(),
        )
        return Books(audit=audit, ledgers=ledgers, log=log)

    def _checked(
        self,
        ledger: ReadLedger,
        reservations: tuple[Reservation, ...],
        study: Study | None,
        roster: Roster | None,
    ) -> _Checked:
        check_clock(ledger, check=self._clock)
        check_noise(ledger, reservations, check=self._noise)
        history = budget_history(ledger, check=self._budgets)
        check_own_heads(ledger, roster=roster, check=self._heads)
        if study is None:
            self._plan.missing("the study was not given")
        else:
            check_study_plan(ledger, reservations, study, check=self._plan)
        different = _sampled_events(reservations)
        if different > MOST_DIFFERENT_EVENTS:
            why = (
                f"holds {different} different events over samples; epsilons are recomputed of "
                f"ledgers with at most {MOST_DIFFERENT_EVENTS}"
            )
            self._agreed.error(ledger.source, why)
            for check in (self._caps, self._balances, self._single):
                check.incomplete(ledger.source, why)
            return _Checked(ledger=ledger, reservations=reservations, spending=None)
        spending = None
        try:
            check_caps(ledger, history, check=self._caps)
            check_balances(ledger, history, check=self._balances)
            spending = LedgerSpending(ledger.source, history)
        except (PrivacyRefusal, ArithmeticError) as error:
            self._agreed.error(ledger.source, f"no epsilon can be computed: {error}")
        check_single_epsilons(ledger, check=self._single)
        return _Checked(ledger=ledger, reservations=reservations, spending=spending)

    def _summaries(self, checked: list[_Checked]) -> tuple[AuditedLedger, ...]:
        answers = self._accountants.answers(
            job for one in checked if one.spending for job in one.spending.jobs()
        )
        found = []
        for one in checked:
            ledger, last = one.ledger, one.ledger.entries[-1]
            committed = sum(each.committed is not None for each in one.reservations)
            abandoned = sum(each.abandoned is not None for each in one.reservations)
            studies = cohorts = None
            if one.spending is not None:
                studies = one.spending.studies(answers, check=self._agreed)
                cohorts = one.spending.cohorts(answers, check=self._agreed)
            found.append(
                AuditedLedger(
                    source=ledger.source,
                    site=ledger.site,
                    ledger_id=ledger.opened.ledger_id,
                    identity_key=ledger.identity_key.hex(),
                    entries=len(ledger.entries),
                    digest=last.digest,
                    reserved=len(one.reservations),
                    committed=committed,
                    abandoned=abandoned,
                    open=len(one.reservations) - committed - abandoned,
                    first=ledger.opened.time,
                    last=last.entry.time,
                    studies=studies or (),
                    cohorts=cohorts or (),
                )
            )
        return tuple(found)

    def _results(self) -> tuple[CheckResult, ...]:
        checks = (
            self._roster,
            *self._chain.all,
            self._clock,
            self._reservations,
            self._noise,
            self._budgets,
            self._caps,
            self._single,
            self._balances,
            self._agreed,
            self._plan,
            self._heads,
            self._ends,
            self._log,
            self._ledgers,
            self._reconciled,
        )
        return tuple(check.result() for check in checks)


def _sampled_events(reservations: tuple[Reservation, ...]) -> int:
    return len(
        {
            event
            for one in reservations
            for event in (one.entry.event, one.entry.event_alone)
            if event is not None and event.sampling_rate < 1
        }
    )


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found
