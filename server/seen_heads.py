"""The heads of the sites' ledgers as one run sees them: checked, counter-signed and kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fedward.common.errors import InputError
from fedward.common.ledger.heads import KnownHead, LedgerHead
from fedward.common.secure_sum.roster import Roster
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.server.errors import CoordinationError
from fedward.server.head_book import HeadBook
from fedward.server.site_failure import SiteFailure


class SeenHeads:
    """Holds what a site says of its ledger against what it said before.

    ``unsaved`` is why the newest heads are not in the book, None if they are; those in memory are
    compared all the same, and written with the next ones if they can be.
    ``roster`` is the checked one. What the book holds of other sites, or of a site that has a new
    key since and with it a new ledger, is left alone. Raises :class:`CoordinationError` if
    ``coordinator`` is not the one that the roster names.
    """

    def __init__(
        self, book: HeadBook, *, run_id: str, roster: Roster, coordinator: SiteIdentity | None
    ) -> None:
        key = coordinator.public_key.hex() if coordinator else None
        if key != roster.coordinator_key:
            raise CoordinationError(
                "the roster names another coordinator's key than this coordinator has"
            )
        self._book = book
        self._run_id = run_id
        self._roster = roster
        self._coordinator = coordinator
        self._changed: set[str] = set()
        self.unsaved: InputError | None = None
        names = frozenset(roster.names)
        self._known = {
            known.head.site: self._own(known)
            for known in book.known()
            if known.head.site in names and self._is_signed(known.head)
        }

    @property
    def known(self) -> tuple[KnownHead, ...]:
        """The newest head of each site, sorted by site, to be shown to all of them."""
        return tuple(known for _, known in sorted(self._known.items()))

    def failure(self, site: str, head: LedgerHead | None) -> SiteFailure | None:
        """Why this head of the site's ledger cannot be believed, or None.

        It is what the site showed as a session was opened or closed.
        """
        earlier = self._known.get(site)
        if head is None:
            return None if earlier is None else _gone("shows no head of its ledger any more")
        if head.site != site or not self._is_signed(head):
            return _gone("shows a head of its ledger that it did not sign")
        why = None if earlier is None else _step_back(earlier.head, head)
        return None if why is None else _gone(why)

    def failure_of_release(self, site: str, head: LedgerHead | None) -> SiteFailure | None:
        """Why the head that came with a release cannot be believed, or None.

        It ends with the entry that reserved the release, so it lies beyond all earlier ones. The
        site has answered, and must be taken as charged.
        """
        wrong, earlier = self.failure(site, head), self._known.get(site)
        if wrong is None and earlier is not None and head == earlier.head:
            wrong = _gone(f"names entry {head.sequence} of its ledger, which was there before")
        return None if wrong is None else replace(wrong, charged=True)

    def note(self, site: str, head: LedgerHead) -> None:
        """Counter-sign a head that was found to be in order, and know it from now on."""
        self._known[site] = KnownHead.seen(head, run_id=self._run_id, coordinator=self._coordinator)
        self._changed.add(site)

    def save(self) -> None:
        """Put what was noted since the last time in the book; see ``unsaved`` if that fails."""
        if not self._changed:
            return
        try:
            self._book.keep(self._known[site] for site in sorted(self._changed))
        except InputError as error:
            self.unsaved = error
        else:
            self.unsaved = None
            self._changed.clear()

    def keep(self, heads: Mapping[str, LedgerHead]) -> None:
        """Note heads that passed :meth:`failure`, by site, and save them."""
        for site, head in heads.items():
            self.note(site, head)
        self.save()

    def _is_signed(self, head: LedgerHead) -> bool:
        return head.is_signed_by(self._roster.key_of(head.site))

    def _own(self, known: KnownHead) -> KnownHead:
        """The head under this coordinator's key, which may be a new one."""
        if known.coordinator_key == self._roster.coordinator_key:
            return known
        return KnownHead.seen(known.head, run_id=self._run_id, coordinator=self._coordinator)


def _step_back(before: LedgerHead, head: LedgerHead) -> str | None:
    """How a ledger went back since ``before``, if it did."""
    if head.ledger_id != before.ledger_id:
        return "shows another ledger than before"
    if head.sequence < before.sequence:
        return f"shows a ledger that went back from entry {before.sequence} to {head.sequence}"
    if head.sequence == before.sequence and head.digest != before.digest:
        return f"shows another entry {head.sequence} of its ledger than before"
    return None


def _gone(why: str) -> SiteFailure:
    return SiteFailure(why=why, charged=False, may_pass=False)
