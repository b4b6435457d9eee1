"""How the budgets of a site's cohorts may change: down by its settings, up by a signed entry."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fedward.client.vault.cohort_budget import CohortBudget, by_name, charged_cohorts
from fedward.common.errors import InputError

_RAISE = "raise it with `fedward site raise-budget`"


def new_declarations(
    wanted: Sequence[CohortBudget], *, effective: Mapping[str, CohortBudget], source: str
) -> list[CohortBudget]:
    """The cohorts that a ledger has to declare, or to declare again, to be as ``wanted``.

    ``effective`` are its budgets so far. Settings may add cohorts, lower caps and let more cohorts
    share patients; sharing holds both ways, whichever of the two names the other. Raises
    :class:`InputError` on behalf of ``source`` for anything else.
    """
    try:
        by_cohort = by_name(wanted)
    except ValueError as error:
        raise InputError(
            source=source, field="", problem=str(error), fix="correct the site's cohorts"
        ) from error
    for name in effective:
        if name not in by_cohort:
            raise InputError(
                source=source,
                field=f"cohort {name}",
                problem="has a budget in this ledger, but is not among the site's cohorts any more",
                fix="keep it there, with caps of 0 if it shall release nothing",
            )
    changed = []
    for budget in by_cohort.values():
        known = effective.get(budget.name)
        if known is None:
            changed.append(budget)
            continue
        partners = charged_cohorts(budget.name, by_cohort)
        _refuse_loosening(budget, known, partners=partners, source=source)
        # A cohort's later declarations name all that its earlier ones did.
        before = {*known.shares_patients_with, *charged_cohorts(budget.name, effective)}
        added = (name for name in budget.shares_patients_with if name not in before)
        shares = (*known.shares_patients_with, *added)
        declared = replace(budget, shares_patients_with=shares)
        if declared != known:
            changed.append(declared)
    return changed


def raised(
    budget: CohortBudget,
    *,
    epsilon_cap: float | None,
    epsilon_alone_cap: float | None,
    source: str,
) -> CohortBudget:
    """``budget`` with these caps, of which one is above the old and none below; None is no cap.

    Raises :class:`InputError` on behalf of ``source`` for any other.
    """
    new = CohortBudget(
        name=budget.name,
        delta=budget.delta,
        epsilon_cap=epsilon_cap,
        epsilon_alone_cap=epsilon_alone_cap,
        shares_patients_with=budget.shares_patients_with,
    )
    pairs = [
        (epsilon_cap, budget.epsilon_cap),
        (epsilon_alone_cap, budget.epsilon_alone_cap),
    ]
    problem = None
    if any(_height(cap) < _height(old) for cap, old in pairs):
        problem = "would be lowered by this"
    elif all(_height(cap) == _height(old) for cap, old in pairs):
        problem = "has these caps already"
    if problem is not None:
        raise InputError(
            source=source,
            field=f"cohort {budget.name}",
            problem=f"{problem} (it has epsilon {_said(budget.epsilon_cap)}, "
            f"epsilon_alone {_said(budget.epsilon_alone_cap)})",
            fix="give at least one higher cap; caps are lowered in the site's settings",
        )
    return new


def _refuse_loosening(
    budget: CohortBudget, known: CohortBudget, *, partners: Sequence[str], source: str
) -> None:
    pairs = [
        ("epsilon_cap", budget.epsilon_cap, known.epsilon_cap),
        ("epsilon_alone_cap", budget.epsilon_alone_cap, known.epsilon_alone_cap),
    ]
    problem, fix = None, _RAISE
    for name, cap, old in pairs:
        if _height(cap) > _height(old):
            problem = f"has {name} {_said(cap)}, but its budget in this ledger is {_said(old)}"
    if budget.delta != known.delta:
        problem = f"has delta {budget.delta:g}, but was declared with {known.delta:g}"
        fix = "a cohort's delta cannot change; set it back"
    gone = sorted(set(known.shares_patients_with).difference(partners))
    if gone:
        problem = f"no longer shares patients with {gone[0]}, though it was declared to"
        fix = "patients that were shared stay shared; name it again"
    if problem is not None:
        raise InputError(source=source, field=f"cohort {budget.name}", problem=problem, fix=fix)


def _height(cap: float | None) -> float:
    return math.inf if cap is None else cap


def _said(cap: float | None) -> str:
    return "without a cap" if cap is None else f"{cap:g}"
