"""Verifying a site's ledger: text, chain, signatures and caps, and every epsilon again.

    python benchmarks/run.py ledger_verification

Ledgers are exports of many studies at one site, made here entry by entry. Each is audited in a
fresh process as ``fedward audit ledger`` does it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from findings import Findings, Target, at_most, show, table
from rich.console import Console
from workers import Settings, in_fresh_process

ENTRIES = 10_000
SMALL = 1_000
REPEATS = 5
SECONDS = 5.0
STUDIES = 20
COHORT = "patients"


@dataclass(frozen=True, kw_only=True)
class LedgerTask:
    """An export of so many entries over so many studies, sampled or over all patients."""

    path: str
    entries: int
    studies: int
    sampled: bool


@dataclass(frozen=True, kw_only=True)
class Audited:
    """One audit in a fresh process: seconds by part, and what it found."""

    importing: float
    reading: float
    chain: float
    whole: float
    failed: tuple[str, ...]
    entries: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """All repeats of one kind of ledger."""

    task: LedgerTask
    audits: tuple[Audited, ...]
    megabytes: float

    @property
    def whole(self) -> float:
        """Median seconds of the whole audit."""
        return statistics.median(audit.whole for audit in self.audits)

    @property
    def chain(self) -> float:
        """Median seconds of text, chain and signatures alone."""
        return statistics.median(audit.chain for audit in self.audits)


def write_ledger(task: LedgerTask) -> None:
    """Write an export that passes every check; each study has its own noise."""
    from fedward.common.ledger.chain import SignedEntry, entry_digest, signed
    from fedward.common.ledger.entries import (
        ENTRY,
        NOTHING_BEFORE,
        ChargedEvent,
    )
    from fedward.common.ledger.export import export_lines
    from fedward.common.ledger.heads import LedgerHead
    from fedward.common.privacy.accounting import epsilon_of
    from fedward.common.secure_sum.signatures import SiteIdentity

    identity = SiteIdentity.generate()
    bodies: list[dict[str, object]] = [
        {
            "kind": "opened",
            "site": "site",
            "identity_key": identity.public_key.hex(),
            "ledger_id": "a" * 32,
            "software": "benchmark",
        },
        {
            "kind": "cohort_declared",
            "cohort": COHORT,
            "delta": 1e-5,
            "epsilon_cap": 50.0,
            "epsilon_alone_cap": 50.0,
            "shares_patients_with": (),
        },
    ]
    releases = (task.entries - len(bodies)) // 2
    for release in range(releases):
        study = release * task.studies // releases
        first = release * task.studies % releases < task.studies
        rate = 0.05 if task.sampled and not first else 1.0
        noise = (60.0 + study) * (1.0 if rate == 1.0 else 0.1)
        event, alone = (
            ChargedEvent(noise_multiplier=sigma, sampling_rate=rate, count=1)
            for sigma in (noise, noise * 0.75)
        )
        epsilon, epsilon_alone = (epsilon_of([one.event()], delta=1e-5) for one in (event, alone))
        bodies.append(
            {
                "kind": "reserved",
                "run_id": f"run-{study}",
                "study_digest": f"{study:064x}",
                "study_name": f"study-{study}",
                "query_digest": f"{release:064x}",
                "sum": "moments" if first else "training",
                "round": release,
                "attempt": 1,
                "sites": 4,
                "delta": 1e-5,
                "holdout": 0.2,
                "cohorts": (COHORT,),
                "event": event.model_dump(),
                "event_alone": alone.model_dump(),
                "epsilon": epsilon,
                "epsilon_alone": epsilon_alone,
            }
        )
        reserved = len(bodies) - 1
        bodies.append({"kind": "committed", "of": reserved, "release_digest": f"{release:064x}"})
    chained: list[SignedEntry] = []
    previous = NOTHING_BEFORE
    for sequence, body in enumerate(bodies):
        place = {"sequence": sequence, "previous": previous, "time": "2026-01-01T00:00:00Z"}
        entry = ENTRY.validate_python(body | place)
        chained.append(signed(entry, identity))
        previous = entry_digest(entry)
    head = LedgerHead.sign(
        identity, site="site", ledger_id="a" * 32, sequence=len(chained) - 1, digest=previous
    )
    text = "".join(f"{line}\n" for line in export_lines(chained, head))
    Path(task.path).write_text(text, encoding="utf-8")


def audit(path: str) -> Audited:
    """Audit one export, and its chain once more by itself."""
    begun = time.perf_counter()
    from fedward.audits.books.chain_verification import ChainChecks, read_ledger
    from fedward.audits.books.evidence import evidence_of
    from fedward.audits.books.ledger_audit import audit_books

    imported = time.perf_counter()
    evidence = evidence_of([Path(path)])
    read = time.perf_counter()
    result = audit_books(evidence).audit
    done = time.perf_counter()
    read_ledger(evidence.ledgers[0].raw, roster=None, checks=ChainChecks.new(), head_expected=True)
    return Audited(
        importing=imported - begun,
        reading=read - imported,
        chain=time.perf_counter() - done,
        whole=done - begun,
        failed=tuple(check.name for check in result.checks if check.passed is False),
        entries=sum(one.entries for one in result.ledgers),
    )


def measure(settings: Settings) -> Findings:
    """Audit each kind of ledger, one process after another."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        tasks = [
            LedgerTask(path=f"{folder}/{number}.jsonl", entries=entries, studies=studies, sampled=s)
            for number, (entries, studies, s) in enumerate(
                [
                    (SMALL, 2, False),
                    (ENTRIES, 2, False),
                    (ENTRIES, STUDIES, False),
                    (ENTRIES, STUDIES, True),
                ]
            )
        ]
        for done, task in enumerate(tasks, start=1):
            in_fresh_process(write_ledger, task)
            audits = tuple(in_fresh_process(audit, task.path) for _ in range(REPEATS))
            megabytes = Path(task.path).stat().st_size / 10**6
            rows.append(Row(task=task, audits=audits, megabytes=megabytes))
            settings.watch(done, len(tasks))
    return findings_of(rows)


