"""A ledger's file read without owning it: nothing is changed, and a vault may go on meanwhile.

SQLite lets one process write and others read what was committed before. The identity is not needed
and nothing is verified; whoever wants more than the text checks the chain.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from fedward.client.vault.ledger_limits import APPLICATION, MOST_ENTRY_BYTES
from fedward.common.errors import InputError
from fedward.common.ledger.chain import SignedEntry
from fedward.common.ledger.entries import LEDGER_FORMAT
from fedward.common.ledger.export import RawLedger, reason_of, signed_entry_of

MOST_ENTRIES = 1_000_000
BUSY_SECONDS = 5.0
EXAMINE = "keep the file as it is, and have it examined with `fedward audit ledger`"
"""What to do about a ledger with an entry that does not hold."""
_MAGIC = b"SQLite format 3\0"
_READABLE = (
    "see that you may read it and the -wal and -shm files beside it, or read a copy of all of "
    "them; if they are damaged, restore its latest copy"
)


class RawRow(NamedTuple):
    """One row of a ledger's file: an entry's text as it is, unchecked."""

    sequence: int
    body: str
    signature: str

    @property
    def line(self) -> str:
        """The line of an export that it makes."""
        return f'{{"entry":{self.body},"signature":{json.dumps(self.signature)}}}'


def is_database(path: Path) -> bool:
    """Whether this is an SQLite file, rather than an export; False if it cannot be read.

    Not for the file of a ledger that this very process holds: closing any other handle of a file
    undoes SQLite's locks of it.
    """
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def read_ledger_file(path: Path) -> list[RawRow]:
    """All rows of the chain, in the order of their numbers.

    Raises :class:`InputError` if the file cannot be read, is no ledger of this format, is damaged,
    or holds a row that cannot be an entry.
    """
    try:
        with closing(_connected(path)) as connection:
            _check_format(path, connection)
            return list(_rows(path, connection))
    except (sqlite3.Error, OSError) as error:
        raise _unusable(path, f"cannot be read ({error})", fix=_READABLE) from error


def raw_of_file(path: Path) -> RawLedger:
    """The chain as raw lines; it has no head, as nobody signed one. Raises as above."""
    lines = tuple(row.line for row in read_ledger_file(path))
    return RawLedger(source=str(path), lines=lines, head_line=None)


def signed_entries(path: Path) -> tuple[SignedEntry, ...]:
    """The entries of the chain; signatures and links are not checked.

    Raises :class:`InputError` as above, and for a row that is no entry, which it names.
    """
    found = []
    for row in read_ledger_file(path):
        try:
            found.append(signed_entry_of(row.line))
        except ValueError as error:
            problem = f"is no entry ({reason_of(error)})"
            field = f"entry {row.sequence}"
            raise _unusable(path, problem, field=field, fix=EXAMINE) from error
    return tuple(found)


def _connected(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise _unusable(path, "is not there" if not path.exists() else "is no file")
    path = path.resolve()  # the log lies beside the file, not beside a link to it
    # Without a log no vault runs, and the file can be read where nothing may be written beside it.
    log = path.with_name(path.name + "-wal")
    mode = "mode=ro" if log.exists() else "mode=ro&immutable=1"
    connection = sqlite3.connect(
        f"{path.as_uri()}?{mode}", uri=True, timeout=BUSY_SECONDS, isolation_level=None
    )
    connection.text_factory = _text
    return connection


def _check_format(path: Path, connection: sqlite3.Connection) -> None:
    found, written = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("application_id", "user_version")
    )
    if found != APPLICATION:
        raise _unusable(path, "is no ledger")
    if written != LEDGER_FORMAT:
        raise _unusable(path, f"is a ledger of format {written}, not {LEDGER_FORMAT}")


def _rows(path: Path, connection: sqlite3.Connection) -> Iterator[RawRow]:
    wanted = (
        "SELECT sequence, typeof(body), typeof(signature), length(CAST(body AS BLOB)),"
        " length(CAST(signature AS BLOB)), substr(body, 1, ?), substr(signature, 1, ?)"
        " FROM entries ORDER BY sequence LIMIT ?"
    )
    most = (MOST_ENTRY_BYTES, MOST_ENTRY_BYTES, MOST_ENTRIES + 1)
    for number, (sequence, *found, body, signature) in enumerate(connection.execute(wanted, most)):
        if number == MOST_ENTRIES:
            raise _unusable(path, f"has more than {MOST_ENTRIES:,} entries")
        kinds, lengths = found[:2], found[2:]
        if kinds != ["text", "text"] or max(lengths) > MOST_ENTRY_BYTES:
            field = f"entry {sequence}"
            raise _unusable(path, "is no text of an entry", field=field, fix=EXAMINE)
        yield RawRow(sequence, body, signature)


def _text(found: bytes) -> str:
    return found.decode("utf-8", "backslashreplace")


def _unusable(path: Path, problem: str, *, field: str = "", fix: str | None = None) -> InputError:
    return InputError(
        source=str(path),
        field=field,
        problem=problem,
        fix=fix or "name the file of a site's ledger",
    )
