"""Delimited text files as tables of text: read strictly, never guessing at a damaged file."""

from __future__ import annotations

import codecs
import csv
import difflib
import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from fedward.common.errors import InputError
from fedward.common.validation_messages import suggestion

MAX_BYTES = 2 * 1024**3
_PROBE = 64 * 1024


class TableFormat(BaseModel):
    """How a delimited text file is written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    delimiter: Annotated[str, Field(min_length=1, max_length=1, pattern=r'^[^"\r\n]$')] = ","
    columns: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Names of the columns of a file without a header line; None: its first line names them."""
    missing: tuple[str, ...] = ()
    """What stands for a missing value, beside an empty cell."""
    encoding: Literal["utf-8", "latin-1", "cp1252"] = "utf-8"


def read_table(
    path: Path, table_format: TableFormat | None = None, *, wanted: Collection[str] | None = None
) -> pd.DataFrame:
    """Read a file as a table of text, missing cells as None.

    Blanks at the ends of cells are cut. The index, named "line", is each record's line in the
    file (its last, if quoted cells span several). Only the ``wanted`` columns are kept.

    Raises :class:`InputError` for a file that is absent, too large (over 2 GiB), no text, without
    records, with lines of different length, with repeated column names, or lacking a wanted
    column. Not covered: compressed files, decimal commas, several header lines.
    """
    table_format = table_format or TableFormat()
    source = str(path)
    with _records_of(path, table_format) as found:
        names, records = _header(found, table_format, source)
        keep = _positions(names, wanted, table_format, source)
        return _collect(records, names, keep, table_format, source)


def column_names(path: Path, table_format: TableFormat | None = None) -> tuple[str, ...]:
    """Names of a file's columns; raises what :func:`read_table` raises of its first line."""
    table_format = table_format or TableFormat()
    with _records_of(path, table_format) as found:
        return _header(found, table_format, str(path))[0]


Record = tuple[int, list[str]]


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    source = str(path)
    try:
        if path.is_dir():
            raise _error(source, "is a folder", "name a CSV file inside it")
        if not path.exists():
            names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
            near = difflib.get_close_matches(path.name, names, n=1)
            fix = f"did you mean {near[0]!r}" if near else "check the path"
            raise _error(source, "there is no such file", fix)
        if not path.is_file():
            raise _error(source, "is not a regular file", "name a CSV file")
        if path.stat().st_size > MAX_BYTES:
            raise _error(source, "is larger than 2 GiB", "split it, or keep fewer columns")
        file = path.open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _error(source, f"cannot be read ({reason})", "check its permissions") from None
    with file:
        yield file


@contextmanager
def _records_of(path: Path, table_format: TableFormat) -> Iterator[Iterator[Record]]:
    with _opened(path) as file:
        _check_text(file, str(path))
        encoding = "utf-8-sig" if table_format.encoding == "utf-8" else table_format.encoding
        text = io.TextIOWrapper(file, encoding=encoding, newline="")
        yield _records(text, table_format.delimiter, str(path))


def _check_text(file: BinaryIO, source: str) -> None:
    probe = file.read(_PROBE)
    file.seek(0)
    if probe.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise _error(source, "is UTF-16 text", "save it as CSV in UTF-8")
    if b"\0" in probe:
        raise _error(source, "is no CSV file (it holds binary data)", "export it as CSV in UTF-8")
    if not probe.strip():
        raise _error(source, "is empty", "give a CSV file with a line for each record")


def _records(text: Iterable[str], delimiter: str, source: str) -> Iterator[Record]:
    """Records that are not blank, each with its line."""
    # Strict: a record that is cut off or badly quoted is an error and not a cell.
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except UnicodeDecodeError as error:
            line = _undecodable(source, error.encoding)
            raise _error(
                source,
                f"is not {error.encoding.upper()} text (line {line})",
                "save it as UTF-8, or name its encoding",
            ) from None
        except csv.Error as error:
            raise _error(
                source, f"is no CSV file (line {line}: {error})", "export it as CSV again"
            ) from None
        if any("\0" in cell for cell in cells):
            raise _error(
                source, f"is no CSV file (line {line} holds binary data)", "export it as CSV again"
            )
        if cells and any(cell.strip() for cell in cells):
            yield reader.line_num, [cell.strip() for cell in cells]


def _undecodable(source: str, encoding: str) -> int:
    """The line that cannot be decoded; the reader, which decodes ahead, cannot tell."""
    with Path(source).open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode(encoding)
            except UnicodeDecodeError:
                return number
    return 0


def _header(
    records: Iterator[Record], table_format: TableFormat, source: str
) -> tuple[tuple[str, ...], Iterator[Record]]:
    if table_format.columns is None:
        first = next(records, None)
        if first is None:
            raise _error(source, "is empty", "give a CSV file with a line for each record")
        names = tuple(first[1])
    else:
        names = table_format.columns
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise _error(
            source, f"names the column {repeated[0]!r} twice", "give each column its own name"
        )
    return names, records


def _positions(
    names: Sequence[str], wanted: Collection[str] | None, table_format: TableFormat, source: str
) -> list[int]:
    if wanted is None:
        return list(range(len(names)))
    for name in wanted:
        if name in names:
            continue
        fix = suggestion(name, names)
        if len(names) == 1 and table_format.columns is None:
            fix += f", or set the delimiter: no {table_format.delimiter!r} is in the first line"
        raise InputError(
            source=source, field=f"column {name!r}", problem="is not in the file", fix=fix
        )
    chosen = set(wanted)
    return [position for position, name in enumerate(names) if name in chosen]


def _collect(
    records: Iterator[Record],
    names: Sequence[str],
    keep: Sequence[int],
    table_format: TableFormat,
    source: str,
) -> pd.DataFrame:
    missing = {token.strip() for token in table_format.missing} | {""}
    lines: list[int] = []
    columns: list[list[str | None]] = [[] for _ in keep]
    # Equal cells share one string: a column of a million categories is small.
    shared: dict[str, str | None] = dict.fromkeys(missing)
    for line, cells in records:
        if len(cells) != len(names):
            raise _error(
                source,
                f"has {len(cells)} cells in line {line}, but {len(names)} columns",
                "mend that line, or set the delimiter or the list of columns",
            )
        lines.append(line)
        for column, position in zip(columns, keep, strict=True):
            cell = cells[position]
            column.append(shared.setdefault(cell, cell))
    if not lines:
        raise _error(source, "holds no records", "give it a line for each record")
    data = {names[p]: column for p, column in zip(keep, columns, strict=True)}
    index = pd.Index(lines, name="line")
    return pd.DataFrame(data, index=index, dtype=object)


def _error(source: str, problem: str, fix: str) -> InputError:
    return InputError(source=source, field="", problem=problem, fix=fix)
