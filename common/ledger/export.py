"""A ledger as JSON lines: an entry a line, then its signed head; and any ledger as raw text.

Line n, counted from 0, is the canonical JSON of signed entry n; the last is ``{"head":{..}}``. A
line that differs from the canonical JSON of what it says is no line of an export, so that every
byte of one is covered: by a signature, or by the form.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from fedward.common.errors import InputError
from fedward.common.ledger.chain import SignedEntry, canonical
from fedward.common.ledger.heads import LedgerHead
from fedward.common.protocol.fields import Wire

MOST_EXPORT_BYTES = 1 << 28
MOST_LINE_BYTES = 1 << 17
_HEAD = '{"head":'


class _HeadLine(Wire):
    head: LedgerHead


@dataclass(frozen=True, kw_only=True)
class RawLedger:
    """A ledger's text as it was found, unchecked: ``lines`` of entries, and that of its head.

    ``source`` names the file. ``head_line`` is None where there is none: in a ledger's own file,
    and in an export that was cut off.
    """

    source: str
    lines: tuple[str, ...]
    head_line: str | None


def export_lines(entries: Iterable[SignedEntry], head: LedgerHead) -> Iterator[str]:
    """The lines of an export, without their ends."""
    for entry in entries:
        yield canonical(entry)
    yield canonical(_HeadLine(head=head))


def raw_of_export(path: Path) -> RawLedger:
    r"""The lines of an export, each as it is; bytes that are no UTF-8 as ``\xff``.

    Raises :class:`InputError` if it cannot be read, is no ordinary file (a pipe would be waited
    for, a device has no end), is larger than 256 MiB or holds a line longer than 128 KiB.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise _unusable(path, "is no file")
        with path.open("rb") as file:
            content = file.read(MOST_EXPORT_BYTES + 1)
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror})") from error
    if len(content) > MOST_EXPORT_BYTES:
        raise _unusable(path, "is too large for an export of a ledger")
    pieces = content.split(b"\n")
    if pieces[-1] == b"":
        pieces.pop()
    for number, piece in enumerate(pieces, start=1):
        if len(piece) > MOST_LINE_BYTES:
            raise _unusable(path, "is too long for an entry of a ledger", line=number)
    lines = [piece.decode("utf-8", "backslashreplace") for piece in pieces]
    head_line = lines.pop() if lines and lines[-1].startswith(_HEAD) else None
    return RawLedger(source=str(path), lines=tuple(lines), head_line=head_line)


def signed_entry_of(line: str) -> SignedEntry:
    """The signed entry of one line; ``ValueError`` for any but its canonical form.

    Its signature and its place in the chain are not checked.
    """
    entry = SignedEntry.model_validate_json(line)
    if canonical(entry) != line:
        raise ValueError("not in the canonical form")
    return entry


def head_of(line: str) -> LedgerHead:
    """The head of its line; ``ValueError`` for any but its canonical form. Not checked."""
    parsed = _HeadLine.model_validate_json(line)
    if canonical(parsed) != line:
        raise ValueError("not in the canonical form")
    return parsed.head


def read_export(path: Path) -> tuple[tuple[SignedEntry, ...], LedgerHead]:
    """The entries and the head of an export; neither signatures nor the chain are checked.

    Raises :class:`InputError`, with the line, for anything that is no line of an export, and if the
    head is missing.
    """
    raw = raw_of_export(path)
    if raw.head_line is None:
        raise _unusable(path, "does not end with a ledger's head, so it was cut off")
    entries = []
    for number, line in enumerate(raw.lines, start=1):
        try:
            entries.append(signed_entry_of(line))
        except ValueError as error:
            raise _unusable(path, f"is no entry ({reason_of(error)})", line=number) from error
    try:
        head = head_of(raw.head_line)
    except ValueError as error:
        line_number = len(raw.lines) + 1
        raise _unusable(path, f"is no head ({reason_of(error)})", line=line_number) from error
    return tuple(entries), head


def reason_of(error: ValueError) -> str:
    """Why a text was no entry, in one line: the first fault, with its field."""
    if not isinstance(error, ValidationError):
        return str(error)
    found = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in found["loc"])
    message = found["msg"].splitlines()[0]
    return f"{where}: {message}" if where else message


def _unusable(path: Path, problem: str, *, line: int | None = None) -> InputError:
    return InputError(
        source=str(path),
        field=f"line {line}" if line is not None else "",
        problem=problem,
        fix="export the ledger again with `fedward site ledger export`",
    )
