"""What a hospital allows beyond a study's own terms, and how it says no."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from fedward.client.vault.cohort_budget import CohortBudget, charged_cohorts
from fedward.common.errors import FedwardError
from fedward.common.protocol.releases import RefusalReason
from fedward.common.secure_sum.signatures import KEY_BYTES


class Refused(FedwardError):
    """A query that the gate does not let through, with its typed reason."""

    def __init__(self, reason: RefusalReason, message: str) -> None:
        self.reason = reason
        super().__init__(message)


@dataclass(frozen=True, kw_only=True)
class StudyCap:
    """What all releases of one study may add up to; None is no cap.

    Training and held-out patients are different patients, so each cap holds for either by itself.
    """

    epsilon_cap: float | None = None
    epsilon_alone_cap: float | None = None

    def __post_init__(self) -> None:
        for cap in (self.epsilon_cap, self.epsilon_alone_cap):
            # A cap of NaN would forbid nothing.
            if cap is not None and not (math.isfinite(cap) and cap >= 0):
                raise ValueError("a cap must be finite and not below 0")


@dataclass(frozen=True, kw_only=True)
class SitePolicy:
    """What this hospital allows beyond the study's own terms.

    ``federation_key`` (Ed25519, 32 bytes) is the one whose signature a roster must have, and
    ``known_keys`` the identity keys by name that a roster may hold: a site's share of the noise
    shrinks with the roster, so a coordinator that could invent sites would thin it out.
    ``minimum_sites`` may ask for a larger roster than the study does, and ``colluding`` for noise
    that holds against more cheating sites. ``epsilon_cap`` and ``epsilon_alone_cap`` bound what all
    entries of one study may add up to, below what its plan spends, each for training and held-out
    patients by themselves; ``study_caps`` holds, by digest, what counts for a study instead.
    ``cohorts`` are the budgets of the site's cohorts over all studies, by name; a site that
    declares none has one cohort without a cap, a site that declares some answers for no other. What
    the ledger itself declares holds besides.
    ``allow_site_evaluation`` lets a study see how its model does on this site's patients alone.
    """

    federation_key: bytes
    known_keys: Mapping[str, bytes] = field(repr=False)
    minimum_sites: int = 1
    colluding: int = 0
    epsilon_cap: float | None = None
    epsilon_alone_cap: float | None = None
    study_caps: Mapping[str, StudyCap] = field(default_factory=dict)
    cohorts: Mapping[str, CohortBudget] = field(default_factory=dict)
    allow_site_evaluation: bool = False

    def __post_init__(self) -> None:
        if any(len(key) != KEY_BYTES for key in (self.federation_key, *self.known_keys.values())):
            raise ValueError(f"keys must have {KEY_BYTES} bytes")
        if self.minimum_sites < 1 or self.colluding < 0:
            raise ValueError("minimum_sites must be at least 1 and colluding at least 0")
        self.cap_of("")  # refuses caps that are none
        if any(name != budget.name for name, budget in self.cohorts.items()):
            raise ValueError("cohorts must be by their own names")

    def cap_of(self, study_digest: str) -> StudyCap:
        """What all releases of this study may add up to."""
        usual = StudyCap(epsilon_cap=self.epsilon_cap, epsilon_alone_cap=self.epsilon_alone_cap)
        return self.study_caps.get(study_digest, usual)

    def charged_cohorts(
        self, asked: str, *, declared: Mapping[str, CohortBudget] | None = None
    ) -> tuple[str, ...]:
        """The cohorts that a release over ``asked`` is charged to: it first, the others sorted.

        They are those that share patients with it by this policy, or as the site's ledger has
        ``declared`` them.

        Raises:
            Refused: with ``budget_exceeded``, for a cohort without a budget at a site that gave one
                to others.
        """
        budgets = (self.cohorts, declared or {})
        for given in budgets:
            if given and asked not in given:
                raise Refused(
                    RefusalReason.BUDGET_EXCEEDED,
                    f"the site has declared no budget for cohort {asked}",
                )
        found = {name for given in budgets for name in charged_cohorts(asked, given)}
        return (asked, *sorted(found - {asked}))
