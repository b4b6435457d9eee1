from __future__ import annotations

from typing import Any

import pytest

from fedward.audits.empirical.result import EmpiricalAudit
from fedward.audits.report.document import AuditReport
from fedward.audits.report.lower_bounds import bounds_again, check_bounds


def changed(audit: EmpiricalAudit, **fields: Any) -> EmpiricalAudit:
    claim = audit.claims[1]
    bound = claim.bounds[0].model_copy(update=fields)
    claim = claim.model_copy(update={"bounds": (bound, *claim.bounds[1:])})
    return audit.model_copy(update={"claims": (audit.claims[0], claim)})


def test_bounds_that_follow_pass(empirical: EmpiricalAudit) -> None:
    assert list(bounds_again(empirical)) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"epsilon": 0.1},
        {"epsilon": 2.0},
        {"correct": 120},
        {"guesses": 160},
        {"confidence": 0.5},
        {"correct": 201},
        {"guesses": 2000},
    ],
)
def test_a_changed_bound_is_named(fields: dict[str, Any], empirical: EmpiricalAudit) -> None:
    (finding,) = bounds_again(changed(empirical, **fields))
    assert finding.where == "empirical, epsilon_alone, steinke_nasr_jagielski_2023"


def of_family(audit: EmpiricalAudit, **fields: Any) -> EmpiricalAudit:
    claim = audit.claims[0]
    bound = claim.bounds[1].model_copy(update=fields)
    claim = claim.model_copy(update={"bounds": (claim.bounds[0], bound)})
    return audit.model_copy(update={"claims": (claim, audit.claims[1])})


@pytest.mark.parametrize(
    "fields", [{"epsilon": 0.3}, {"epsilon": 2.5}, {"correct": 200}, {"sides": 1, "correct": 190}]
)
def test_a_changed_bound_of_the_family_is_named(
    fields: dict[str, Any], empirical: EmpiricalAudit
) -> None:
    (finding,) = bounds_again(of_family(empirical, **fields))
    assert finding.where == "empirical, epsilon, mahloujifar_melis_chaudhuri_2024"


def with_claim(body: AuditReport, **fields: Any) -> AuditReport:
    assert body.empirical is not None
    claim = body.empirical.claims[0].model_copy(update=fields)
    claims = (claim, *body.empirical.claims[1:])
    return body.model_copy(
        update={"empirical": body.empirical.model_copy(update={"claims": claims})}
    )


def test_a_bound_without_events_is_not_passed(body: AuditReport) -> None:
    assert check_bounds(body).passed is True
    check = check_bounds(with_claim(body, events=()))
    assert check.passed is None
    assert check.sentence.startswith("1 of the lower bounds")


def test_a_claim_that_is_not_the_studys_is_named(body: AuditReport) -> None:
    assert body.empirical is not None
    event = body.empirical.claims[0].events[0]
    for fields, words in (
        ({"claimed": 100.0}, "the study promises 3"),
        ({"claimed": 0.5}, "its events cost"),
        ({"delta": 1e-3}, "is at delta 0.001"),
        ({"name": "epsilon_alone"}, "claimed twice"),
        ({"events": (event.model_copy(update={"noise_multiplier": 0.01}),)}, "its events cost"),
    ):
        check = check_bounds(with_claim(body, **fields))
        assert check.passed is False
        assert words in " ".join(finding.sentence for finding in check.findings)


def test_bounds_over_too_much_are_refused_and_not_computed(body: AuditReport) -> None:
    assert body.empirical is not None
    many = body.empirical.claims[0].events * 17
    assert check_bounds(with_claim(body, events=many)).passed is False
