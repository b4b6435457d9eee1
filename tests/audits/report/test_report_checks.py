from __future__ import annotations

import pytest

from fedward.audits.empirical.result import EmpiricalAudit
from fedward.audits.report.document import AuditReport, SiteBooks
from fedward.audits.report.report_checks import claims_planned, complete, promise_kept, same_study
from fedward.common.study.definition import Study


def test_complete_counts_the_ledgers(body: AuditReport) -> None:
    names = [site.site for site in body.sites]
    assert complete(body.sites, given=3, of_run=names).passed is True
    check = complete(body.sites, given=5, of_run=names)
    assert check.passed is False
    assert "2 of 5" in check.sentence


def test_a_site_of_the_run_without_a_ledger_is_named(body: AuditReport) -> None:
    check = complete(body.sites[:1], given=1, of_run=[site.site for site in body.sites])
    assert check.passed is False
    assert "2 of 3 hospitals" in check.sentence
    assert [finding.where for finding in check.findings] == ["site-1", "site-2"]


def test_without_roster_and_log_nobody_knows_who_took_part(body: AuditReport) -> None:
    assert complete(body.sites, given=3).passed is None


def test_lower_bounds_are_held_to_the_plans_claims(study: Study, empirical: EmpiricalAudit) -> None:
    (check,) = claims_planned(study, empirical)
    assert check.passed is True
    for index, fields in ((0, {"claimed": 100.0}), (1, {"claimed": 1e3}), (1, {"delta": 0.1})):
        claims = list(empirical.claims)
        claims[index] = claims[index].model_copy(update=fields)
        (check,) = claims_planned(study, empirical.model_copy(update={"claims": tuple(claims)}))
        assert check.passed is False
        assert [finding.where for finding in check.findings] == [claims[index].name]
    (none,) = claims_planned(study, empirical.model_copy(update={"claims": ()}))
    assert none.passed is None
    (unplanned,) = claims_planned(study, empirical.model_copy(update={"sites": 1}))
    assert unplanned.passed is False
    assert not list(claims_planned(study, empirical.model_copy(update={"study_digest": "0" * 64})))


def test_a_promise_is_kept_up_to_the_last_digit(body: AuditReport) -> None:
    assert promise_kept(body.study, body.sites).passed is True
    spent = max(account.epsilon or 0 for site in body.sites for account in site.accounts)
    for promised, passed in ((spent, True), (spent - 1e-4, False)):
        study = body.study.model_copy(update={"epsilon": promised})
        check = promise_kept(study, body.sites)
        assert check.passed is passed
        assert len(check.findings) == (0 if passed else 3)


def test_a_release_without_noise_breaks_the_promise(body: AuditReport) -> None:
    check = promise_kept(body.study, [bare(body.sites[0]), *body.sites[1:]])
    assert check.passed is False
    assert [finding.where for finding in check.findings] == ["site-0"]
    assert "without noise" in check.findings[0].sentence


def test_nothing_released_promises_nothing(body: AuditReport) -> None:
    assert promise_kept(body.study, ()).passed is None


@pytest.mark.parametrize("same", [True, False])
def test_what_was_tried_on_another_study_is_no_proof(same: bool, body: AuditReport) -> None:
    digest = body.study.digest if same else "0" * 64
    study = body.study.model_copy(update={"digest": digest})
    checks = list(same_study(study, {"e.json": body.empirical, "a.json": body.attacks}))
    assert [check.passed for check in checks] == ([True, True] if same else [None, None])
    assert [check.name for check in checks] == ["empirical audit", "attacks"]
    assert list(same_study(study, {"e.json": None})) == []


def bare(site: SiteBooks) -> SiteBooks:
    accounts = [account.model_copy(update={"epsilon": None}) for account in site.accounts]
    return site.model_copy(update={"accounts": tuple(accounts)})
