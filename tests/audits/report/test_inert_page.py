from __future__ import annotations

import pytest

from fedward.audits.report.document import AuditReport
from fedward.audits.report.inert_page import POLICY, check_inert
from fedward.audits.report.page import render_page


@pytest.fixture(scope="module")
def page(body: AuditReport) -> str:
    return render_page(body, auditor_key="ab" * 32)


def test_a_page_of_ours_is_inert(page: str) -> None:
    check = check_inert(page)
    assert check.passed is True, check.findings


@pytest.mark.parametrize(
    "added",
    [
        "<script>alert(1)</script>",
        '<script type="application/json" id="signed-report" src="//evil.example/x.js"></script>',
        '<img src="https://evil.example/t.gif">',
        '<img src="data:image/svg+xml;base64,PHN2Zz4=">',
        '<IMG SRC=x ONERROR="alert(1)">',
        '<p onclick="alert(1)">text</p>',
        '<a href="https://evil.example/">here</a>',
        '<a href="javascript:alert(1)">here</a>',
        '<iframe srcdoc="x"></iframe>',
        '<link rel="stylesheet" href="#x">',
        '<meta http-equiv="refresh" content="0; url=https://evil.example">',
        f"{POLICY}",
        '<base href="#">',
        '<form><input name="key"></form>',
        "<style>p { background: url(https://evil.example) }</style>",
        "<style>@import 'x';</style>",
        '<p style="background: u\\72l(x)">text</p>',
        '<svg><image href="#x"/></svg>',
        '<svg><a xlink:href="https://evil.example"/></svg>',
        "<!-- a comment -->",
        "<?php ?>",
        "<svg><![CDATA[ x ]]></svg>",
    ],
)
def test_whatever_loads_or_runs_is_found(added: str, page: str) -> None:
    check = check_inert(page.replace("</main>", f"{added}</main>"))
    assert check.passed is False
    assert check.findings


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('http-equiv="Content-Security-Policy"', 'name="x"'),
        ("default-src 'none'", "default-src *"),
        (POLICY, ""),
        ("<head>", "<head><title>x</title>"),
    ],
)
def test_without_its_policy_first_no_page_passes(before: str, after: str, page: str) -> None:
    assert before in page
    assert check_inert(page.replace(before, after, 1)).passed is False
