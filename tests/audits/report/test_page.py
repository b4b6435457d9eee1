from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from fedward.audits.findings import CheckResult, Finding
from fedward.audits.report.document import AuditReport
from fedward.audits.report.page import page_digest, render_page, taken_apart, with_data
from fedward.simulations.report import numbers

KEY = "ab" * 32
VOID = {"meta", "link", "br", "img", "input", "hr"}
EVIL = "</title><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }} & \"'"


class Reader(HTMLParser):
    """Tags with their attributes, and tables as rows of cells (text, machine values)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.tables: dict[str, list[list[tuple[str, list[str]]]]] = {}
        self._table = ""
        self._cell = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._table = values.get("id") or f"table-{len(self.tables)}"
            self.tables[self._table] = []
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag in {"td", "th"}:
            self.tables[self._table][-1].append(("", []))
            self._cell = True
        elif tag == "data" and self._cell:
            self.tables[self._table][-1][-1][1].append(values.get("value") or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in {"td", "th"}:
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            text, values = self.tables[self._table][-1][-1]
            self.tables[self._table][-1][-1] = (text + data, values)


@pytest.fixture(scope="module")
def text(body: AuditReport) -> str:
    return render_page(body, auditor_key=KEY)


def test_the_page_asks_nothing_of_the_outside_and_runs_nothing(text: str) -> None:
    reader = Reader(text)
    assert reader.open == []
    assert not re.search(r"https?:|//www|@import|@font-face|javascript:|url\(", text)
    forbidden = {"link", "iframe", "object", "embed", "base", "form"}
    assert not forbidden & {tag for tag, _ in reader.tags}
    scripts = [attrs for tag, attrs in reader.tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "signed-report"}]
    for tag, attrs in reader.tags:
        assert not {"srcset", "action"} & set(attrs)
        assert not any(name.startswith("on") for name in attrs)
        assert (attrs.get("src") or "data:image/png;base64,").startswith("data:image/png;base64,")
        assert (attrs.get("href") or "#").startswith("#"), tag


def test_ids_are_unique_and_every_reference_finds_one(text: str) -> None:
    reader = Reader(text)
    ids = [found for _, attrs in reader.tags if (found := attrs.get("id"))]
    assert len(ids) == len(set(ids))
    wanted = set()
    for _, attrs in reader.tags:
        target = attrs.get("href") or ""
        wanted |= {target[1:]} if target.startswith("#") else set()
        wanted |= set((attrs.get("aria-labelledby") or "").split())
    assert wanted <= set(ids)


def test_pictures_and_tables_are_named_for_those_who_cannot_see_them(text: str) -> None:
    reader = Reader(text)
    pictures = [attrs for tag, attrs in reader.tags if tag == "svg"]
    assert len(pictures) == 4
    assert all(attrs["role"] == "img" and attrs["aria-labelledby"] for attrs in pictures)
    images = [attrs for tag, attrs in reader.tags if tag == "img"]
    assert len(images) == 3
    assert all(attrs["alt"] for attrs in images)
    assert len(re.findall("<caption", text)) == len(reader.tables)
    regions = [attrs for tag, attrs in reader.tags if (attrs.get("class") or "") == "scroll"]
    assert all(attrs.get("tabindex") == "0" and attrs.get("aria-label") for attrs in regions)


def test_the_numbers_of_the_ledgers_are_in_the_table(body: AuditReport, text: str) -> None:
    rows = Reader(text).tables["spent-table"][1:]
    accounts = [(site, account) for site in body.sites for account in site.accounts]
    assert len(rows) == len(accounts) == 6
    for row, (site, account) in zip(rows, accounts, strict=True):
        assert row[0][0] == site.site
        assert row[1][0] == f"{account.kind} {account.name}"
        for cell, value in (
            (row[2], account.epsilon),
            (row[3], account.epsilon_cap),
            (row[4], account.epsilon_alone),
        ):
            assert cell == (("-", []) if value is None else (numbers.epsilon(value), [repr(value)]))
        releases = sum(line.releases for line in account.charges)
        assert row[7][0] == str(releases)


def test_attacks_and_bounds_are_in_their_tables(body: AuditReport, text: str) -> None:
    assert body.attacks is not None
    assert body.empirical is not None
    tables = Reader(text).tables
    rows = tables["attack-table"][1:]
    assert [row[0][0].split("share")[0] for row in rows] == [
        attack.title for attack in body.attacks.attacks
    ]
    assert rows[0][1] == ("0.800 (0.010)", ["0.8", "0.01"])
    assert rows[1][3][0] == "too many patients"
    assert rows[1][4][0] == "not tried"
    assert all(row[5][0] == "not told from guessing" for row in rows)
    bounds = tables["lower-bounds"][1:]
    # A lower bound is rounded down, a claim is not.
    claims = [claim for claim in body.empirical.claims for _ in claim.bounds]
    assert [row[1][0] for row in bounds] == [numbers.epsilon(one.claimed) for one in claims]
    lower = [bound.epsilon for claim in body.empirical.claims for bound in claim.bounds]
    assert [row[2][0] for row in bounds] == [f"{math.floor(100 * one) / 100:.2f}" for one in lower]
    assert any(100 * one % 1 > 0.5 for one in lower)


def test_failed_checks_come_first_with_what_they_found(body: AuditReport) -> None:
    finding = Finding(severity="error", where="ledger, line 7", sentence="was changed")
    bad = CheckResult(name="run_log", passed=False, sentence="It is not.", findings=(finding,))
    page = render_page(body.model_copy(update={"checks": (*body.checks, bad)}), auditor_key=KEY)
    section = page[page.index('id="checks"') :]
    assert section.index("Failed (1)") < section.index("Passed (")
    assert section.index("ledger, line 7") < section.index("Passed (")
    assert "Run log" in section
    assert 'class="verdict bad" role="alert"' in page


def test_hostile_text_stays_text(body: AuditReport) -> None:
    checks = [
        CheckResult(
            name=EVIL,
            passed=False,
            sentence=EVIL,
            findings=(Finding(severity="error", where=EVIL, sentence=EVIL),),
        )
    ]
    assert body.attacks is not None
    records = (
        body.attacks.attacks[0].reconstructions[0].model_copy(update={"names": (EVIL, EVIL, EVIL)})
    )
    attack = body.attacks.attacks[0].model_copy(
        update={"title": EVIL, "explanation": EVIL, "measure": EVIL, "reconstructions": (records,)}
    )
    account = body.sites[0].accounts[0].model_copy(update={"name": EVIL})
    site = body.sites[0].model_copy(
        update={"site": EVIL, "accounts": (account, *body.sites[0].accounts[1:])}
    )
    report = body.model_copy(
        update={
            "study": body.study.model_copy(update={"title": EVIL, "name": EVIL}),
            "run": body.run.model_copy(update={"name": EVIL}),
            "checks": tuple(checks),
            "attacks": body.attacks.model_copy(update={"attacks": (attack,), "notes": (EVIL,)}),
            "sites": (site, *body.sites[1:]),
            "notes": (EVIL,),
            "versions": {EVIL: EVIL},
        }
    )
    page = render_page(report, auditor_key=KEY)
    reader = Reader(page)
    assert reader.open == []
    assert [attrs for tag, attrs in reader.tags if tag == "script"] == [
        {"type": "application/json", "id": "signed-report"}
    ]
    assert not [attrs for tag, attrs in reader.tags if tag == "img"]
    assert "{{ 7 * 7 }}" in page


@pytest.mark.parametrize(
    "fields",
    [
        {"empirical": None},
        {"attacks": None},
        {"sites": ()},
        {"sites": (), "ledgers": (), "checks": (), "empirical": None, "attacks": None},
    ],
)
def test_a_report_of_less_is_a_whole_page(fields: dict[str, Any], body: AuditReport) -> None:
    page = render_page(body.model_copy(update=fields), auditor_key=KEY)
    assert Reader(page).open == []
    if "empirical" in fields:
        assert "<code>fedward audit empirical</code>" in page
    if "attacks" in fields:
        assert "<code>fedward audit attack</code>" in page


def test_a_new_key_is_told(body: AuditReport) -> None:
    fresh = render_page(body.model_copy(update={"fresh_key": True}), auditor_key=KEY)
    assert "That key was made for this report" in fresh
    assert "That key was made for this report" not in render_page(body, auditor_key=KEY)


def test_equal_reports_give_equal_bytes(body: AuditReport, text: str) -> None:
    again = AuditReport.model_validate_json(body.model_dump_json())
    assert render_page(again, auditor_key=KEY) == text


def test_data_come_out_of_the_page_as_they_went_in(text: str) -> None:
    whole = with_data(text, '{"a": 1}\n')
    around, data = taken_apart(whole)
    assert (around, data) == (text, '{"a": 1}\n')
    assert page_digest(around) == page_digest(text)
    for broken in ("no page", text + text, text.replace("</script>", "")):
        with pytest.raises(ValueError, match="signed data"):
            taken_apart(broken)
