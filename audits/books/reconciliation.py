"""The ledgers of all sites against the coordinator's log of one run.

Every release that the coordinator received has one committed entry with the same place, query,
bytes and noise; every entry of the run is such a release, or one that the log declares failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedward.audits.books.chain_verification import ReadLedger
from fedward.audits.books.checks import Check
from fedward.audits.books.entry_rules import Reservation
from fedward.common.protocol.releases import ExecutedNoise
from fedward.server.release_log import ReleaseRecord
from fedward.server.run_log import RunLog

FIRST_RECORD_LINE = 2
"""The line of a log's first release, counted from 1."""

_Key = tuple[int, int]
"""Round and attempt."""


def reconcile(
    log: RunLog,
    ledgers: Mapping[str, ReadLedger],
    reservations: Mapping[str, Sequence[Reservation]],
    *,
    check: Check,
) -> None:
    """Both directions, site by site; ``reservations`` are those of each site's ledger."""
    by_site: dict[str, list[tuple[int, ReleaseRecord]]] = {}
    for line, record in enumerate(log.records, start=FIRST_RECORD_LINE):
        by_site.setdefault(record.site, []).append((line, record))
    for site, ledger in ledgers.items():
        check.made()
        of_run = [one for one in reservations[site] if one.entry.run_id == log.started.run_id]
        _Reconciled(log, ledger, of_run, check).against(by_site.get(site, []))
        others = len(reservations[site]) - len(of_run)
        if others:
            check.info(
                ledger.source,
                f"{others} of {len(reservations[site])} releases are of other runs, whose logs "
                "were not given, so they are not reconciled",
            )
    without = sorted(set(by_site).difference(ledgers))
    if without:
        check.warning(
            log.source, f"no ledger came from {', '.join(without)}, so theirs are not reconciled"
        )


class _Reconciled:
    """One site."""

    def __init__(
        self, log: RunLog, ledger: ReadLedger, of_run: Sequence[Reservation], check: Check
    ) -> None:
        self._log = log
        self._ledger = ledger
        self._check = check
        self._entries: dict[_Key, Reservation] = {}
        for one in of_run:
            self._entries.setdefault((one.entry.round, one.entry.attempt), one)

    def against(self, records: Sequence[tuple[int, ReleaseRecord]]) -> None:
        """All lines of the log about this site."""
        seen: dict[_Key, int] = {}
        for line, record in records:
            key = record.round, record.attempt
            if key in seen:
                self._error(line, record, f"is there twice, in line {seen[key]} as well")
                continue
            seen[key] = line
            if record.release_digest is not None:
                self._received(line, record)
            elif (one := self._entries.get(key)) is not None:
                self._lost(line, record, one)
        for key, one in self._entries.items():
            if key not in seen:
                self._check.error(
                    self._ledger.where(one.read),
                    f"is a release in round {key[0]}, attempt {key[1]} that the log of the run "
                    "does not know",
                )

    def _received(self, line: int, record: ReleaseRecord) -> None:
        one = self._entries.get((record.round, record.attempt))
        if one is None:
            self._error(line, record, f"was received, but {self._ledger.source} has no entry of it")
            return
        entry = one.entry
        if one.committed is None:
            self._error(line, record, f"was received, but entry {entry.sequence} is not committed")
        elif one.committed.release_digest != record.release_digest:
            self._error(line, record, f"is not what entry {one.committed.sequence} committed")
        if entry.query_digest != record.query_digest:
            self._error(line, record, f"answers another query than entry {entry.sequence}")
        if entry.sum != record.kind:
            self._error(line, record, f"is a {record.kind} sum, but entry {entry.sequence} is not")
        if entry.study_digest != self._log.started.study_digest:
            self._error(line, record, f"is of another study than entry {entry.sequence}")
        told = record.ledger
        if told is None or (told.sequence, told.digest) != (entry.sequence, one.read.digest):
            position = "none" if told is None else str(told.sequence)
            self._error(
                line,
                record,
                f"says under the site's seal that its entry is {position}, not {entry.sequence} "
                "as in the ledger",
            )
        if _noise(record.executed) != _charged(one):
            self._error(
                line, record, f"was made with other noise than entry {entry.sequence} charged"
            )

    def _lost(self, line: int, record: ReleaseRecord, one: Reservation) -> None:
        """A release that did not arrive: a declared failure, charged all the same."""
        if one.entry.query_digest != record.query_digest:
            self._error(line, record, f"asks another query than entry {one.entry.sequence} answers")
        if not record.charged:
            self._check.warning(
                self._where(line, record),
                f"was refused without being charged, as the log has it, but entry "
                f"{one.entry.sequence} charged it",
            )

    def _error(self, line: int, record: ReleaseRecord, sentence: str) -> None:
        self._check.error(self._where(line, record), sentence)

    def _where(self, line: int, record: ReleaseRecord) -> str:
        return (
            f"{self._log.source}: line {line} ({record.site}, round {record.round}, "
            f"attempt {record.attempt})"
        )


def _noise(executed: ExecutedNoise | None) -> tuple[float, ...] | None:
    if executed is None:
        return None
    return (
        executed.noise_multiplier,
        executed.share_multiplier,
        executed.sampling_rate,
        executed.count,
    )


def _charged(one: Reservation) -> tuple[float, ...] | None:
    whole, alone = one.entry.event, one.entry.event_alone
    if whole is None or alone is None:
        return None
    return whole.noise_multiplier, alone.noise_multiplier, whole.sampling_rate, whole.count
