from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedward.audits.findings import CheckResult
from fedward.audits.report.document import AuditReport
from fedward.audits.report.page import page_digest, render_page, with_data
from fedward.audits.report.signing import SignedReport
from fedward.audits.report.verification import accepted, verify_report
from fedward.audits.report.writing import signed_report
from fedward.common.errors import InputError
from fedward.common.secure_sum.signatures import SiteIdentity

WORD = {"Evidence", "Made again", "Empirical, attacks"}


@pytest.fixture(scope="module")
def written(body: AuditReport, auditor: SiteIdentity) -> tuple[str, str]:
    """The texts of report.json and report.html."""
    signed, page = signed_report(body, auditor=auditor)
    return signed.text(), page


def verified(path: Path, text: str, **options: Any) -> dict[str, CheckResult]:
    path.write_text(text, "utf-8", newline="")
    return by_name(verify_report(path, **options))


def by_name(checks: Sequence[CheckResult]) -> dict[str, CheckResult]:
    found = {check.name: check for check in checks}
    assert len(found) == len(checks)
    return found


def failed(checks: dict[str, CheckResult]) -> set[str]:
    return {name for name, check in checks.items() if check.passed is False}


def said(check: CheckResult) -> str:
    return " | ".join(f"{finding.where}: {finding.sentence}" for finding in check.findings)


@pytest.mark.parametrize("form", ["json", "html"])
def test_a_report_as_it_was_written_passes(
    form: str, written: tuple[str, str], tmp_path: Path, auditor: SiteIdentity
) -> None:
    text = written[form == "html"]
    checks = verified(tmp_path / f"report.{form}", text, auditor_key=auditor.public_key)
    assert not failed(checks)
    # Without the run's folder the files stay the auditor's word, and measurements always do.
    assert {name for name, check in checks.items() if check.passed is None} == WORD
    assert accepted(list(checks.values()))
    assert ("Page" in checks) == (form == "html")


def test_without_a_key_it_says_that_anyone_may_have_made_it(
    written: tuple[str, str], tmp_path: Path, auditor: SiteIdentity
) -> None:
    checks = verified(tmp_path / "report.json", written[0])
    assert checks["Auditor"].passed is None
    assert auditor.public_key.hex() in checks["Auditor"].sentence


def test_another_key_than_the_expected_one_is_found(
    written: tuple[str, str], tmp_path: Path, auditor: SiteIdentity
) -> None:
    other = SiteIdentity.generate().public_key
    checks = verified(tmp_path / "report.html", written[1], auditor_key=other)
    assert failed(checks) == {"Auditor"}
    assert auditor.public_key.hex() in said(checks["Auditor"])


def test_a_key_put_in_place_of_the_auditors_is_found(
    written: tuple[str, str], tmp_path: Path, auditor: SiteIdentity
) -> None:
    other = SiteIdentity.generate().public_key.hex()
    text = written[0].replace(auditor.public_key.hex(), other)
    assert failed(verified(tmp_path / "report.json", text)) == {"Signature"}


@pytest.mark.parametrize(
    ("place", "value", "part"),
    [
        (("study", "epsilon"), 0.5, "study"),
        (("study", "colluding"), 2, "study"),
        (("checks", 0, "passed"), False, "checks[0]"),
        (("checks", 3, "sentence"), "All is well.", "checks[3]"),
        (("evidence", 1, "sha256"), "0" * 64, "evidence[1]"),
        (("run", "insecure_noise_seed"), 7, "run"),
        (("attacks", "epsilon"), 8.0, "attacks"),
        (("trusted", 0, "who"), "Nobody", "trusted[0]"),
        (("notes",), ["Added."], "notes"),
        (("versions", "fedward"), "9", "versions"),
    ],
)
def test_a_changed_fact_is_named(
    place: tuple[Any, ...],
    value: object,
    part: str,
    written: tuple[str, str],
    tmp_path: Path,
) -> None:
    document = json.loads(written[0])
    inner: Any = document["report"]
    for step in place[:-1]:
        inner = inner[step]
    assert inner[place[-1]] != value
    inner[place[-1]] = value
    changed = SignedReport.model_validate(document).text()
    checks = verified(tmp_path / "report.json", changed)
    assert "Parts" in failed(checks)
    assert part in {finding.where for finding in checks["Parts"].findings}


def test_an_element_left_out_is_named(written: tuple[str, str], tmp_path: Path) -> None:
    document = json.loads(written[0])
    del document["report"]["checks"][-1]
    count = len(document["report"]["checks"])
    checks = verified(tmp_path / "report.json", SignedReport.model_validate(document).text())
    named = {finding.where for finding in checks["Parts"].findings}
    assert named == {"checks", f"checks[{count}]"}


