from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from fedward.audits.report.document import AuditReport
from fedward.audits.report.signing import SignedReport, digest_of, parts_of
from fedward.common.ledger.chain import canonical
from fedward.common.secure_sum.signatures import SiteIdentity, verify

PAGE = "0" * 64


def test_a_signed_report_comes_back_from_its_text(body: AuditReport, auditor: SiteIdentity) -> None:
    signed = SignedReport.sign(body, page=PAGE, auditor=auditor)
    again = SignedReport.model_validate_json(signed.text())
    assert again == signed
    assert again.text() == signed.text()
    assert again.is_signed
    assert again.changed_parts() == ()


def test_the_signature_is_for_this_purpose_alone(body: AuditReport, auditor: SiteIdentity) -> None:
    signed = SignedReport.sign(body, page=PAGE, auditor=auditor)
    message = bytes.fromhex(digest_of(signed.statement))
    signature = bytes.fromhex(signed.signature)
    key = auditor.public_key
    assert verify(key, purpose="audit-report", message=message, signature=signature)
    for purpose in ("run-log", "ledger-entry", "ledger-head"):
        assert not verify(key, purpose=purpose, message=message, signature=signature)


def test_no_part_of_the_statement_can_be_changed(body: AuditReport, auditor: SiteIdentity) -> None:
    signed = SignedReport.sign(body, page=PAGE, auditor=auditor)
    statement = signed.statement
    fewer = dict(list(statement.parts.items())[1:])
    other = SiteIdentity.generate().public_key.hex()
    for change in ({"page": "1" * 64}, {"parts": fewer}, {"auditor_key": other}):
        changed = signed.model_copy(update={"statement": statement.model_copy(update=change)})
        assert not changed.is_signed


def test_the_parts_are_the_whole_report(body: AuditReport) -> None:
    parts = parts_of(body)
    for name, value in body.model_dump(mode="json").items():
        if isinstance(value, list):
            assert parts[name] == len(value)
            assert [parts[f"{name}[{index}]"] for index in range(len(value))] == value
        else:
            assert parts[name] == value


@settings(max_examples=15)
@given(st.text(max_size=60))
def test_no_text_ends_the_data_within_a_page(body: AuditReport, text: str) -> None:
    encodable = text.encode("utf-8", "replace").decode()
    study = body.study.model_copy(update={"title": f"</script><!--{encodable}&"})
    auditor = SiteIdentity.from_private_bytes(bytes(32))
    signed = SignedReport.sign(body.model_copy(update={"study": study}), page=PAGE, auditor=auditor)
    written = signed.text()
    assert not set("<>&") & set(written)
    assert written.isascii()
    assert json.loads(written)["report"]["study"]["title"] == study.title


def test_a_digest_tells_forms_apart() -> None:
    values = [None, False, 0, 0.0, "", "0", [], {}, [0], ["0"], {"part": 0}]
    assert len({digest_of(value) for value in values}) == len({canonical({"v": v}) for v in values})
