"""A ledger's file read and verified as a whole, without owning it; and its export."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fedward.client.vault.ledger_file import EXAMINE, signed_entries
from fedward.client.vault.ledger_state import LedgerState
from fedward.common.errors import InputError
from fedward.common.ledger.chain import SignedEntry
from fedward.common.ledger.entries import LedgerOpened
from fedward.common.ledger.export import export_lines
from fedward.common.ledger.heads import LedgerHead
from fedward.common.secure_sum.signatures import SiteIdentity


def verified_chain(
    path: Path, *, site: str, identity_key: bytes
) -> tuple[tuple[SignedEntry, ...], LedgerState]:
    """The entries of a ledger and what they add up to; a vault may go on using it meanwhile.

    Raises :class:`InputError` if it cannot be read, is not that of ``site`` under this key (32
    bytes), or an entry, which it names, does not verify. That it is the newest copy is not checked.
    """
    chain = signed_entries(path)
    state = LedgerState(site=site, identity_key=identity_key)
    if not chain:
        raise _refused(path, "entry 0", "is missing: the ledger has none", EXAMINE)
    opened = chain[0].entry
    if not isinstance(opened, LedgerOpened):
        raise _refused(path, "entry 0", "does not open a ledger", EXAMINE)
    if opened.identity_key != identity_key.hex():
        raise _refused(path, "", "is the ledger of another identity", "name that one's key file")
    if opened.site != site:
        problem = f"is the ledger of {opened.site}, not of {site}"
        raise _refused(path, "", problem, "name the file of this site's ledger")
    for row, signed in enumerate(chain):
        try:
            state.add(signed, row=row)
        except ValueError as error:
            problem = str(error).splitlines()[0]
            raise _refused(path, f"entry {row}", problem, EXAMINE) from error
    return chain, state


def export_of_file(path: Path, *, site: str, identity: SiteIdentity) -> Iterator[str]:
    """The lines of the ledger's export, with a head that ``identity`` signs now.

    The whole chain is verified first, for a head vouches for every entry. Raises as above.
    """
    chain, state = verified_chain(path, site=site, identity_key=identity.public_key)
    last = state.position()
    head = LedgerHead.sign(
        identity,
        site=site,
        ledger_id=state.ledger_id,
        sequence=last.sequence,
        digest=last.digest,
    )
    return export_lines(chain, head)


def _refused(path: Path, field: str, problem: str, fix: str) -> InputError:
    return InputError(source=str(path), field=field, problem=problem, fix=fix)