def test_a_changed_epsilon_is_found_even_if_it_is_signed_again(
    body: AuditReport, tmp_path: Path, auditor: SiteIdentity
) -> None:
    site = body.sites[0]
    account = site.accounts[0]
    assert account.epsilon is not None
    less = account.moments[-1].model_copy(update={"epsilon": account.epsilon / 2})
    account = account.model_copy(
        update={"epsilon": less.epsilon, "moments": (*account.moments[:-1], less)}
    )
    site = site.model_copy(update={"accounts": (account, *site.accounts[1:])})
    signed, page = signed_report(
        body.model_copy(update={"sites": (site, *body.sites[1:])}), auditor=auditor
    )
    for name, text in (("report.json", signed.text()), ("report.html", page)):
        checks = verified(tmp_path / name, text, auditor_key=auditor.public_key)
        assert failed(checks) == {"Epsilons"}
        assert f"{site.site}, cohort patients" in said(checks["Epsilons"])
        assert f"is given as {less.epsilon:g}" in said(checks["Epsilons"])


def test_a_changed_lower_bound_is_found_even_if_it_is_signed_again(
    body: AuditReport, tmp_path: Path, auditor: SiteIdentity
) -> None:
    assert body.empirical is not None
    claim = body.empirical.claims[0]
    bound = claim.bounds[0].model_copy(update={"epsilon": 0.01})
    claim = claim.model_copy(update={"bounds": (bound, *claim.bounds[1:])})
    empirical = body.empirical.model_copy(update={"claims": (claim, *body.empirical.claims[1:])})
    signed, _ = signed_report(body.model_copy(update={"empirical": empirical}), auditor=auditor)
    checks = verified(tmp_path / "report.json", signed.text())
    assert failed(checks) == {"Lower bounds"}
    assert "is given as 0.01" in said(checks["Lower bounds"])


def test_a_number_changed_on_the_page_is_named(written: tuple[str, str], tmp_path: Path) -> None:
    page = written[1]
    promised = 'stays at or below <strong><data value="3.0">3.00</data></strong>'
    assert page.count(promised) == 1
    changed = page.replace(promised, promised.replace("3.00", "0.30"))
    checks = verified(tmp_path / "report.html", changed)
    assert failed(checks) == {"Page", "Numbers on the page"}
    assert "0.30" in said(checks["Numbers on the page"])
    assert "3.00" in said(checks["Numbers on the page"])
    line = 1 + changed[: changed.index("0.30")].count("\n")
    assert f"page, line {line}" in said(checks["Numbers on the page"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("</main>", "<p>This hospital was certified.</p></main>"),
        ('<div class="verdict', '<div hidden class="verdict'),
        ("</body>", "</body><script>alert(1)</script>"),
        ("default-src 'none'", "default-src *"),
        ("</html>\n", "</html>"),
    ],
)
def test_anything_added_to_the_page_is_found(
    before: str, after: str, written: tuple[str, str], tmp_path: Path
) -> None:
    assert before in written[1]
    checks = verified(tmp_path / "report.html", written[1].replace(before, after, 1))
    assert failed(checks) - {"Harmless page"} == {"Page", "Numbers on the page"}
    assert ("Harmless page" in failed(checks)) == ("script" in after or "src *" in after)


def test_a_page_around_the_data_of_another_report_is_found(
    body: AuditReport, written: tuple[str, str], tmp_path: Path, auditor: SiteIdentity
) -> None:
    other = body.model_copy(
        update={"study": body.study.model_copy(update={"title": "Another study"})}
    )
    around = render_page(other, auditor_key=auditor.public_key.hex())
    checks = verified(tmp_path / "report.html", with_data(around, written[0]))
    assert failed(checks) == {"Page", "Numbers on the page"}
    assert "Another study" in said(checks["Numbers on the page"])


def test_an_auditor_who_signs_a_page_of_other_numbers_is_found(
    body: AuditReport, tmp_path: Path, auditor: SiteIdentity
) -> None:
    around = render_page(body, auditor_key=auditor.public_key.hex())
    around = around.replace("right guesses at most", "right guesses, or fewer,")
    signed = SignedReport.sign(body, page=page_digest(around), auditor=auditor)
    checks = verified(tmp_path / "report.html", with_data(around, signed.text()))
    assert failed(checks) == {"Numbers on the page"}


