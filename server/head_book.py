"""Where a coordinator keeps the newest head of each site's ledger, from one run to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, Protocol

from pydantic import ValidationError

from fedward.common.atomic_files import replace_file
from fedward.common.errors import InputError
from fedward.common.ledger.heads import KnownHead
from fedward.common.protocol.fields import Wire
from fedward.common.protocol.queries import Heads

MAX_BOOK_BYTES = 32 * 2**20
"""The heads of the largest roster take about a quarter of it."""


class HeadBook(Protocol):
    """One head of each site; it outlives a run, or a site could go back between two."""

    def known(self) -> tuple[KnownHead, ...]:
        """All that is kept, sorted by site."""

    def keep(self, heads: Iterable[KnownHead]) -> None:
        """Put these in the place of what was kept of their sites, unless that is newer.

        Of one ledger the higher head is the newer one; another ledger replaces the one before.
        """


class MemoryHeads:
    """Heads in memory: a ledger that goes back within one process is found, no other."""

    def __init__(self) -> None:
        self._heads: dict[str, KnownHead] = {}

    def known(self) -> tuple[KnownHead, ...]:
        """All that is kept, sorted by site."""
        return tuple(known for _, known in sorted(self._heads.items()))

    def keep(self, heads: Iterable[KnownHead]) -> None:
        """Put these in the place of what was kept of their sites, unless that is newer."""
        self._heads = _newest(self._heads, heads)


class HeadFile:
    """Heads in a JSON file, replaced in one step; a file that is not there holds none.

    What a loss of power takes from it makes the check for old ledgers weaker and nothing else.
    One coordinator at a time may use it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def known(self) -> tuple[KnownHead, ...]:
        """All that is kept, sorted by site.

        Raises:
            InputError: the file cannot be read, or holds something else.
        """
        try:
            with self._path.open("rb") as file:
                text = file.read(MAX_BOOK_BYTES + 1)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise self._unusable(f"cannot be read ({error.strerror})") from error
        try:
            if len(text) > MAX_BOOK_BYTES:
                raise ValueError
            return _Book.model_validate_json(text).heads
        except (ValidationError, ValueError) as error:
            raise self._unusable("is no book of ledger heads") from error

    def keep(self, heads: Iterable[KnownHead]) -> None:
        """Put these in the place of what was kept of their sites, unless that is newer.

        Raises as :meth:`known` does, or if the file cannot be written.
        """
        kept = _newest({known.head.site: known for known in self.known()}, heads)
        book = _Book(
            format="fedward-heads-1",
            heads=tuple(known for _, known in sorted(kept.items())),
        )
        try:
            replace_file(self._path, f"{book.model_dump_json(indent=1)}\n".encode())
        except OSError as error:
            raise self._unusable(f"cannot be written ({error.strerror})") from error

    def _unusable(self, problem: str) -> InputError:
        return InputError(
            source=str(self._path),
            field="",
            problem=problem,
            fix="restore it, for without it no ledger that goes back is noticed",
        )


def _newest(kept: Mapping[str, KnownHead], heads: Iterable[KnownHead]) -> dict[str, KnownHead]:
    """One head of each site; a run that began later may have put a higher one there."""
    newest = dict(kept)
    for known in heads:
        before = newest.get(known.head.site)
        if (
            before is None
            or before.head.ledger_id != known.head.ledger_id
            or before.head.sequence <= known.head.sequence
        ):
            newest[known.head.site] = known
    return newest


class _Book(Wire):
    format: Literal["fedward-heads-1"]
    heads: Heads
