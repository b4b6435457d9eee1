"""Records that attacks made, as pictures and as tables; equal to the byte wherever drawn."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from fedward.audits.attacks.result import VIEWS, AttackResult, Reconstruction, View

MOST_SHOWN: Final = 4
"""Records of one attack that the page shows; all are in report.json."""
MOST_FEATURES: Final = 10
CLOSE: Final = 0.02
"""A value counts as found if it is off by at most this share of the true one."""
VIEW_NAMES: Final[dict[View, str]] = {
    "raw": "Raw update",
    "clipped": "Clipped only",
    "masked": "Masked only",
    "noised": "What fedward releases",
}


@dataclass(frozen=True, kw_only=True)
class FeatureRow:
    """One feature of a record: the true value, and under each view what was found, if anything."""

    name: str
    actual: float
    found: tuple[float | None, ...]

    def is_close(self, value: float | None) -> bool:
        """Whether a found value gives the true one away."""
        return value is not None and abs(value - self.actual) <= CLOSE * abs(self.actual)


@dataclass(frozen=True, kw_only=True)
class ShownRecord:
    """One record and what each view gave away of it: pictures, or values by feature."""

    pictures: tuple[tuple[str, Markup | None], ...]
    rows: tuple[FeatureRow, ...]
    views: tuple[str, ...]
    left_out: int


def check_records(attack: AttackResult) -> None:
    """Raise ``ValueError`` for a record whose values do not fit its names or its picture."""
    for number, record in enumerate(attack.reconstructions, start=1):
        found = [values for values in record.found.values() if values is not None]
        if any(len(values) != len(record.names) for values in (record.true, *found)):
            raise ValueError(f"{attack.name}: record {number} has not one value for each feature")
        rows, columns = record.picture or (1, len(record.names))
        if min(rows, columns) < 1 or rows * columns != len(record.names):
            raise ValueError(f"{attack.name}: record {number} is no {rows} x {columns} picture")


def short_value(value: float | None) -> str:
    """A feature's value with four significant digits; "-" for none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def shown_records(attack: AttackResult) -> tuple[ShownRecord, ...]:
    """The first few records of an attack."""
    return tuple(_shown(record) for record in attack.reconstructions[:MOST_SHOWN])


def _shown(record: Reconstruction) -> ShownRecord:
    views = [view for view in VIEWS if view in record.found]
    names = tuple(VIEW_NAMES[view] for view in views)
    if record.picture is not None:
        low, high = min(record.true), max(record.true)
        drawn: list[tuple[str, Markup | None]] = [
            ("The record", _image(record.true, record.picture, low, high, "The record"))
        ]
        for view in views:
            found = record.found[view]
            words = f"What was made of it: {VIEW_NAMES[view]}"
            image = None if found is None else _image(found, record.picture, low, high, words)
            drawn.append((VIEW_NAMES[view], image))
        return ShownRecord(pictures=tuple(drawn), rows=(), views=names, left_out=0)
    shown = min(MOST_FEATURES, len(record.names))
    rows = tuple(
        FeatureRow(
            name=record.names[index],
            actual=record.true[index],
            found=tuple(_at(record, view, index) for view in views),
        )
        for index in range(shown)
    )
    return ShownRecord(pictures=(), rows=rows, views=names, left_out=len(record.names) - shown)


def _at(record: Reconstruction, view: View, index: int) -> float | None:
    found = record.found[view]
    return None if found is None else found[index]


def _image(
    values: Sequence[float], shape: tuple[int, int], low: float, high: float, words: str
) -> Markup:
    """Grey pixels as an image that is part of the page; ``low`` is black, ``high`` white."""
    rows, columns = shape
    span = (high - low) or 1.0
    grey = bytes(
        round(255 * min(1.0, max(0.0, (value - low) / span))) if math.isfinite(value) else 0
        for value in values
    )
    data = base64.b64encode(_png(grey, rows=rows, columns=columns)).decode()
    return Markup(
        '<img class="pixels" alt="{}" width="{}" height="{}" src="data:image/png;base64,{}">'
    ).format(words, columns, rows, data)


def _png(grey: bytes, *, rows: int, columns: int) -> bytes:
    """An 8-bit grey PNG (ISO 15948), stored without compression, which libraries do differently."""
    lines = b"".join(
        b"\0" + grey[start : start + columns] for start in range(0, rows * columns, columns)
    )
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0))
        + _chunk(b"IDAT", _stored(lines))
        + _chunk(b"IEND", b"")
    )


def _stored(data: bytes) -> bytes:
    """A zlib stream (RFC 1950) of stored blocks (RFC 1951, section 3.2.4)."""
    blocks = [data[start : start + 65535] for start in range(0, len(data), 65535)] or [b""]
    body = b"".join(
        struct.pack("<BHH", index == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
        for index, block in enumerate(blocks)
    )
    return b"\x78\x01" + body + struct.pack(">I", zlib.adler32(data))


def _chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
