"""Heads that a coordinator counter-signed, held against the ledgers they are of.

Whoever puts back an old backup of a ledger loses entries that a coordinator has seen: a head that
it counter-signed is then not in the ledger.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from fedward.audits.books.chain_verification import ReadLedger
from fedward.audits.books.checks import Check
from fedward.common.ledger.entries import HeadCountersigned
from fedward.common.ledger.heads import KnownHead, LedgerHead
from fedward.common.secure_sum.roster import Roster, RosterError

_NO_SIGNATURE = "0" * 128


def check_own_heads(ledger: ReadLedger, *, roster: Roster | None, check: Check) -> None:
    """Counter-signatures that the ledger itself keeps: of its own entries, by the coordinator."""
    for read in ledger.entries:
        entry = read.entry
        if not isinstance(entry, HeadCountersigned):
            continue
        check.made()
        where = ledger.where(read)
        if entry.head_sequence >= entry.sequence:
            check.error(where, f"counter-signs entry {entry.head_sequence}, which is not before it")
        elif not _holds(ledger, entry.head_sequence, entry.head_digest):
            check.error(where, f"counter-signs another entry {entry.head_sequence}")
        known = KnownHead(
            # A counter-signature covers everything of a head but the signature on it.
            head=LedgerHead(
                site=ledger.site,
                ledger_id=ledger.opened.ledger_id,
                sequence=entry.head_sequence,
                digest=entry.head_digest,
                signature=_NO_SIGNATURE,
            ),
            run_id=entry.run_id,
            coordinator_key=entry.coordinator_key,
            countersignature=entry.signature,
        )
        _check_countersignature(known, where, roster, check)


def check_known_heads(
    heads: Iterable[KnownHead],
    ledgers: Mapping[str, ReadLedger],
    *,
    sites: Iterable[str],
    source: str,
    roster: Roster | None,
    check: Check,
) -> None:
    """Heads that the coordinator kept; ``ledgers`` are those at hand, by site.

    ``sites`` are those that need a head: without, an old copy is not told from the ledger.
    """
    heads = tuple(heads)
    for site in sorted(set(sites).difference(known.head.site for known in heads)):
        check.incomplete(source, f"the coordinator kept no head of {site}'s ledger")
    for known in heads:
        check.made()
        head = known.head
        where = f"{source}: head of {head.site}"
        if known.countersignature is not None:
            _check_countersignature(known, where, roster, check)
        elif roster is not None and roster.coordinator_key is not None:
            check.error(where, "is not counter-signed, though the roster names a coordinator's key")
        ledger = ledgers.get(head.site)
        key = ledger.identity_key if ledger else _key_of(head.site, roster)
        if key is not None and not head.is_signed_by(key):
            check.error(where, "is not signed by the site")
        if ledger is None:
            continue
        if head.ledger_id != ledger.opened.ledger_id:
            check.error(
                where, f"is of another ledger than {ledger.source}: the site began a new one"
            )
        elif not _holds(ledger, head.sequence, head.digest):
            last = ledger.entries[-1].entry.sequence
            why = (
                f"ends with entry {last}: an old copy was put back"
                if head.sequence > last
                else f"has another entry {head.sequence}"
            )
            check.error(
                where, f"the coordinator saw entry {head.sequence}, but {ledger.source} {why}"
            )


def check_ends(
    ledgers: Iterable[ReadLedger],
    heads: Iterable[KnownHead],
    *,
    exports: Collection[str],
    check: Check,
) -> None:
    """Whether something signed says how far each ledger goes at least.

    ``exports`` are the sources that end with a head of their own; a ledger's own file holds none,
    so entries that were cut off its end show only against a head that a coordinator kept.
    """
    kept = {known.head.site for known in heads}
    for ledger in ledgers:
        if ledger.source in exports or ledger.site in kept:
            check.made()
        else:
            check.incomplete(
                ledger.source,
                "a ledger's own file holds no signed head, and no coordinator's log has one of "
                "it, so entries may be missing at its end (hand in its export, or --log)",
            )


def _holds(ledger: ReadLedger, sequence: int, digest: str) -> bool:
    read = ledger.at.get(sequence)
    return read is not None and read.digest == digest


def _key_of(site: str, roster: Roster | None) -> bytes | None:
    try:
        return None if roster is None else roster.key_of(site)
    except RosterError:
        return None


def _check_countersignature(
    known: KnownHead, where: str, roster: Roster | None, check: Check
) -> None:
    expected = None if roster is None else roster.coordinator_key
    named = known.coordinator_key
    if expected is not None and named != expected:
        check.error(where, "is counter-signed by another key than the roster's coordinator_key")
    elif named is None or not known.is_countersigned_by(bytes.fromhex(named)):
        check.error(where, "the coordinator's counter-signature is wrong")
