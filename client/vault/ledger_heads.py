"""What a coordinator has seen of this site's ledger: held against the ledger, then noted in it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fedward.client.vault.ledger import Ledger
from fedward.client.vault.policy import Refused
from fedward.common.errors import InputError
from fedward.common.ledger.heads import KnownHead, LedgerHead
from fedward.common.protocol.releases import RefusalReason
from fedward.common.secure_sum.roster import Roster


@contextmanager
def refused_without_ledger(site: str) -> Iterator[None]:
    """Turn what a ledger that cannot be used raises into the refusal ``ledger_unavailable``.

    Its text may tell the hospital's own paths, so it stays in the hospital's own log.
    """
    try:
        yield
    except InputError as error:
        logging.getLogger(__name__).exception("%s cannot use its ledger", site)
        raise Refused(
            RefusalReason.LEDGER_UNAVAILABLE, f"{site} cannot use its ledger at present"
        ) from error


class LedgerHeads:
    """Compares the coordinator's view of one site's ledger with the ledger itself.

    ``identity_key`` is the site's own Ed25519 key, 32 bytes. One head that the site signed and the
    ledger does not hold is proof enough for good: people have to see to it, and start again.
    """

    def __init__(self, *, site: str, identity_key: bytes, ledger: Ledger) -> None:
        self._site = site
        self._identity_key = identity_key
        self._ledger = ledger
        self._lost: str | None = None

    def refuse_rolled_back(self) -> None:
        """Refuse with ``ledger_rolled_back`` once :meth:`see` has done so."""
        if self._lost is not None:
            raise Refused(RefusalReason.LEDGER_ROLLED_BACK, self._lost)

    def see(self, heads: Sequence[KnownHead], *, roster: Roster) -> None:
        """Note the head of this site's ledger in the ledger, if there is one among ``heads``.

        ``roster`` is the checked one; where it names a coordinator, that one must have
        counter-signed the head, under that name. Without one there is nothing to note.

        Raises:
            Refused: ``ledger_rolled_back`` if the ledger does not hold that head, so that it was
                replaced by an older copy or by another ledger; ``malformed`` if this site or the
                coordinator never signed it; ``ledger_unavailable``.
        """
        known = next((known for known in heads if known.head.site == self._site), None)
        if known is None:
            return
        if not known.head.is_signed_by(self._identity_key):
            raise Refused(
                RefusalReason.MALFORMED, f"{self._site} never signed the head of a ledger like this"
            )
        with refused_without_ledger(self._site):
            held = self._ledger.holds(known.head)
        if not held:
            # Whoever shows it: nobody but this site can have signed it.
            self._lost = self._rolled_back(known.head)
            self.refuse_rolled_back()
        key = roster.coordinator_key
        if key is None:
            return
        if known.coordinator_key != key or not known.is_countersigned_by(bytes.fromhex(key)):
            raise Refused(
                RefusalReason.MALFORMED,
                f"the head of {self._site}'s ledger is not counter-signed by the coordinator",
            )
        with refused_without_ledger(self._site):
            self._ledger.countersigned(known)

    def head(self) -> LedgerHead | None:
        """The ledger's head; Refused with ``ledger_unavailable``."""
        with refused_without_ledger(self._site):
            return self._ledger.head()

    def _rolled_back(self, head: LedgerHead) -> str:
        return (
            f"the ledger of {self._site} does not hold its entry {head.sequence}, which it once "
            "had: it was replaced by an older copy or another ledger; restore the newest one"
        )
