from __future__ import annotations

import re

import pytest

from fedward.audits.report.bounds_plot import at_least, bound_rows, bounds_picture
from fedward.audits.report.document import AuditReport
from fedward.audits.report.guarantee import promises_of


def areas(svg: str, style: str) -> list[tuple[float, float]]:
    """Left edge and width of the rectangles of one class."""
    found = re.findall(rf'<rect class="{style}" x="([^"]*)" y="[^"]*" width="([^"]*)"', svg)
    return [(float(x), float(width)) for x, width in found]


def test_rows_hold_upper_and_lower_bounds(body: AuditReport) -> None:
    first, second = bound_rows(body, promises_of(body))
    assert (first.name, first.claimed, first.confidence) == ("epsilon", 3.0, 0.95)
    assert (second.name, second.claimed) == ("epsilon alone", pytest.approx(4.5, abs=0.05))
    assert body.empirical is not None
    assert first.lower == body.empirical.claims[0].highest
    assert first.spent == promises_of(body)[0].spent


def test_without_an_empirical_audit_the_study_claims(body: AuditReport) -> None:
    bare = body.model_copy(update={"empirical": None})
    first, second = bound_rows(bare, promises_of(bare))
    assert (first.claimed, first.lower, first.confidence) == (3.0, None, None)
    assert second.claimed is None
    drawn = bounds_picture((first, second))
    assert areas(str(drawn.svg), "lower") == []
    assert "by an attack" not in drawn.description


def test_the_band_reaches_from_the_lower_bound_to_the_claim(body: AuditReport) -> None:
    rows = bound_rows(body, promises_of(body))
    svg = str(bounds_picture(rows).svg)
    for band, lower, claim in zip(
        areas(svg, "possible"), areas(svg, "lower"), areas(svg, "claim"), strict=True
    ):
        assert band[0] == pytest.approx(lower[0] + 2, abs=0.02)
        assert band[0] + band[1] == pytest.approx(claim[0] + 2, abs=0.02)


def test_a_broken_claim_is_drawn_too(body: AuditReport) -> None:
    first, second = bound_rows(body, promises_of(body))
    broken = first.__class__(name="epsilon", claimed=0.5, spent=0.4, lower=2.0, confidence=0.95)
    drawn = bounds_picture((broken, second))
    assert areas(str(drawn.svg), "possible")[0][1] == 0
    assert "claimed 0.50" in drawn.description
    assert "at least 2.00" in drawn.description


def test_nothing_known_is_said(body: AuditReport) -> None:
    nothing = body.model_copy(update={"empirical": None, "sites": ()})
    rows = bound_rows(nothing, ())
    assert "epsilon alone: no bound." in bounds_picture(rows).description


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.239, "1.23"), (1.23, "1.23"), (0.0, "0.00"), (2.9999, "2.99"), (None, "-")],
)
def test_a_lower_bound_is_rounded_down(value: float | None, shown: str) -> None:
    assert at_least(value) == shown
