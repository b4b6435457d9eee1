"""What entries must be to each other: reservations closed once, times in order, equal sums."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from fedward.audits.books.chain_verification import ReadLedger
from fedward.audits.books.checks import Check
from fedward.audits.books.entry_lines import ReadEntry
from fedward.common.ledger.entries import ReleaseAbandoned, ReleaseCommitted, ReleaseReserved

Place = tuple[str, int, int]
"""Run, round and attempt."""


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """A reservation and what became of it; neither, if a crash came between."""

    read: ReadEntry
    entry: ReleaseReserved
    committed: ReleaseCommitted | None = None
    abandoned: ReleaseAbandoned | None = None

    @property
    def place(self) -> Place:
        """Where in which run."""
        return self.entry.run_id, self.entry.round, self.entry.attempt


def reservations_of(ledger: ReadLedger, *, check: Check) -> tuple[Reservation, ...]:
    """All reservations, in the order of the lines, with what closed them.

    Finds: a place that was reserved twice, a commit or an abandonment of what is no open
    reservation; says how many were never closed.
    """
    check.made()
    found: dict[int, Reservation] = {}
    places: dict[Place, ReadEntry] = {}
    for read in ledger.entries:
        entry = read.entry
        if isinstance(entry, ReleaseReserved):
            reservation = Reservation(read=read, entry=entry)
            first = places.setdefault(reservation.place, read)
            if first is not read:
                check.error(
                    ledger.where(read),
                    f"round {entry.round}, attempt {entry.attempt} of run {entry.run_id} was "
                    f"reserved before, by entry {first.entry.sequence}",
                )
            found[entry.sequence] = reservation
        elif isinstance(entry, ReleaseCommitted | ReleaseAbandoned):
            before = found.get(entry.of)
            if before is None or before.committed or before.abandoned:
                check.error(
                    ledger.where(read),
                    f"closes entry {entry.of}, which is no open reservation before it",
                )
                continue
            found[entry.of] = _closed(before, entry)
    open_ = [one for one in found.values() if not (one.committed or one.abandoned)]
    if open_:
        check.warning(
            ledger.source,
            f"{_counted(len(open_), 'reservation')} of {ledger.site} came to nothing without a "
            f"word, as after a crash (first: entry {open_[0].entry.sequence}); they stay spent",
        )
    return tuple(found.values())


def check_clock(ledger: ReadLedger, *, check: Check) -> None:
    """Times never go back; where the clock itself did, an entry says by how much."""
    check.made()
    latest = ""
    for read in ledger.entries:
        if read.entry.time < latest:
            check.error(ledger.where(read), f"is dated before an entry ahead of it ({latest})")
        latest = max(latest, read.entry.time)
    behind = [read for read in ledger.entries if read.entry.behind > 0]
    if behind:
        most = max(behind, key=lambda read: read.entry.behind)
        check.warning(
            ledger.where(most),
            f"the clock of {ledger.site} stood up to {most.entry.behind} s before the entry ahead, "
            f"at {_counted(len(behind), 'entry', 'entries')}",
        )


def check_noise(ledger: ReadLedger, reservations: tuple[Reservation, ...], *, check: Check) -> None:
    """A site's own share of the noise is at most the whole, and both are of the same sums."""
    check.made()
    for one in reservations:
        whole, alone = one.entry.event, one.entry.event_alone
        where = ledger.where(one.read)
        if whole is None or alone is None:
            check.error(where, "was released without noise, so that no epsilon holds")
        elif (whole.sampling_rate, whole.count) != (alone.sampling_rate, alone.count):
            check.error(where, "event and event_alone are not of the same sums")
        elif alone.noise_multiplier > whole.noise_multiplier:
            check.error(where, "the site's share of the noise is more than the whole")
    kinds = Counter(one.entry.study_digest for one in reservations)
    for digest in kinds:
        of_study = [one for one in reservations if one.entry.study_digest == digest]
        first = of_study[0].entry
        for one in of_study:
            told = one.entry.study_name, one.entry.delta, one.entry.holdout
            if told != (first.study_name, first.delta, first.holdout):
                check.error(
                    ledger.where(one.read),
                    "tells another name, delta or holdout of its study than entry "
                    f"{first.sequence}",
                )


def _closed(before: Reservation, entry: ReleaseCommitted | ReleaseAbandoned) -> Reservation:
    if isinstance(entry, ReleaseCommitted):
        return Reservation(read=before.read, entry=before.entry, committed=entry)
    return Reservation(read=before.read, entry=before.entry, abandoned=entry)


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
