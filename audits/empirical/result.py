"""The result of an empirical audit: meters, lower bounds, and the claims that they are held to."""

from __future__ import annotations

from typing import Literal

from fedward.audits.findings import AuditModel, CheckResult
from fedward.common.ledger.entries import ChargedEvent


class MeterResult(AuditModel):
    """One meter; ``check.passed`` is None where it does not apply.

    ``observed`` and ``expected`` are in the unit that ``unit`` names; ``p_value`` is that of the
    observation if everything is as planned.
    """

    check: CheckResult
    observed: float | None
    expected: float | None
    unit: str
    p_value: float | None


Method = Literal["steinke_nasr_jagielski_2023", "mahloujifar_melis_chaudhuri_2024"]
"""Of a lower bound: for any mechanism, or for one of the claimed family."""


class LowerBound(AuditModel):
    """What epsilon is at least, at this confidence, by what a one-run attack guessed right.

    ``sides`` is 2 if both "in" and "out" were guessed, 1 if only one of them was.
    """

    method: Method
    epsilon: float
    confidence: float
    canaries: int
    guesses: int
    correct: int
    sides: Literal[1, 2] = 2


class AuditedClaim(AuditModel):
    """One claimed epsilon beside what the attack on it shows.

    ``name`` says who looks: "epsilon" is the sum of which at most ``colluding`` sites took their
    noise out, "epsilon_alone" a single site's own release. ``events`` are the claimed releases that
    the guesses rest on, from which the bounds can be computed again.
    """

    name: Literal["epsilon", "epsilon_alone"]
    claimed: float
    delta: float
    bounds: tuple[LowerBound, ...]
    events: tuple[ChargedEvent, ...] = ()

    @property
    def highest(self) -> float:
        """The largest lower bound."""
        return max((bound.epsilon for bound in self.bounds), default=0.0)

    @property
    def holds(self) -> bool:
        """Whether no bound is above the claim."""
        return self.highest <= self.claimed


class EmpiricalAudit(AuditModel):
    """``audit/empirical.json``."""

    format: Literal["fedward-empirical-audit-1"] = "fedward-empirical-audit-1"
    study_name: str
    study_digest: str
    sites: int
    canaries: int
    data_description: str
    seed: int | None
    meters: tuple[MeterResult, ...]
    claims: tuple[AuditedClaim, ...]
    notes: tuple[str, ...]
    seconds: float
    versions: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether no meter failed and every claim holds."""
        failed = any(meter.check.passed is False for meter in self.meters)
        return not failed and all(claim.holds for claim in self.claims)
