"""Ledgers entry by entry, so that a test can plant a fault and sign it; and the books of a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from fedward.audits.books.evidence import evidence_of
from fedward.audits.books.ledger_audit import audit_books
from fedward.audits.books.result import LedgerAudit
from fedward.audits.findings import CheckResult, Finding
from fedward.common.ledger.chain import SignedEntry, entry_digest, signed
from fedward.common.ledger.entries import (
    NOTHING_BEFORE,
    ChargedEvent,
    CohortDeclared,
    Entry,
    HeadCountersigned,
    LedgerOpened,
    ReleaseCommitted,
    ReleaseReserved,
)
from fedward.common.ledger.export import export_lines
from fedward.common.ledger.heads import KnownHead, LedgerHead
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.secure_sum.roster import Roster, sign_roster
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study
from fedward.simulations.credentials import Credentials

LEDGER_ID = "a" * 32
STUDY = "5" * 64
NORTH, SOUTH, COORDINATOR, FEDERATION, STRANGER = (
    SiteIdentity.from_private_bytes(bytes([number]) * 32) for number in range(1, 6)
)
SIGNED_ROSTER = sign_roster(
    Roster.of(
        {"north": NORTH.public_key, "south": SOUTH.public_key},
        federation="tests",
        coordinator_key=COORDINATOR.public_key,
    ),
    FEDERATION,
)


class Ledger:
    """A ledger of ``north`` in the making: drafts are dicts until they are chained and signed."""

    signed_roster = SIGNED_ROSTER
    coordinator = COORDINATOR
    stranger = STRANGER

    def __init__(self) -> None:
        self.drafts: list[tuple[type[BaseModel], dict[str, Any]]] = []

    def add(self, kind: type[BaseModel], **fields: Any) -> int:
        """Append an entry and give its number."""
        self.drafts.append((kind, fields))
        return len(self.drafts) - 1

    def open(self) -> int:
        return self.add(
            LedgerOpened,
            site="north",
            identity_key=NORTH.public_key.hex(),
            ledger_id=LEDGER_ID,
            software="fedward 1",
        )

    def declare(self, cohort: str = "patients", **changes: Any) -> int:
        fields: dict[str, Any] = {
            "cohort": cohort,
            "delta": 1e-5,
            "epsilon_cap": 3.0,
            "epsilon_alone_cap": None,
            "shares_patients_with": (),
        }
        return self.add(CohortDeclared, **(fields | changes))

    def reserve(self, number: int, *, noise: float = 8.0, **changes: Any) -> int:
        share = ChargedEvent(noise_multiplier=noise / 2, sampling_rate=1.0, count=1)
        event = ChargedEvent(noise_multiplier=noise, sampling_rate=1.0, count=1)
        fields: dict[str, Any] = {
            "run_id": "run",
            "study_digest": STUDY,
            "study_name": "small",
            "query_digest": f"{number:064x}",
            "sum": "training",
            "round": number,
            "attempt": 1,
            "sites": 2,
            "delta": 1e-5,
            "holdout": 0.2,
            "cohorts": ("patients",),
            "event": event,
            "event_alone": share,
            "epsilon": epsilon_of([event.event()], delta=1e-5),
            "epsilon_alone": epsilon_of([share.event()], delta=1e-5),
        }
        return self.add(ReleaseReserved, **(fields | changes))

    def commit(self, of: int, **changes: Any) -> int:
        fields = {"of": of, "release_digest": f"{of:064x}"}
        return self.add(ReleaseCommitted, **(fields | changes))

    def release(self, number: int, **changes: Any) -> int:
        reserved = self.reserve(number, **changes)
        self.commit(reserved)
        return reserved

    def countersign(self, sequence: int, **changes: Any) -> int:
        """Note that the coordinator saw everything up to an entry."""
        before = self.entries()[sequence].entry
        known = known_head(self.head(sequence))
        fields = {
            "run_id": known.run_id,
            "head_sequence": sequence,
            "head_digest": entry_digest(before),
            "coordinator_key": known.coordinator_key,
            "signature": known.countersignature,
        }
        return self.add(HeadCountersigned, **(fields | changes))

    def entries(self) -> list[SignedEntry]:
        """Chained and signed by the site."""
        chained: list[SignedEntry] = []
        previous = NOTHING_BEFORE
        for sequence, (kind, fields) in enumerate(self.drafts):
            place = {"sequence": sequence, "previous": previous, "time": at(sequence)}
            entry: Entry = kind(**(place | fields))  # type: ignore[assignment]
            chained.append(signed(entry, NORTH))
            previous = entry_digest(entry)
        return chained

    def head(self, sequence: int | None = None) -> LedgerHead:
        return head_after(self.entries()[-1 if sequence is None else sequence])

    def lines(self, entries: Sequence[SignedEntry] | None = None) -> list[str]:
        """The lines of its export, or of one that holds these entries instead."""
        signed_entries = self.entries() if entries is None else entries
        return list(export_lines(signed_entries, head_after(signed_entries[-1])))


def at(sequence: int) -> str:
    return f"2026-01-01T{sequence // 60:02d}:{sequence % 60:02d}:00Z"


def head_after(last: SignedEntry) -> LedgerHead:
    return LedgerHead.sign(
        NORTH,
        site="north",
        ledger_id=LEDGER_ID,
        sequence=last.entry.sequence,
        digest=last.digest,
    )


def known_head(head: LedgerHead, *, by: SiteIdentity = COORDINATOR) -> KnownHead:
    return KnownHead.seen(head, run_id="run", coordinator=by)


def a_ledger(releases: int = 3) -> Ledger:
    """Opened, one cohort, some releases, seen by the coordinator."""
    ledger = Ledger()
    ledger.open()
    ledger.declare()
    for number in range(releases):
        ledger.release(number)
    ledger.countersign(len(ledger.drafts) - 1)
    return ledger


class Outcome:
    """An audit, by what a test wants to know of it."""

    def __init__(self, audit: LedgerAudit) -> None:
        self.audit = audit

    @property
    def failed(self) -> set[str]:
        """Names of the checks that failed."""
        return {check.name for check in self.audit.checks if check.passed is False}

    def check(self, name: str) -> CheckResult:
        return next(check for check in self.audit.checks if check.name == name)

    def errors(self, name: str) -> list[Finding]:
        return [one for one in self.check(name).findings if one.severity == "error"]

    def warnings(self, name: str) -> list[Finding]:
        return [one for one in self.check(name).findings if one.severity == "warning"]


MakeLedger = Callable[..., Ledger]
Audited = Callable[..., Outcome]


@pytest.fixture(scope="session")
def make_ledger() -> MakeLedger:
    """A ledger that is opened, has one cohort and some releases, and was seen by the coordinator.

    With ``releases`` None it is empty.
    """

    def make(releases: int | None = 3) -> Ledger:
        ledger = Ledger()
        if releases is None:
            return ledger
        ledger.open()
        ledger.declare()
        for number in range(releases):
            ledger.release(number)
        ledger.countersign(len(ledger.drafts) - 1)
        return ledger

    return make


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Iterable[str]], Path]:
    """Write lines as an export."""

    def write(lines: Iterable[str]) -> Path:
        path = tmp_path / "north.jsonl"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def roster_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("roster") / "roster.json"
    path.write_text(SIGNED_ROSTER.model_dump_json(), encoding="utf-8")
    return path


@pytest.fixture
def audited(written: Callable[[Iterable[str]], Path], roster_file: Path) -> Audited:
    """Audit a ledger, the lines of its export, or a file, against the roster."""

    def audit(ledger: Ledger | Sequence[str] | Path, **options: Any) -> Outcome:
        if isinstance(ledger, Path):
            path = ledger
        else:
            path = written(ledger.lines() if isinstance(ledger, Ledger) else ledger)
        given: dict[str, Any] = {
            "roster": roster_file,
            "federation_key": FEDERATION.public_key.hex(),
        }
        return Outcome(audit_books(evidence_of([path], **(given | options))).audit)

    return audit


@pytest.fixture(scope="session")
def run_books(
    make_study: Callable[..., Study],
    make_sites: Callable[..., Any],
    make_options: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The folder of a real training over three sites, with its books; do not change it."""
    from fedward.simulations.books import Books
    from fedward.simulations.engines.in_process_engine import InProcessEngine

    study = make_study(statistics={"budget_share": 0.1}, privacy={"spare_attempts": 1})
    sites = make_sites(study)
    options = make_options(study=study)
    folder = tmp_path_factory.mktemp("run")
    keys = Credentials(
        signed_roster=options.signed_roster,
        federation_key=options.federation_key,
        coordinator=options.coordinator.private_bytes(),
        identities={site.name: site.identity for site in sites},
    )
    Books(folder / "books", credentials=keys).train(
        study, sites, engine=InProcessEngine(), options=options
    )
    return folder


@pytest.fixture
def copied_books(run_books: Path, tmp_path: Path) -> Path:
    """A copy of the run's folder to plant faults in."""
    return Path(shutil.copytree(run_books, tmp_path / "run"))


@pytest.fixture(scope="session")
def audited_with() -> Callable[..., Outcome]:
    """Audit paths with the options of the command."""

    def audit(paths: Sequence[Path], **options: Any) -> Outcome:
        return Outcome(audit_books(evidence_of(paths, **options)).audit)

    return audit


@pytest.fixture(scope="session")
def outcome_of() -> Callable[[Path], Outcome]:
    """Audit the folder of a run."""

    def audit(folder: Path) -> Outcome:
        return Outcome(audit_books(evidence_of([folder])).audit)

    return audit
