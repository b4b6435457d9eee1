"""Whether entries follow each other: numbers without a gap, each naming the one before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from fedward.audits.books.entry_lines import ReadEntry
from fedward.common.ledger.entries import NOTHING_BEFORE, LedgerOpened

_LARGEST_GAP = 10**6
"""Numbers beyond this many lines are no gap that could be listed."""

Wrong = tuple[ReadEntry | None, str]
"""An entry and what is wrong with it; None for what is not there."""


def wrong_numbers(
    entries: Sequence[ReadEntry], *, last: int | None, unreadable: int
) -> Iterator[Wrong]:
    """Entries that are missing, there twice, or out of place.

    ``last`` is the number of the last entry by the ledger's head, None if it has none;
    ``unreadable`` how many lines stand for a number that cannot be read.
    """
    numbers = [read.entry.sequence for read in entries]
    highest = max([*numbers, -1 if last is None else last], default=-1)
    if highest > len(numbers) + unreadable + _LARGEST_GAP:
        yield None, f"entries up to {highest} are missing"
    else:
        runs = _missing(numbers, highest)
        if sum(end - first + 1 for first, end in runs) > unreadable:
            for first, end in runs:
                which = f"entry {first} is" if first == end else f"entries {first} to {end} are"
                yield None, f"{which} missing"
    for number, times in Counter(numbers).items():
        if times > 1:
            yield None, f"entry {number} is there {times} times"
    for read, expected in zip(entries, sorted(numbers), strict=True):
        if read.entry.sequence != expected:
            yield read, f"is out of place: entry {expected} belongs here"


def wrong_links(entries: Sequence[ReadEntry], *, believed: Collection[int]) -> Iterator[Wrong]:
    """Entries that name another one before them than there is.

    ``believed`` are the lines whose signature is right; of the others it is known that they were
    changed, and a link that fails with them says nothing new.
    """
    at = {read.entry.sequence: read for read in entries}
    for number, read in at.items():
        if number and isinstance(read.entry, LedgerOpened):
            yield read, "opens a ledger again"
        before = at.get(number - 1)
        if number == 0:
            expected = NOTHING_BEFORE
        elif before is not None and before.line in believed:
            expected = before.digest
        else:
            continue
        if read.line in believed and read.entry.previous != expected:
            name = f"entry {number - 1}" if number else "nothing"
            yield read, f"does not follow {name}: it names another digest before it"


def _missing(numbers: Sequence[int], last: int) -> list[tuple[int, int]]:
    """Runs of numbers from 0 to ``last`` that are not there."""
    runs: list[tuple[int, int]] = []
    for number in sorted(set(range(last + 1)).difference(numbers)):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
