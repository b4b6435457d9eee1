"""Text, chain, signatures and head of one ledger, with every fault located.

Every byte of an export is covered: a line is the canonical text of its entry and signature, the
signature covers the entry, each entry names the digest of the one before, and the signed head names
the last. So one byte that was changed is found, and which one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fedward.audits.books.checks import Check
from fedward.audits.books.entry_lines import ReadEntry, read_line, reason, what_changed
from fedward.audits.books.entry_order import wrong_links, wrong_numbers
from fedward.common.ledger.entries import LedgerOpened
from fedward.common.ledger.export import RawLedger, head_of
from fedward.common.ledger.heads import LedgerHead
from fedward.common.secure_sum.roster import Roster, RosterError

_SEARCHED = 3
"""Changed bytes that are searched for in one ledger, at up to a second each."""


@dataclass(frozen=True, kw_only=True)
class ReadLedger:
    """A ledger whose lines could all be read; whether they may be believed, the checks say.

    ``entries`` are in the order of the lines, ``at`` the same by number (the first of each).
    """

    source: str
    entries: tuple[ReadEntry, ...]
    at: dict[int, ReadEntry]
    identity_key: bytes
    opened: LedgerOpened

    @property
    def site(self) -> str:
        """Whose ledger it says it is."""
        return self.opened.site

    def where(self, read: ReadEntry) -> str:
        """Names a line for a finding."""
        return f"{self.source}: line {read.line} (entry {read.entry.sequence})"


@dataclass(frozen=True, kw_only=True)
class ChainChecks:
    """The checks that :func:`read_ledger` makes."""

    text: Check
    chain: Check
    signatures: Check
    identity: Check

    @classmethod
    def new(cls) -> ChainChecks:
        """Before any ledger was read."""
        return cls(
            text=Check("text", "Every line is the canonical text of what it says."),
            chain=Check("chain", "Entries follow each other without a gap."),
            signatures=Check(
                "signatures", "Every entry and head is signed with the key of its ledger."
            ),
            identity=Check("identity", "Each ledger is signed with the site's key of the roster."),
        )

    @property
    def all(self) -> tuple[Check, ...]:
        """In the order in which they are told."""
        return self.text, self.chain, self.signatures, self.identity


def read_ledger(
    raw: RawLedger, *, roster: Roster | None, checks: ChainChecks, head_expected: bool
) -> ReadLedger | None:
    """Read and check one ledger; None if a line cannot be read or it does not begin as a ledger.

    ``roster`` is a checked one. ``head_expected`` is whether there must be a line with the head, as
    in an export.
    """
    return _Reading(raw, roster, checks).read(head_expected=head_expected)


class _Reading:
    """One ledger under examination."""

    def __init__(self, raw: RawLedger, roster: Roster | None, checks: ChainChecks) -> None:
        self._raw = raw
        self._roster = roster
        self._checks = checks
        self._read: dict[int, ReadEntry] = {}
        self._unreadable: list[int] = []

    def read(self, *, head_expected: bool) -> ReadLedger | None:
        for check in (self._checks.text, self._checks.chain, self._checks.signatures):
            check.made()
        for number, line in enumerate(self._raw.lines, start=1):
            read = read_line(line, number)
            if read is None:
                self._unreadable.append(number)
            else:
                self._read[number] = read
        head = self._head(expected=head_expected)
        entries = tuple(self._read.values())
        opened = self._opened()
        key = self._key(entries, head, opened)
        believed = {read.line: read for read in entries if key and read.is_signed_by(key)}
        self._check_lines(believed, head)
        self._check_order(entries, believed, head)
        if head is not None:
            self._check_head(head, key, opened)
        self._check_identity(opened, key)
        if self._unreadable or opened is None or key is None:
            return None
        at: dict[int, ReadEntry] = {}
        for read in entries:
            at.setdefault(read.entry.sequence, read)
        return ReadLedger(
            source=self._raw.source, entries=entries, at=at, identity_key=key, opened=opened
        )

    def _opened(self) -> LedgerOpened | None:
        first = self._read.get(1)
        if first is not None and isinstance(first.entry, LedgerOpened):
            return first.entry
        if 1 not in self._unreadable:
            self._checks.chain.error(self._line(1), "does not open a ledger")
        return None

    def _head(self, *, expected: bool) -> LedgerHead | None:
        text = self._raw.head_line
        if text is None:
            if expected:
                where = self._line(len(self._raw.lines) + 1)
                self._checks.chain.error(where, "the signed head is missing: the export is cut off")
            return None
        where = self._line(len(self._raw.lines) + 1)
        try:
            return head_of(text)
        except ValueError as error:
            self._checks.text.error(where, f"is no head of a ledger ({reason(error)})")
            return None

    def _key(
        self, entries: Sequence[ReadEntry], head: LedgerHead | None, opened: LedgerOpened | None
    ) -> bytes | None:
        """The key that signed this ledger, whatever a single changed byte says it is."""
        candidates = list(self._candidates(opened, head))
        samples = [entries[at] for at in (-1, len(entries) // 2, 0) if entries]
        for key in candidates:
            if head is not None and head.is_signed_by(key):
                return key
            if any(read.is_signed_by(key) for read in samples):
                return key
        return candidates[0] if candidates else None

    def _candidates(self, opened: LedgerOpened | None, head: LedgerHead | None) -> Iterator[bytes]:
        if self._roster is not None:
            for site in (opened.site if opened else None, head.site if head else None):
                if site in self._roster.names:
                    yield self._roster.key_of(site)
        if opened is not None:
            yield bytes.fromhex(opened.identity_key)
        if self._roster is not None:
            for entry in self._roster.sites:
                yield bytes.fromhex(entry.identity_key)

    def _check_lines(self, believed: dict[int, ReadEntry], head: LedgerHead | None) -> None:
        """Signatures, and of each line that was changed, what was."""
        searched = 0
        for number, line in enumerate(self._raw.lines, start=1):
            if number in believed:
                continue
            follower = believed.get(number + 1)
            digest = follower.entry.previous if follower else None
            if digest is None and head is not None and number == len(self._raw.lines):
                digest = head.digest
            read = self._read.get(number)
            where = self._line(number, read)
            if read is not None and read.digest == digest:
                self._checks.signatures.error(
                    where,
                    "the signature is not that of the site: it was changed, or another key made it",
                )
                continue
            changed = what_changed(line, digest=digest, search=searched < _SEARCHED)
            searched += 1
            check = self._checks.text if read is None else self._checks.signatures
            check.error(where, f"is not what the site signed: {changed}")

    def _check_order(
        self,
        entries: Sequence[ReadEntry],
        believed: dict[int, ReadEntry],
        head: LedgerHead | None,
    ) -> None:
        last = None if head is None else head.sequence
        for read, wrong in (
            *wrong_numbers(entries, last=last, unreadable=len(self._unreadable)),
            *wrong_links(entries, believed=believed),
        ):
            where = self._raw.source if read is None else self._line(read.line, read)
            self._checks.chain.error(where, wrong)

    def _check_head(self, head: LedgerHead, key: bytes | None, opened: LedgerOpened | None) -> None:
        where = self._line(len(self._raw.lines) + 1)
        if key is not None and not head.is_signed_by(key):
            self._checks.signatures.error(where, "the head is not signed by the site")
        if opened is not None and (head.site, head.ledger_id) != (opened.site, opened.ledger_id):
            self._checks.chain.error(where, "is the head of another ledger")
        last = self._read.get(len(self._raw.lines))
        if last is not None and (head.sequence, head.digest) != (
            last.entry.sequence,
            last.digest,
        ):
            self._checks.chain.error(
                where, f"names entry {head.sequence} as the last, which is not the one before it"
            )

    def _check_identity(self, opened: LedgerOpened | None, key: bytes | None) -> None:
        check = self._checks.identity
        if self._roster is None:
            check.missing("no roster was given, so each ledger is checked with the key it names")
            return
        check.made()
        where = self._line(1)
        if opened is None or key is None:
            check.error(where, "does not say whose ledger it is")
            return
        try:
            known = self._roster.key_of(opened.site)
        except RosterError:
            check.error(where, f"site {opened.site} is not in the roster")
            return
        if known != key or opened.identity_key != known.hex():
            check.error(where, f"identity_key is not the roster's key of {opened.site}")

    def _line(self, number: int, read: ReadEntry | None = None) -> str:
        entry = f" (entry {read.entry.sequence})" if read else ""
        return f"{self._raw.source}: line {number}{entry}"
