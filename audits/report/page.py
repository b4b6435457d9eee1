"""The page of a report: one HTML file that opens offline and carries its own signed data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fedward.audits.report.bounds_plot import at_least, bound_rows, bounds_picture
from fedward.audits.report.document import AuditReport
from fedward.audits.report.guarantee import BEFORE, headline_of, promises_of, verdict_of
from fedward.audits.report.page_tables import (
    attack_rows,
    check_groups,
    check_name,
    spending_rows,
)
from fedward.audits.report.reconstructions import CLOSE, VIEW_NAMES, short_value, shown_records
from fedward.audits.report.spending_plot import MOST_SITES, drawn_sites, spending_pictures
from fedward.simulations import report as simulated
from fedward.simulations.report import cells, numbers

PAGE_NAME: Final = "report.html"
JSON_NAME: Final = "report.json"
_HERE: Final = Path(__file__).parent
_THERE: Final = Path(simulated.__file__).parent
_OPEN: Final = '<script type="application/json" id="signed-report">'
_CLOSE: Final = "</script>"


def render_page(report: AuditReport, *, auditor_key: str) -> str:
    """The page without its data; equal reports and keys (hex) give equal pages, to the byte."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": cells.number,
        "epsilon": cells.epsilon,
        "at_least": at_least,
        "check_name": check_name,
        "short_value": short_value,
        "percent": numbers.percent,
        "percent_at_most": numbers.percent_at_most,
        "factor_at_most": numbers.factor_at_most,
        "one_in": numbers.one_in,
    }
    context = {**_context(report), "auditor_key": auditor_key}
    return environment.get_template("report.html").render(context) + "\n"


def page_digest(around: str) -> str:
    """SHA-256 (hex) of a page without its data, as the auditor signs it."""
    return hashlib.sha256(around.encode()).hexdigest()


def with_data(around: str, data: str) -> str:
    """The page with the text of ``report.json`` in it."""
    head, tail = _halves(around)
    return head + data + tail


def taken_apart(page: str) -> tuple[str, str]:
    """A page without its data, and the data's text.

    Raises:
        ValueError: it holds no data, or more than one set of them.
    """
    head, tail = _halves(page)
    data, close, rest = tail.partition(_CLOSE)
    return head + close + rest, data


def _halves(page: str) -> tuple[str, str]:
    if page.count(_OPEN) != 1:
        raise ValueError("the page must hold exactly one set of signed data")
    head, tag, tail = page.partition(_OPEN)
    if _CLOSE not in tail:
        raise ValueError("the page's signed data do not end")
    return head + tag, tail


def _context(report: AuditReport) -> Mapping[str, Any]:
    promises = promises_of(report)
    rows = bound_rows(report, promises)
    return {
        "report": report,
        "css": Markup((_THERE / "report.css").read_text("utf-8")),  # noqa: S704 - our own file
        "own_css": Markup((_HERE / "report.css").read_text("utf-8")),  # noqa: S704 - our own file
        "data_block": Markup(_OPEN + _CLOSE),  # noqa: S704 - fixed text
        "verdict": verdict_of(report),
        "headline": headline_of(report, promises),
        "promises": promises,
        "before": BEFORE,
        "bounds": rows,
        "bounds_picture": bounds_picture(rows),
        "spending": spending_rows(report),
        "spending_pictures": [
            picture
            for number, site in enumerate(drawn_sites(report.sites))
            for picture in spending_pictures(site, number=number)
        ],
        "most_sites": MOST_SITES,
        "attacks": attack_rows(report.attacks) if report.attacks else (),
        "view_names": VIEW_NAMES,
        "close": CLOSE,
        "records": [
            (attack, shown_records(attack))
            for attack in (report.attacks.attacks if report.attacks else ())
            if attack.reconstructions
        ],
        "check_groups": check_groups(report),
        "page_name": PAGE_NAME,
        "json_name": JSON_NAME,
    }
