from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from fedward.simulations.report.transcript_table import transcript_table
from fedward.simulations.transcript import TranscriptArray, TranscriptLine


def line(kind: str, *, length: int | None = None, **changes: Any) -> TranscriptLine:
    arrays = []
    if length is not None:
        arrays = [
            TranscriptArray(
                name="total", dtype="uint64", shape=[length], bytes=8 * length, sha256="", first=[]
            )
        ]
    fields: dict[str, Any] = {
        "direction": "to coordinator",
        "node": 2,
        "site": "a",
        "kind": kind,
        "bytes": 100,
        "sha256": "",
        "fields": {},
        "arrays": arrays,
    }
    return TranscriptLine(**(fields | changes))


def shown(*lines: TranscriptLine) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=160).print(transcript_table(lines))
    return [" ".join(text.split()) for text in stream.getvalue().splitlines()[1:]]


def test_a_row_sums_up_all_messages_of_one_kind_and_direction() -> None:
    rows = shown(
        line("sum", length=3, fields={"site": "a", "executed": {"count": 1}}),
        line("open", direction="to site", fields={"offers": []}),
        line("sum", length=31, bytes=250, fields={"executed": None, "masked": True}),
    )

    assert rows == [
        "sum 2 100 to 250 site, executed.count, executed, masked, total uint64 [3 to 31]",
        "to coordinator",
        "open 1 100 offers",
        "to site",
    ]


def test_fields_within_lists_are_told_too() -> None:
    (row, _) = shown(
        line("open", fields={"offers": [{"key": "1", "site": "a"}, {"key": "2"}], "roster": ["a"]})
    )

    assert row.endswith("offers.key, offers.site, roster")


def test_an_error_is_no_frame() -> None:
    (row, _) = shown(line("error", error="SiteDown: it is down", bytes=0))

    assert row == "error 1 0 no frame came; why is in the transcript"
