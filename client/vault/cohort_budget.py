"""The budget of a cohort: what any one of its patients may spend, over all studies and runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

DEFAULT_COHORT = "patients"
"""The cohort of a site that declares none."""


@dataclass(frozen=True, kw_only=True)
class CohortBudget:
    """Caps on both epsilons at ``delta``; None is no cap.

    A patient may be in the cohorts that ``shares_patients_with`` names as well.
    """

    name: str
    delta: float
    epsilon_cap: float | None
    epsilon_alone_cap: float | None = None
    shares_patients_with: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.delta < 1:
            raise ValueError(f"delta must be in (0, 1): {self.delta}")
        for cap in (self.epsilon_cap, self.epsilon_alone_cap):
            # A cap of NaN would forbid nothing.
            if cap is not None and not (math.isfinite(cap) and cap >= 0):
                raise ValueError("a cap must be finite and not below 0")
        if self.name in self.shares_patients_with:
            raise ValueError(f"cohort {self.name} cannot share patients with itself")


def charged_cohorts(name: str, budgets: Mapping[str, CohortBudget]) -> tuple[str, ...]:
    """``name`` first, then the cohorts that share patients with it, sorted.

    Sharing holds in both directions, and no further: two cohorts that each share patients with a
    third need not share any with each other.
    """
    own = budgets.get(name)
    others = set(own.shares_patients_with) if own else set()
    others |= {other.name for other in budgets.values() if name in other.shares_patients_with}
    return (name, *sorted(others))


def by_name(budgets: Iterable[CohortBudget]) -> dict[str, CohortBudget]:
    """Budgets by cohort; ValueError for a name that occurs twice or shares with an unknown one."""
    found: dict[str, CohortBudget] = {}
    for budget in budgets:
        if budget.name in found:
            raise ValueError(f"cohort {budget.name} is declared twice")
        found[budget.name] = budget
    for budget in found.values():
        unknown = sorted(set(budget.shares_patients_with).difference(found))
        if unknown:
            raise ValueError(f"cohort {budget.name} shares patients with the unknown {unknown[0]}")
    return found
