"""Where two texts differ, shown so that a person finds it."""

from __future__ import annotations

from difflib import SequenceMatcher
from itertools import islice
from typing import Final

from fedward.audits.findings import Finding

MOST_DIFFERENCES: Final = 5
MOST_LINES: Final = 400
"""Lines that are matched with each other; that takes their number squared."""
_AROUND: Final = 24
_LONGEST: Final = 60


def differences(found: str, expected: str, *, where: str) -> list[Finding]:
    """The first few places at which ``found`` is not ``expected``, by line, as errors.

    What both begin and end with is left out first, and of the rest only so many lines are matched
    that anyone's text is compared in a moment.
    """
    ours, theirs = found.split("\n"), expected.split("\n")
    start = _shared(ours, theirs)
    ours, theirs = ours[start:], theirs[start:]
    end = _shared(ours[::-1], theirs[::-1])
    ours, theirs = ours[: len(ours) - end], theirs[: len(theirs) - end]
    places = [
        (start + begin + 1, _said("\n".join(ours[begin:stop]), "\n".join(theirs[first:last])))
        for first, last, begin, stop in _matched(ours[:MOST_LINES], theirs[:MOST_LINES])
    ]
    if not places and (ours or theirs):
        # Equal as far as they were matched: one of them goes on.
        places = [(start + 1, _said("\n".join(ours), "\n".join(theirs)))]
    return [
        Finding(severity="error", where=f"{where}, line {line}", sentence=sentence)
        for line, sentence in places
    ]


def _matched(ours: list[str], theirs: list[str]) -> list[tuple[int, int, int, int]]:
    matcher = SequenceMatcher(a=theirs, b=ours, autojunk=False)
    changed = (codes[1:] for codes in matcher.get_opcodes() if codes[0] != "equal")
    return list(islice(changed, MOST_DIFFERENCES))


def _shared(ours: list[str], theirs: list[str]) -> int:
    """How many lines both begin with."""
    count = 0
    for one, other in zip(ours, theirs, strict=False):
        if one != other:
            break
        count += 1
    return count


def _said(found: str, expected: str) -> str:
    if not expected:
        return f"has {_quoted(found)} where nothing belongs"
    if not found:
        return f"lacks {_quoted(expected)}"
    start = 0
    while start < min(len(found), len(expected)) and found[start] == expected[start]:
        start += 1
    end = 0
    while (
        end < min(len(found), len(expected)) - start
        and found[len(found) - 1 - end] == expected[len(expected) - 1 - end]
    ):
        end += 1
    before = max(0, start - _AROUND)
    after = max(0, end - _AROUND)
    return (
        f"has {_quoted(found[before : len(found) - after])} where "
        f"{_quoted(expected[before : len(expected) - after])} belongs"
    )


def _quoted(text: str) -> str:
    short = text if len(text) <= 2 * _LONGEST else f"{text[:_LONGEST]} ... {text[-_LONGEST:]}"
    return f'"{" ".join(short.split())}"'
