"""Whether a page can do nothing: no program, nothing from elsewhere, under its own policy.

A signature says who made a page, not that it is harmless. What a browser would fetch or run is
looked for by an allow list of elements and attributes, whatever version of fedward drew the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from typing import Final

from fedward.audits.findings import CheckResult, Finding

POLICY: Final = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "style-src 'unsafe-inline'; img-src data:\">"
)
_BEGINNING: Final = re.compile(
    r'<!DOCTYPE html>\s*<html lang="en">\s*<head>\s*<meta charset="utf-8">\s*'
    r'(<meta name="viewport" content="[a-z0-9=, .-]*">\s*)?' + re.escape(POLICY)
)
_ELEMENTS: Final = frozenset(
    """
    a b body br caption circle code data dd desc details div dl dt em figcaption figure
    footer g h1 h2 h3 h4 head header html i img li line main meta nav ol p path polygon
    polyline pre rect section small span strong style sub summary sup svg table tbody td
    text th thead title tr ul
    """.split()  # noqa: SIM905
)
_ATTRIBUTES: Final = frozenset(
    """
    alt aria-describedby aria-hidden aria-label aria-labelledby charset class colspan
    content cx cy d height hidden href http-equiv id lang name open points r role
    rowspan scope src style tabindex text-anchor transform value viewbox width x x1 x2 y
    y1 y2
    """.split()  # noqa: SIM905
)
_DATA: Final = [("type", "application/json"), ("id", "signed-report")]
_PICTURE: Final = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=\s]*")
_FETCHES: Final = re.compile(r"url\s*\(|@import|image-set|expression\s*\(|\\", re.IGNORECASE)


def check_inert(around: str) -> CheckResult:
    """Whether a page without its data loads nothing and runs nothing."""
    findings = [] if _BEGINNING.match(around) else [("page", "does not begin with its policy")]
    page = _Page()
    page.feed(around)
    page.close()
    findings += page.found
    return CheckResult(
        name="Harmless page",
        passed=not findings,
        sentence="The page may load something or run a program, which no report does. Do not open "
        "it in a browser."
        if findings
        else "The page loads nothing from anywhere and runs no program.",
        findings=tuple(
            Finding(severity="error", where=where, sentence=sentence)
            for where, sentence in findings
        ),
    )


class _Page(HTMLParser):
    """Collects what does not belong."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._policies = 0
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        if tag == "script" and attrs == _DATA:
            return
        if tag not in _ELEMENTS:
            self._say(f"has an element <{tag}>")
            return
        for sentence in _of_attributes(tag, attrs):
            self._say(sentence)
        if tag == "meta" and "http-equiv" in dict(attrs):
            self._policies += 1
            if self._policies > 1:
                self._say("has a second instruction to browsers")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._in_style = False

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - of the base class
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if self._in_style and _FETCHES.search(data):
            self._say("has a style that loads something")

    def handle_comment(self, data: str) -> None:  # noqa: ARG002 - of the base class
        self._say("has a comment, which browsers may read in other ways")

    def unknown_decl(self, data: str) -> None:  # noqa: ARG002 - of the base class
        self._say("has a declaration")

    def handle_pi(self, data: str) -> None:  # noqa: ARG002 - of the base class
        self._say("has an instruction to a program")

    def _say(self, sentence: str) -> None:
        self.found.append((f"page, line {self.getpos()[0]}", sentence))


def _of_attributes(tag: str, attrs: Sequence[tuple[str, str | None]]) -> Iterator[str]:
    for name, value in attrs:
        text = value or ""
        if name not in _ATTRIBUTES:
            yield f"has <{tag} {name}>"
        elif name == "href" and not text.startswith("#"):
            yield "has a link that leads elsewhere"
        elif name == "src" and not _PICTURE.fullmatch(text):
            yield "has a picture that is not in it"
        elif name == "style" and _FETCHES.search(text):
            yield "has a style that loads something"
        elif name == "http-equiv" and text != "Content-Security-Policy":
            yield f"has an instruction to browsers, {text[:40]!r}"
