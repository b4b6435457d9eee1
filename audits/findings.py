"""What an audit has to say: checks that passed or failed, and what each one found."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Severity = Literal["error", "warning", "info"]


class AuditModel(BaseModel):
    """Base of what audits write as JSON, which has no number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Finding(AuditModel):
    """One thing that was seen; ``where`` locates it (file, line, entry, field)."""

    severity: Severity
    where: str
    sentence: str


class CheckResult(AuditModel):
    """One check: its name, what it means in one sentence, and what it found.

    ``passed`` is None where it could not be made, which ``sentence`` then explains; such a check
    counts neither as passed nor as failed.
    """

    name: str
    passed: bool | None
    sentence: str
    findings: tuple[Finding, ...] = ()
