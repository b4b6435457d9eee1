from __future__ import annotations

from typing import Any

import pytest

from fedward.audits.report.document import Account, AuditReport
from fedward.audits.report.recomputation import check_epsilons


def with_account(body: AuditReport, **fields: Any) -> AuditReport:
    site = body.sites[1]
    account = site.accounts[0].model_copy(update=fields)
    site = site.model_copy(update={"accounts": (account, *site.accounts[1:])})
    return body.model_copy(update={"sites": (body.sites[0], site, *body.sites[2:])})


def first(body: AuditReport) -> Account:
    return body.sites[1].accounts[0]


def said(body: AuditReport) -> str:
    check = check_epsilons(body)
    assert check.passed is not bool(check.findings)
    return " | ".join(f"{one.where}: {one.sentence}" for one in check.findings)


def test_what_was_gathered_agrees(body: AuditReport) -> None:
    assert said(body) == ""
    assert check_epsilons(body.model_copy(update={"sites": (), "ledgers": ()})).passed is True


@pytest.mark.parametrize("name", ["epsilon", "epsilon_alone"])
@pytest.mark.parametrize("index", [0, -1])
@pytest.mark.parametrize("change", [-0.001, 0.001])
def test_a_changed_moment_is_named(name: str, index: int, change: float, body: AuditReport) -> None:
    moments = list(first(body).moments)
    wrong = getattr(moments[index], name) + change
    moments[index] = moments[index].model_copy(update={name: wrong})
    place = f"sites, site-1, cohort patients, entry {moments[index].sequence}: "
    assert place + name.replace("_", " ") in said(with_account(body, moments=tuple(moments)))


def test_fewer_releases_than_moments_count_are_found(body: AuditReport) -> None:
    lines = list(first(body).charges)
    lines[0] = lines[0].model_copy(update={"releases": lines[0].releases + 1})
    assert "does not count all releases" in said(with_account(body, charges=tuple(lines)))


def test_more_noise_than_was_charged_is_found(body: AuditReport) -> None:
    lines = list(first(body).charges)
    event = lines[0].event
    assert event is not None
    more = event.model_copy(update={"noise_multiplier": 2 * event.noise_multiplier})
    lines[0] = lines[0].model_copy(update={"event": more})
    assert "but its events cost" in said(with_account(body, charges=tuple(lines)))


def test_more_committed_than_reserved_is_found(body: AuditReport) -> None:
    lines = list(first(body).charges)
    lines[0] = lines[0].model_copy(update={"committed": lines[0].releases, "abandoned": 1})
    assert "than reserved" in said(with_account(body, charges=tuple(lines)))


def test_moments_out_of_order_and_of_another_length_are_found(body: AuditReport) -> None:
    moments = first(body).moments
    assert "counts fewer releases" in said(with_account(body, moments=moments[::-1]))
    short = moments[-1].model_copy(update={"releases": ()})
    assert "counts 0 kinds" in said(with_account(body, moments=(*moments[:-1], short)))


def test_the_end_must_be_that_of_the_last_moment(body: AuditReport) -> None:
    assert "epsilon is given as 0.25" in said(with_account(body, epsilon=0.25))
    assert "epsilon is given as none" in said(with_account(body, epsilon=None))
    assert "does not count all releases" in said(with_account(body, moments=()))


def test_a_delta_that_cannot_be_computed_at_is_named(body: AuditReport) -> None:
    assert "cannot be computed again" in said(with_account(body, delta=1e-300))


def with_table(body: AuditReport, **fields: Any) -> AuditReport:
    ledger = body.ledgers[0]
    cohort = ledger.cohorts[0].model_copy(update=fields)
    ledger = ledger.model_copy(update={"cohorts": (cohort, *ledger.cohorts[1:])})
    return body.model_copy(update={"ledgers": (ledger, *body.ledgers[1:])})


@pytest.mark.parametrize("part", ["epsilon", "epsilon_alone"])
@pytest.mark.parametrize("field", ["prv_low", "prv_high", "rdp"])
def test_each_accountants_number_is_computed_again(
    part: str, field: str, body: AuditReport
) -> None:
    told = getattr(body.ledgers[0].cohorts[0], part)
    for value in (0.003, None):
        wrong = told.model_copy(update={field: value})
        assert f"{part.replace('_', ' ')} by " in said(with_table(body, **{part: wrong}))


def test_a_table_about_other_cohorts_and_sites_is_an_error(body: AuditReport) -> None:
    assert "is no cohort of this hospital" in said(with_table(body, cohort="Patients"))
    assert "is missing in the accountants' table" in said(with_table(body, cohort="Patients"))
    assert "has delta 0.001" in said(with_table(body, delta=0.001))
    assert "has cap 99" in said(with_table(body, epsilon_cap=99.0))
    stranger = body.ledgers[0].model_copy(update={"site": "site-9"})
    found = said(body.model_copy(update={"ledgers": (*body.ledgers, stranger)}))
    assert found == "ledgers, site-9: is about no hospital on this page, or a second time"
    assert "second time" in said(body.model_copy(update={"ledgers": body.ledgers * 2}))
    assert "no line in" in said(body.model_copy(update={"ledgers": body.ledgers[1:]}))
    fewer = body.ledgers[0].model_copy(update={"reserved": 1})
    assert "has reserved 1" in said(body.model_copy(update={"ledgers": (fewer, *body.ledgers[1:])}))


def test_studies_in_the_table_are_computed_again(body: AuditReport) -> None:
    ledger = body.ledgers[0]
    study = ledger.studies[0]
    for wrong, words in (
        (study.model_copy(update={"delta": 0.5}), "has delta 0.5"),
        (study.model_copy(update={"cohort": "others"}), "is no study of this cohort"),
        (
            study.model_copy(update={"epsilon": study.epsilon.model_copy(update={"rdp": 0.01})}),
            "epsilon by RDP is given as 0.01",
        ),
    ):
        changed = ledger.model_copy(update={"studies": (wrong, *ledger.studies[1:])})
        report = body.model_copy(update={"ledgers": (changed, *body.ledgers[1:])})
        assert words in said(report)


def test_the_study_is_counted_at_its_own_delta(body: AuditReport) -> None:
    study = body.study.model_copy(update={"delta": 1e-6})
    found = said(body.model_copy(update={"study": study}))
    assert "is counted at delta 0.0001, but the study's is 1e-06" in found


def test_the_accountants_table_must_agree(body: AuditReport) -> None:
    ledger = body.ledgers[0]
    cohort = ledger.cohorts[0]
    assert cohort.epsilon.epsilon is not None
    wrong = cohort.epsilon.model_copy(update={"epsilon": cohort.epsilon.epsilon - 0.5})
    cohort = cohort.model_copy(update={"epsilon": wrong})
    ledger = ledger.model_copy(update={"cohorts": (cohort,)})
    found = said(body.model_copy(update={"ledgers": (ledger, *body.ledgers[1:])}))
    assert found.startswith("ledgers, site-0, cohort patients: epsilon is given as 2.")
