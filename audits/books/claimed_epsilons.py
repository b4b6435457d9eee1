"""Every epsilon that a ledger claims, recomputed; and its caps, at every moment.

Epsilon never falls as releases are added, so a cap that holds at the last release under it held at
all before; where it does not, the first release beyond it is found by bisection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fedward.audits.books.budget_history import BudgetHistory, Charge
from fedward.audits.books.chain_verification import ReadLedger
from fedward.audits.books.checks import Check
from fedward.audits.books.recomputation import (
    PARTS,
    agrees,
    charges_of,
    events_of,
    is_above,
    worst_events,
)
from fedward.common.errors import PrivacyRefusal
from fedward.common.ledger.entries import BalanceStruck, ChargedEvent, ReleaseReserved
from fedward.common.privacy.accounting import epsilon_of


def check_single_epsilons(ledger: ReadLedger, *, check: Check) -> None:
    """What each release says that it costs by itself, at its study's delta."""
    check.made()
    # Most releases are like others.
    known: dict[tuple[float | None, ChargedEvent | None, float], str | None] = {}
    for read in ledger.entries:
        entry = read.entry
        if not isinstance(entry, ReleaseReserved):
            continue
        for name, claimed, event in (
            ("epsilon", entry.epsilon, entry.event),
            ("epsilon_alone", entry.epsilon_alone, entry.event_alone),
        ):
            key = claimed, event, entry.delta
            if key not in known:
                known[key] = _wrong_claim(claimed, event, delta=entry.delta)
            wrong = known[key]
            if wrong:
                check.error(f"{ledger.where(read)}: {name}", wrong)


def check_balances(ledger: ReadLedger, history: BudgetHistory, *, check: Check) -> None:
    """What each balance says was spent until then."""
    for read in ledger.entries:
        entry = read.entry
        if not isinstance(entry, BalanceStruck):
            continue
        check.made()
        period = history.period_of(read.line)
        charges = history.counted(entry.cohort, period, before=read.line)
        before = [charge.entry for charge in charges]
        budget = period.budgets.get(entry.cohort)
        if budget is None:
            check.error(ledger.where(read), f"is of cohort {entry.cohort}, which is not declared")
            continue
        of_study = [one for one in before if one.study_digest == entry.study_digest]
        study_delta = of_study[0].delta if of_study else budget.delta
        for name, claimed, spent in (
            ("epsilon", entry.epsilon, _of_parts(of_study, alone=False, delta=study_delta)),
            (
                "epsilon_alone",
                entry.epsilon_alone,
                _of_parts(of_study, alone=True, delta=study_delta),
            ),
            (
                "cohort_epsilon",
                entry.cohort_epsilon,
                _spent(before, alone=False, delta=budget.delta),
            ),
            (
                "cohort_epsilon_alone",
                entry.cohort_epsilon_alone,
                _spent(before, alone=True, delta=budget.delta),
            ),
        ):
            if spent is None or not agrees(claimed, spent):
                check.error(
                    f"{ledger.where(read)}: {name}",
                    f"claims {claimed:g}, but the events before it spent {_number(spent)}",
                )


def check_caps(ledger: ReadLedger, history: BudgetHistory, *, check: Check) -> None:
    """No cohort spent more than the cap that was in force when it was asked."""
    for period in history.periods:
        for budget in period.budgets.values():
            if budget.epsilon_cap is None and budget.epsilon_alone_cap is None:
                continue
            check.made()
            charges = history.counted(budget.name, period, before=period.end)
            before = sum(charge.read.line < period.begin for charge in charges)
            if before == len(charges):
                continue
            for name, cap, alone in (
                ("epsilon", budget.epsilon_cap, False),
                ("epsilon_alone", budget.epsilon_alone_cap, True),
            ):
                if cap is None:
                    continue
                found = _first_above(charges, before, cap=cap, alone=alone, delta=budget.delta)
                if found is not None:
                    beyond, spent = found
                    check.error(
                        ledger.where(beyond.read),
                        f"takes cohort {budget.name} to {name} {_number(spent)}, above its cap of "
                        f"{cap:g}, which no signed entry raised before",
                    )


def _first_above(
    charges: Sequence[Charge], before: int, *, cap: float, alone: bool, delta: float
) -> tuple[Charge, float | None] | None:
    """The first charge after ``before`` of them with which a cap is passed, and what it came to."""
    entries = [charge.entry for charge in charges]

    def spent(count: int) -> float | None:
        return _spent(entries[:count], alone=alone, delta=delta)

    def passes(count: int) -> bool:
        return (reached := spent(count)) is None or is_above(reached, cap)

    if not passes(len(entries)):
        return None
    at = _first(before + 1, len(entries), passes)
    return charges[at - 1], spent(at)


def _of_parts(entries: Sequence[ReleaseReserved], *, alone: bool, delta: float) -> float | None:
    """What a study spent, in that part of its patients that spent more."""
    spent = []
    for part in PARTS:
        events = events_of(entries, alone=alone, part=part)
        if events is None:
            return None
        spent.append(epsilon_of(events, delta=delta))
    return max(spent)


def _spent(entries: Sequence[ReleaseReserved], *, alone: bool, delta: float) -> float | None:
    charges = charges_of(entries, alone=alone)
    return None if charges is None else worst_events(charges, delta=delta)[1]


def _first(low: int, high: int, passes: Callable[[int], bool]) -> int:
    """The smallest number from ``low`` to ``high`` that passes; ``high`` is known to."""
    while low < high:
        middle = (low + high) // 2
        if passes(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _wrong_claim(claimed: float | None, event: ChargedEvent | None, *, delta: float) -> str | None:
    if event is None:
        return None if claimed is None else "is claimed, but nothing was noised"
    try:
        spent = epsilon_of([event.event()], delta=delta)
    except (PrivacyRefusal, ArithmeticError) as error:
        return f"cannot be recomputed: {error}"
    if claimed is None:
        return f"is not told, but the event costs {spent:g}"
    if not agrees(claimed, spent):
        return f"claims {claimed:g}, but the event costs {spent:g} at delta {delta:g}"
    return None


def _number(spent: float | None) -> str:
    return "without bound" if spent is None else f"{spent:g}"