def test_a_page_of_another_version_is_told_and_not_called_false(
    body: AuditReport, tmp_path: Path, auditor: SiteIdentity
) -> None:
    old = body.model_copy(update={"versions": {**body.versions, "fedward": "0.0.1"}})
    around = render_page(old, auditor_key=auditor.public_key.hex()).replace("Tossing", "Throwing")
    signed = SignedReport.sign(old, page=page_digest(around), auditor=auditor)
    checks = verified(tmp_path / "report.html", with_data(around, signed.text()))
    assert not failed(checks)
    assert checks["Numbers on the page"].passed is None
    assert not accepted(list(checks.values()))
    assert "0.0.1" in checks["Numbers on the page"].sentence


def test_text_that_says_the_same_in_other_bytes_is_found(
    written: tuple[str, str], tmp_path: Path
) -> None:
    document = json.loads(written[0])
    for text in (json.dumps(document), written[0] + "\n", written[0].replace("{\n", "{ \n", 1)):
        assert failed(verified(tmp_path / "report.json", text)) == {"Form"}


def test_no_changed_byte_passes(written: tuple[str, str], tmp_path: Path) -> None:
    chooser = np.random.default_rng(4)
    for text, name in zip(written, ("report.json", "report.html"), strict=True):
        for _ in range(12):
            content = bytearray(text.encode())
            place = int(chooser.integers(len(content)))
            content[place] ^= 1 << int(chooser.integers(7))
            path = tmp_path / name
            path.write_bytes(content)
            try:
                checks = by_name(verify_report(path))
            except InputError:
                continue
            assert failed(checks), f"byte {place} of {name}"


def test_data_of_another_form_are_named(written: tuple[str, str], tmp_path: Path) -> None:
    document = json.loads(written[0])
    document["report"]["sites"][0]["entries"] = "many"
    checks = verified(tmp_path / "report.json", json.dumps(document))
    assert failed(checks) == {"Form"}
    assert "report.sites[0].entries" in said(checks["Form"])


def test_data_from_which_no_page_can_be_drawn_end_in_a_sentence(
    body: AuditReport, written: tuple[str, str], tmp_path: Path, auditor: SiteIdentity
) -> None:
    assert body.attacks is not None
    attack = body.attacks.attacks[0]
    record = attack.reconstructions[0].model_copy(update={"true": (1.0,)})
    attack = attack.model_copy(update={"reconstructions": (record,)})
    attacks = body.attacks.model_copy(update={"attacks": (attack, *body.attacks.attacks[1:])})
    around = render_page(body, auditor_key=auditor.public_key.hex())
    signed = SignedReport.sign(
        body.model_copy(update={"attacks": attacks}), page=page_digest(around), auditor=auditor
    )
    checks = verified(tmp_path / "report.html", with_data(around, signed.text()))
    assert failed(checks) == {"Numbers on the page"}
    assert "IndexError" in said(checks["Numbers on the page"])


def test_a_harmful_page_fails_whatever_version_it_names(
    body: AuditReport, tmp_path: Path, auditor: SiteIdentity
) -> None:
    foreign = body.model_copy(update={"versions": {**body.versions, "fedward": "9.9"}})
    around = render_page(foreign, auditor_key=auditor.public_key.hex())
    for added in ("<script>alert(1)</script>", '<img src="https://evil.example/t.gif">'):
        page = around.replace("</main>", f"{added}</main>")
        signed = SignedReport.sign(foreign, page=page_digest(page), auditor=auditor)
        checks = verified(tmp_path / "report.html", with_data(page, signed.text()))
        assert failed(checks) == {"Harmless page"}


@pytest.mark.parametrize("number", ["1e999", "NaN", "-Infinity"])
def test_a_number_that_is_not_finite_ends_in_a_sentence(
    number: str, written: tuple[str, str], tmp_path: Path
) -> None:
    text = re.sub(r'"clip": [0-9.]+', f'"clip": {number}', written[0], count=1)
    assert text != written[0]
    if number == "1e999":
        checks = verified(tmp_path / "report.json", text)
        assert failed(checks) == {"Form"}
        assert "study.clip" in said(checks["Form"])
    else:
        with pytest.raises(InputError, match="no JSON"):
            verified(tmp_path / "report.json", text)


def test_without_audits_beside_the_books_nothing_is_said_of_them(
    body: AuditReport, tmp_path: Path, auditor: SiteIdentity
) -> None:
    bare = body.model_copy(update={"empirical": None, "attacks": None})
    signed, _ = signed_report(bare, auditor=auditor)
    checks = verified(tmp_path / "report.json", signed.text())
    assert "Empirical, attacks" not in checks
    assert checks["Evidence"].passed is None
