"""The result of the attacks: what each of them got out of each view of a study's sums."""

from __future__ import annotations

from typing import Literal

from fedward.audits.findings import AuditModel

View = Literal["raw", "clipped", "masked", "noised"]
"""What the attacker sees: one site's bare update, the same clipped, the bare sum of all sites as
masks alone would leave it, or what fedward releases."""
VIEWS: tuple[View, ...] = ("raw", "clipped", "masked", "noised")


class AttackFigure(AuditModel):
    """One attack under one view. ``value`` is None where it does not apply, ``why`` says why.

    ``chance`` is what guessing without any release would reach, ``error`` the standard error of
    ``value`` where it is known.
    """

    view: View
    value: float | None
    chance: float
    error: float | None = None
    why: str = ""


class Reconstruction(AuditModel):
    """A record and what an attack made of it, in the study's units.

    ``picture`` is [rows, columns] if the values are pixels, row by row; None for a table.
    """

    names: tuple[str, ...]
    true: tuple[float, ...]
    found: dict[View, tuple[float, ...] | None]
    picture: tuple[int, int] | None


class AttackResult(AuditModel):
    """One attack: what its figure measures, under each view, and examples side by side."""

    name: Literal["trap_weights", "gradient_inversion", "membership_inference"]
    title: str
    measure: str
    explanation: str
    figures: tuple[AttackFigure, ...]
    worked_against_release: bool | None
    """Whether "noised" is told from guessing, by the attack's own test; None if not applicable."""
    reconstructions: tuple[Reconstruction, ...] = ()


class AttackAudit(AuditModel):
    """``audit/attack.json``."""

    format: Literal["fedward-attack-audit-1"] = "fedward-attack-audit-1"
    study_name: str
    study_digest: str
    sites: int
    data_description: str
    seed: int | None
    epsilon: float
    delta: float
    attacks: tuple[AttackResult, ...]
    notes: tuple[str, ...]
    seconds: float
    versions: dict[str, str]
