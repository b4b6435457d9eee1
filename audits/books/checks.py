"""One check in the making: findings are added as they come up, and the result is frozen."""

from __future__ import annotations

from fedward.audits.findings import CheckResult, Finding, Severity

MAX_FINDINGS = 50
"""Findings of one check that are kept; of the rest only the number is told."""


class Check:
    """Collects what one check finds. It fails with its first error."""

    def __init__(self, name: str, sentence: str) -> None:
        self._name = name
        self._sentence = sentence
        self._findings: list[Finding] = []
        self._left_out = 0
        self._failed = False
        self._missing: str | None = None
        self._made = False
        self._incomplete = False

    def made(self) -> None:
        """Note that there was something to check."""
        self._made = True

    def missing(self, why: str) -> None:
        """Note that it cannot be made, and why; counts only if it is not made elsewhere."""
        self._missing = self._missing or why

    def incomplete(self, where: str, why: str) -> None:
        """A part of it cannot be made: a warning, and without errors it has not passed either."""
        self._incomplete = True
        self.missing(why)
        self.warning(where, why)

    def error(self, where: str, sentence: str) -> None:
        """Something is wrong."""
        self._failed = True
        self._add("error", where, sentence)

    def warning(self, where: str, sentence: str) -> None:
        """Something that a person should look at."""
        self._add("warning", where, sentence)

    def info(self, where: str, sentence: str) -> None:
        """Something that is worth saying."""
        self._add("info", where, sentence)

    def result(self) -> CheckResult:
        """Passed, failed, or (None) not made, with the reason in its sentence."""
        findings = list(self._findings)
        if self._left_out:
            sentence = f"and {self._left_out} more findings of this check"
            findings.append(Finding(severity="info", where="", sentence=sentence))
        if not self._failed and (self._incomplete or not self._made):
            why = self._missing or "there was nothing to check"
            how = "Not checked in full" if self._made else "Not checked"
            return CheckResult(
                name=self._name, passed=None, sentence=f"{how}: {why}.", findings=tuple(findings)
            )
        return CheckResult(
            name=self._name,
            passed=not self._failed,
            sentence=self._sentence,
            findings=tuple(findings),
        )

    def _add(self, severity: Severity, where: str, sentence: str) -> None:
        if len(self._findings) >= MAX_FINDINGS:
            self._left_out += 1
            return
        self._findings.append(Finding(severity=severity, where=where, sentence=sentence))
