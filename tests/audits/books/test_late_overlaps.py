"""Cohorts that were declared late to share patients: what came before counts against them too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from fedward.audits.books.evidence import evidence_of
from fedward.audits.books.ledger_audit import audit_books
from fedward.audits.books.plan_cost import cost_of_plan
from fedward.audits.books.result import LedgerAudit
from fedward.client.site.site_settings import write_site_toml
from fedward.client.vault.cohort_budget import CohortBudget
from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.ledger import LedgerEntry
from fedward.client.vault.verified_ledger import export_of_file
from fedward.common.ledger.entries import BalanceStruck
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.cohort_spending import cohort_accounting_delta
from fedward.common.privacy.events import GaussianEvent
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study

IDENTITY = SiteIdentity.generate()
HOSPITAL = CohortBudget(name="hospital", delta=1e-5, epsilon_cap=3.0)
WARD = CohortBudget(name="ward", delta=1e-5, epsilon_cap=3.0, shares_patients_with=("hospital",))
STUDY = "5" * 64


def opened(path: Path, *cohorts: CohortBudget) -> DurableLedger:
    return DurableLedger(path, site="north", identity=IDENTITY, cohorts=cohorts)


def released(ledger: DurableLedger, number: int, *cohorts: str) -> None:
    entry = LedgerEntry(
        run_id="run",
        study_digest=STUDY,
        study_name="small",
        query_digest=f"{number:064x}",
        kind="training",
        round=number,
        attempt=1,
        sites=2,
        delta=1e-5,
        holdout=0.2,
        cohorts=cohorts,
        event=GaussianEvent(noise_multiplier=8.0),
        event_alone=GaussianEvent(noise_multiplier=4.0),
    )
    ledger.reserve(entry)
    ledger.commit(entry.place, release_digest=f"{number:064x}")


def spent(*, noise: float = 8.0, releases: int) -> float:
    event = GaussianEvent(noise_multiplier=noise, count=releases)
    return epsilon_of([event], delta=cohort_accounting_delta(1e-5))


@pytest.fixture
def overlapped(tmp_path: Path) -> Path:
    """Two releases of the hospital, the ward declared after them, one of each, and balances."""
    path = tmp_path / "ledger.sqlite"
    first = opened(path, HOSPITAL)
    released(first, 0, "hospital")
    released(first, 1, "hospital")
    first.strike_balance(STUDY)
    first.close()
    second = opened(path, HOSPITAL, WARD)
    second.strike_balance(STUDY)
    released(second, 2, "hospital", "ward")
    released(second, 3, "ward", "hospital")
    second.strike_balance(STUDY)
    second.close()
    return path


def audit_of(path: Path) -> LedgerAudit:
    return audit_books(evidence_of([path])).audit


def failed(audit: LedgerAudit) -> set[str]:
    return {check.name for check in audit.checks if check.passed is False}


def test_a_ledger_that_counted_releases_from_before_the_overlap_passes(overlapped: Path) -> None:
    audit = audit_of(overlapped)

    assert failed(audit) == set()
    assert {check.name for check in audit.checks if check.passed} >= {"budgets", "balances", "caps"}
    found = {one.cohort: (one.releases, one.epsilon.epsilon) for one in audit.ledgers[0].cohorts}
    assert found == {"hospital": (4, spent(releases=4)), "ward": (4, spent(releases=4))}
    studies = {one.cohort: one.releases for one in audit.ledgers[0].studies}
    assert studies == {"hospital": 4, "ward": 4}


def test_its_export_passes_likewise(overlapped: Path, tmp_path: Path) -> None:
    export = tmp_path / "north.jsonl"
    lines = export_of_file(overlapped, site="north", identity=IDENTITY)
    export.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    assert failed(audit_of(export)) == set()


@pytest.mark.parametrize("counted", [1, 3])
def test_a_balance_that_forgot_releases_from_before_the_overlap_is_found(
    make_ledger: Callable[..., Any], audited: Callable[..., Any], counted: int
) -> None:
    ledger = make_ledger(None)
    ledger.open()
    ledger.declare("hospital")
    for number in range(2):
        ledger.release(number, cohorts=("hospital",))
    ledger.declare("ward", shares_patients_with=("hospital",))
    ledger.release(2, cohorts=("ward", "hospital"))
    ledger.add(
        BalanceStruck,
        cohort="ward",
        study_digest=STUDY,
        epsilon=spent(releases=counted),
        epsilon_alone=spent(noise=4.0, releases=counted),
        cohort_epsilon=spent(releases=counted),
        cohort_epsilon_alone=spent(noise=4.0, releases=counted),
    )

    outcome = audited(ledger)

    assert outcome.failed == (set() if counted == 3 else {"balances"})
    assert len(outcome.errors("balances")) == (0 if counted == 3 else 4)


def test_a_plan_counts_releases_from_before_the_overlap(overlapped: Path, study: Study) -> None:
    cost = cost_of_plan(study, sites=3, ledgers=[overlapped])

    found = {one.cohort: one.spent for one in cost.cohorts if not one.alone}
    assert found == {"hospital": spent(releases=4), "ward": spent(releases=4)}


def test_a_plan_counts_an_overlap_that_only_the_settings_declare_so_far(
    make_ledger: Callable[..., Any],
    written: Callable[[Iterable[str]], Path],
    study: Study,
    tmp_path: Path,
) -> None:
    """The ledger will hold it as soon as the site's vault opens it again."""
    ledger = opened(tmp_path / "ledger.sqlite", HOSPITAL)
    released(ledger, 0, "hospital")
    released(ledger, 1, "hospital")
    ledger.close()
    settings = tmp_path / "site.toml"
    write_site_toml(settings, name="north", cohorts=[HOSPITAL, WARD])

    cost = cost_of_plan(study, sites=3, settings=[settings])

    found = {one.cohort: one.spent for one in cost.cohorts if not one.alone}
    assert found == {"hospital": spent(releases=2), "ward": spent(releases=2)}


def test_a_plan_counts_an_overlap_that_the_settings_left_out(
    overlapped: Path, study: Study, tmp_path: Path
) -> None:
    alone = CohortBudget(name="ward", delta=1e-5, epsilon_cap=3.0)
    settings = tmp_path / "site.toml"
    write_site_toml(settings, name="north", cohorts=[HOSPITAL, alone], ledger_file=overlapped.name)

    cost = cost_of_plan(study, sites=3, settings=[settings])

    found = {one.cohort: one.spent for one in cost.cohorts if not one.alone}
    assert found == {"hospital": spent(releases=4), "ward": spent(releases=4)}


def test_a_balance_of_a_cohort_before_it_is_declared_is_found(
    make_ledger: Callable[..., Any], audited: Callable[..., Any]
) -> None:
    ledger = make_ledger(None)
    ledger.open()
    ledger.declare("hospital")
    ledger.add(
        BalanceStruck,
        cohort="ward",
        study_digest=STUDY,
        epsilon=0.0,
        epsilon_alone=0.0,
        cohort_epsilon=0.0,
        cohort_epsilon_alone=0.0,
    )
    ledger.declare("ward")

    outcome = audited(ledger)

    assert outcome.failed == {"balances"}
    assert "not declared" in outcome.errors("balances")[0].sentence
