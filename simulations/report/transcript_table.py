"""A transcript summed up: each kind of message, how many there were, and all that they hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from fedward.simulations.transcript import TranscriptArray, TranscriptLine


def transcript_table(lines: Iterable[TranscriptLine]) -> Table:
    """One row for each direction and kind, in the order in which they first crossed.

    Fields within fields are told as "outer.inner"; nothing that crossed is left out.
    """
    groups: dict[tuple[str, str], list[TranscriptLine]] = {}
    for line in lines:
        groups.setdefault((line.direction, line.kind), []).append(line)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("message", no_wrap=True)
    table.add_column("number", justify="right")
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("what is in it", overflow="fold", ratio=1)
    for (direction, kind), same in groups.items():
        held = [*_names(line.fields for line in same), *_arrays(same)]
        if any(line.error for line in same):
            held = ["no frame came; why is in the transcript"]
        table.add_row(
            Text(f"{kind}\n  {direction}"),
            Text(str(len(same))),
            Text(_range([line.bytes for line in same])),
            Text(", ".join(held)),
        )
    return table


def _names(bodies: Iterable[Mapping[str, Any]]) -> list[str]:
    found: dict[str, None] = {}
    for body in bodies:
        found |= dict.fromkeys(_paths(body, ""))
    return list(found)


def _paths(value: Any, path: str) -> Iterable[str]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _paths(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for item in value:
            yield from _paths(item, path)
    else:
        yield path


def _arrays(lines: Sequence[TranscriptLine]) -> list[str]:
    found: dict[str, list[TranscriptArray]] = {}
    for line in lines:
        for array in line.arrays:
            found.setdefault(f"{array.name} {array.dtype}", []).append(array)
    return [
        f"{name} [{_range([array.shape[0] if array.shape else 1 for array in same])}]"
        for name, same in found.items()
    ]


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
