"""The signature under a report, and what of it covers which part.

``report.json`` holds the report, a statement and a signature. The statement names the auditor's
key, and a SHA-256 for each part of the report and for the page; the signature is over the
statement. So any change is found, and the part that it is in is named. The file's text is fixed to
the byte: what is not the text of its own content was changed as well.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, Field

from fedward.audits.findings import AuditModel
from fedward.audits.report.document import AuditReport
from fedward.common.ledger.chain import canonical
from fedward.common.protocol.fields import Digest, PublicKey, Signature
from fedward.common.secure_sum.signatures import SiteIdentity, verify

_PURPOSE: Final = "audit-report"


class Statement(AuditModel):
    """What the auditor signs. ``page`` is the digest of the page around its embedded data."""

    format: Literal["fedward-audit-report-1"] = "fedward-audit-report-1"
    auditor_key: PublicKey
    parts: dict[str, Digest] = Field(min_length=1)
    page: Digest


class SignedReport(AuditModel):
    """The content of ``report.json``; worth nothing before it is checked."""

    report: AuditReport
    statement: Statement
    signature: Signature

    @classmethod
    def sign(cls, report: AuditReport, *, page: str, auditor: SiteIdentity) -> Self:
        """Sign a report; ``page`` is the digest of its page (:func:`page_digest`)."""
        statement = Statement(
            auditor_key=auditor.public_key.hex(),
            parts={name: digest_of(part) for name, part in parts_of(report).items()},
            page=page,
        )
        signature = auditor.sign(_PURPOSE, bytes.fromhex(digest_of(statement)))
        return cls(report=report, statement=statement, signature=signature.hex())

    @property
    def is_signed(self) -> bool:
        """Whether the signature is that of the key which the statement names."""
        return verify(
            bytes.fromhex(self.statement.auditor_key),
            purpose=_PURPOSE,
            message=bytes.fromhex(digest_of(self.statement)),
            signature=bytes.fromhex(self.signature),
        )

    def changed_parts(self) -> tuple[str, ...]:
        """The parts of the report that are not what the statement says, or are missing, sorted."""
        found = {name: digest_of(part) for name, part in parts_of(self.report).items()}
        signed = self.statement.parts
        names = found.keys() | signed.keys()
        return tuple(sorted(name for name in names if found.get(name) != signed.get(name)))

    def text(self) -> str:
        """The whole file, which may stand within a page as it is: it holds no ``<``."""
        body = self.model_dump(mode="json")
        text = json.dumps(body, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False)
        # Within strings alone can these occur, where the escape means the same.
        for character in "<>&":
            text = text.replace(character, f"\\u{ord(character):04x}")
        return text + "\n"


def parts_of(report: AuditReport) -> dict[str, Any]:
    """The report taken apart, so that what was changed can be named.

    Each field is a part; of a list, each element is one, as in "sites[0]", and how long it is is
    another, "sites".
    """
    parts: dict[str, Any] = {}
    for name, value in report.model_dump(mode="json").items():
        if isinstance(value, list):
            parts[name] = len(value)
            parts |= {f"{name}[{index}]": element for index, element in enumerate(value)}
        else:
            parts[name] = value
    return parts


def digest_of(part: Any) -> str:
    """SHA-256 (hex) of a part's canonical JSON."""
    body = part.model_dump(mode="json") if isinstance(part, BaseModel) else part
    return hashlib.sha256(canonical({"part": body}).encode()).hexdigest()