def findings_of(rows: list[Row]) -> Findings:
    """The table and the targets. RuntimeError for a ledger that did not pass."""
    for row in rows:
        if any(one.failed or one.entries != row.task.entries for one in row.audits):
            raise RuntimeError(f"a ledger that is in order did not pass: {row.audits[0]}")
    cells = [
        (
            f"{row.task.entries:,}",
            str(row.task.studies),
            "sampled" if row.task.sampled else "all patients",
            f"{row.megabytes:.1f}",
            f"{row.chain:.2f}",
            f"{row.whole:.2f}",
        )
        for row in rows
    ]
    columns = ("entries", "studies", "sums over", "MB", "chain and signatures, s", "whole audit, s")
    return Findings(
        title="Verifying a ledger",
        about=(
            "`fedward audit ledger` of one site's export: every line, link and signature, every "
            "cap at every moment, and every epsilon from the events alone. Medians of "
            f"{REPEATS} fresh processes; the whole includes imports."
        ),
        tables=(table("Seconds", columns, cells),),
        targets=tuple(_targets(rows)),
        notes=(
            "Epsilons of studies are checked by PLD, PRV and RDP; those of a cohort with more than "
            "20 different sampled sums by PLD and RDP alone, as PRV would take minutes.",
        ),
        figures={"rows": [asdict(row) for row in rows]},
    )


def _targets(rows: list[Row]) -> list[Target]:
    return [
        at_most(
            f"seconds to verify {row.task.entries:,} entries, {row.task.studies} studies, "
            + ("sampled" if row.task.sampled else "all patients"),
            row.whole,
            SECONDS,
            decimals=2,
        )
        for row in rows
        if row.task.entries == ENTRIES
    ]


if __name__ == "__main__":
    show(measure(Settings()), Console())
