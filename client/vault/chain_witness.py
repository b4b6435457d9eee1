"""What lies beside a ledger and says how far it went, so that the site itself sees a step back.

A log that was lost or an older copy of the file leave a chain in perfect order. The witness is on
the disk before anything that relies on an entry happens. It is behind, by what one transaction
adds, after a crash between the two; it is never ahead.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from dataclasses import dataclass

from fedward.common.ledger.heads import LedgerPosition

SLOT_BYTES = 4096
"""Apart by a block of the disk, so that a write that is torn leaves the other slot whole."""
_SLOTS = 2
_RECORD = re.compile(rb"([0-9a-f]{32}) ([0-9]{16}) ([0-9a-f]{64}) ([0-9a-f]{64})\n")
_RECORD_BYTES = 180


@dataclass(frozen=True, kw_only=True)
class Witnessed:
    """An entry that was on the disk, of the ledger with this id."""

    ledger_id: str
    position: LedgerPosition


class ChainWitness:
    """Two slots of the open file ``descriptor``, written in turn; each with its own checksum.

    ``last`` is the newest that either holds, None if neither does. ``damaged`` says that the file
    is not empty, and yet neither holds one: its very first write was torn, or somebody else wrote.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.last: Witnessed | None = None
        self._slot = _SLOTS - 1
        for slot in range(_SLOTS):
            found = _witnessed(os.pread(descriptor, _RECORD_BYTES, slot * SLOT_BYTES))
            if found is not None and (self.last is None or _number(found) > _number(self.last)):
                self.last, self._slot = found, slot
        self.damaged = self.last is None and os.fstat(descriptor).st_size > 0

    def remember(self, witnessed: Witnessed) -> None:
        """Write over the older slot, and force it to the disk; OSError if that fails."""
        if witnessed == self.last:
            return
        # The newest slot is left alone, also after a write that failed: it alone is surely there.
        slot = (self._slot + 1) % _SLOTS
        record = _record(witnessed)
        if os.pwrite(self._descriptor, record, slot * SLOT_BYTES) != len(record):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(self._descriptor)
        self.last, self._slot, self.damaged = witnessed, slot, False


def _number(witnessed: Witnessed) -> int:
    return witnessed.position.sequence


def _record(witnessed: Witnessed) -> bytes:
    position = witnessed.position
    text = f"{witnessed.ledger_id} {position.sequence:016d} {position.digest}".encode()
    return text + b" " + _checksum(text) + b"\n"


def _witnessed(record: bytes) -> Witnessed | None:
    found = _RECORD.fullmatch(record)
    if found is None or _checksum(record[: found.end(3)]) != found[4]:
        return None
    position = LedgerPosition(sequence=int(found[2]), digest=found[3].decode())
    return Witnessed(ledger_id=found[1].decode(), position=position)


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(b"fedward/ledger-witness/1\0" + text).hexdigest().encode()
