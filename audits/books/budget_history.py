"""The budgets of a ledger's cohorts as they changed, and what counts against each of them when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from fedward.audits.books.chain_verification import ReadLedger
from fedward.audits.books.checks import Check
from fedward.audits.books.entry_lines import ReadEntry
from fedward.client.vault.cohort_budget import CohortBudget, charged_cohorts
from fedward.common.ledger.entries import BudgetRaised, CohortDeclared, ReleaseReserved


@dataclass(frozen=True, kw_only=True)
class Charge:
    """A reservation, by its line."""

    read: ReadEntry
    entry: ReleaseReserved


@dataclass(frozen=True, kw_only=True)
class BudgetPeriod:
    """The budgets in force from line ``begin`` up to, not with, line ``end``."""

    begin: int
    end: int
    budgets: Mapping[str, CohortBudget]

    def counts_against(self, entry: ReleaseReserved, cohort: str) -> bool:
        """Whether a release counts against a cohort while these budgets are in force.

        It counts against those that it was charged to, and those that share patients with the one
        that was asked, also where they were declared to only after it.
        """
        return cohort in entry.cohorts or cohort in charged_cohorts(entry.cohorts[0], self.budgets)


@dataclass(frozen=True, kw_only=True)
class BudgetHistory:
    """All periods of a ledger, and all its reservations, oldest first."""

    periods: tuple[BudgetPeriod, ...]
    charges: tuple[Charge, ...]

    @property
    def cohorts(self) -> tuple[str, ...]:
        """Every cohort that was declared or charged, sorted."""
        charged = {cohort for charge in self.charges for cohort in charge.entry.cohorts}
        return tuple(sorted(charged.union(self.periods[-1].budgets)))

    def budget(self, cohort: str) -> CohortBudget | None:
        """The budget in force at the end; None if the cohort was never declared."""
        return self.periods[-1].budgets.get(cohort)

    def period_of(self, line: int) -> BudgetPeriod:
        """The one that a line of the ledger lies in."""
        return next(one for one in self.periods if one.begin <= line < one.end)

    def charged(self, cohort: str) -> list[Charge]:
        """What counts against a cohort at the end."""
        return self.counted(cohort, self.periods[-1], before=self.periods[-1].end)

    def counted(self, cohort: str, period: BudgetPeriod, *, before: int) -> list[Charge]:
        """The charges before a line that count against a cohort under a period's budgets."""
        known: dict[tuple[str, ...], bool] = {}
        found = []
        for charge in self.charges:
            if charge.read.line >= before:
                break
            cohorts = charge.entry.cohorts
            if cohorts not in known:
                known[cohorts] = period.counts_against(charge.entry, cohort)
            if known[cohorts]:
                found.append(charge)
        return found


def budget_history(ledger: ReadLedger, *, check: Check) -> BudgetHistory:
    """Replay declarations, raises and charges.

    Finds: a declaration that does more than lower caps and add overlaps; a raise of an unknown
    cohort, or one that raises nothing or lowers something; a release that was not charged to
    exactly the cohorts that share patients with the one that was asked.
    """
    check.made()
    budgets: dict[str, CohortBudget] = {}
    begins: list[tuple[int, dict[str, CohortBudget]]] = [(1, {})]
    charges = []
    for read in ledger.entries:
        entry, where = read.entry, ledger.where(read)
        if isinstance(entry, ReleaseReserved):
            charges.append(Charge(read=read, entry=entry))
            for wrong in _wrong_cohorts(entry, budgets):
                check.error(where, wrong)
            continue
        if isinstance(entry, CohortDeclared):
            for wrong in _wrong_declaration(entry, budgets.get(entry.cohort)):
                check.error(where, wrong)
            new = _declared(entry)
        elif isinstance(entry, BudgetRaised):
            before = budgets.get(entry.cohort)
            if before is None:
                check.error(where, f"raises the budget of {entry.cohort}, which is not declared")
                continue
            for wrong in _wrong_raise(entry, before):
                check.error(where, wrong)
            new = replace(
                before,
                epsilon_cap=entry.epsilon_cap,
                epsilon_alone_cap=entry.epsilon_alone_cap,
            )
        else:
            continue
        budgets = budgets | {entry.cohort: new}
        begins.append((read.line, budgets))
    last = ledger.entries[-1].line + 1
    return BudgetHistory(periods=tuple(_periods(begins, last)), charges=tuple(charges))


def _periods(
    begins: list[tuple[int, dict[str, CohortBudget]]], last: int
) -> Iterator[BudgetPeriod]:
    ends = [begin for begin, _ in begins[1:]] + [last]
    for (begin, budgets), end in zip(begins, ends, strict=True):
        yield BudgetPeriod(begin=begin, end=end, budgets=budgets)


def _declared(entry: CohortDeclared) -> CohortBudget:
    others = tuple(name for name in entry.shares_patients_with if name != entry.cohort)
    return CohortBudget(
        name=entry.cohort,
        delta=entry.delta,
        epsilon_cap=entry.epsilon_cap,
        epsilon_alone_cap=entry.epsilon_alone_cap,
        shares_patients_with=others,
    )


def _wrong_cohorts(entry: ReleaseReserved, budgets: dict[str, CohortBudget]) -> Iterator[str]:
    if budgets and entry.cohorts[0] not in budgets:
        yield f"asked cohort {entry.cohorts[0]}, which has no budget"
    # A site may charge more cohorts than it declared, never fewer.
    expected = charged_cohorts(entry.cohorts[0], budgets)
    if not set(expected) <= set(entry.cohorts):
        yield (
            f"was charged to {', '.join(entry.cohorts)}, but the cohorts declared so far demand "
            f"{', '.join(expected)}"
        )


def _wrong_declaration(entry: CohortDeclared, before: CohortBudget | None) -> list[str]:
    if entry.cohort in entry.shares_patients_with:
        return [f"{entry.cohort} is declared to share patients with itself"]
    if before is None:
        return []
    wrong = []
    if entry.delta != before.delta:
        wrong.append(f"changes the delta of {entry.cohort}")
    if set(before.shares_patients_with) - set(entry.shares_patients_with):
        wrong.append(f"takes back with whom {entry.cohort} shares patients")
    for name, new, old in _caps(entry, before):
        if _is_above(new, old):
            wrong.append(
                f"raises the {name} of {entry.cohort} from {_cap(old)} to {_cap(new)} "
                "by declaring it again"
            )
    return wrong


def _wrong_raise(entry: BudgetRaised, before: CohortBudget) -> list[str]:
    caps = _caps(entry, before)
    wrong = [
        f"lowers the {name} of {entry.cohort} instead of raising it"
        for name, new, old in caps
        if _is_above(old, new)
    ]
    if not any(_is_above(new, old) for _, new, old in caps):
        wrong.append(f"raises no cap of {entry.cohort}")
    return wrong


def _caps(
    entry: CohortDeclared | BudgetRaised, before: CohortBudget
) -> tuple[tuple[str, float | None, float | None], ...]:
    return (
        ("epsilon_cap", entry.epsilon_cap, before.epsilon_cap),
        ("epsilon_alone_cap", entry.epsilon_alone_cap, before.epsilon_alone_cap),
    )


def _is_above(one: float | None, other: float | None) -> bool:
    """Whether a cap allows more than another; None allows everything."""
    if other is None:
        return False
    return one is None or one > other


def _cap(cap: float | None) -> str:
    return "none" if cap is None else f"{cap:g}"
