from __future__ import annotations

import math
from typing import Any

import pytest

from fedward.client.vault.cohort_budget import CohortBudget
from fedward.client.vault.policy import Refused, SitePolicy, StudyCap
from fedward.common.protocol.releases import RefusalReason


def policy_of(**changes: Any) -> SitePolicy:
    fields: dict[str, Any] = {"federation_key": bytes(32), "known_keys": {"a": bytes(32)}}
    return SitePolicy(**(fields | changes))


@pytest.mark.parametrize("name", ["epsilon_cap", "epsilon_alone_cap"])
@pytest.mark.parametrize("cap", [math.nan, math.inf, -1.0])
def test_a_cap_that_would_forbid_nothing_is_refused(name: str, cap: float) -> None:
    with pytest.raises(ValueError, match="cap"):
        policy_of(**{name: cap})


@pytest.mark.parametrize(
    "changes",
    [
        {"federation_key": bytes(31)},
        {"known_keys": {"a": bytes(32), "b": bytes(33)}},
        {"minimum_sites": 0},
        {"colluding": -1},
    ],
)
def test_what_is_no_key_or_no_number_of_sites_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"keys|minimum_sites"):
        policy_of(**changes)


def test_a_policy_allows_no_evaluation_of_a_site_by_itself() -> None:
    assert not policy_of().allow_site_evaluation


@pytest.mark.parametrize("cap", [math.nan, math.inf, -1.0])
def test_nor_may_a_studys_own_cap_forbid_nothing(cap: float) -> None:
    for name in ("epsilon_cap", "epsilon_alone_cap"):
        with pytest.raises(ValueError, match="cap"):
            StudyCap(**{name: cap})


def test_a_studys_own_caps_count_instead_of_the_usual_ones() -> None:
    own = StudyCap(epsilon_cap=5.0)
    policy = policy_of(epsilon_cap=1.0, epsilon_alone_cap=2.0, study_caps={"a": own})

    assert policy.cap_of("a") == own
    assert policy.cap_of("b") == StudyCap(epsilon_cap=1.0, epsilon_alone_cap=2.0)


def test_a_site_answers_for_the_cohorts_that_it_declares() -> None:
    cardiology = CohortBudget(name="cardiology", delta=1e-5, epsilon_cap=1.0)
    policy = policy_of(cohorts={"cardiology": cardiology})

    assert policy.charged_cohorts("cardiology") == ("cardiology",)
    with pytest.raises(Refused, match="no budget for cohort patients") as caught:
        policy.charged_cohorts("patients")
    assert caught.value.reason == RefusalReason.BUDGET_EXCEEDED
    assert policy_of().charged_cohorts("patients") == ("patients",)
    with pytest.raises(ValueError, match="own names"):
        policy_of(cohorts={"patients": cardiology})


def test_a_release_is_charged_to_what_policy_or_ledger_say() -> None:
    clinic, lab, ward = (
        CohortBudget(name=name, delta=1e-5, epsilon_cap=1.0, shares_patients_with=shared)
        for name, shared in (("clinic", ()), ("lab", ("clinic",)), ("ward", ("clinic",)))
    )
    policy = policy_of(cohorts={"clinic": clinic, "ward": ward})
    declared = {"clinic": clinic, "lab": lab}

    assert policy.charged_cohorts("clinic", declared=declared) == ("clinic", "lab", "ward")
    assert policy_of().charged_cohorts("clinic", declared=declared) == ("clinic", "lab")
    assert policy.charged_cohorts("clinic", declared={}) == ("clinic", "ward")
    for asked in ("lab", "ward"):
        with pytest.raises(Refused, match=f"no budget for cohort {asked}"):
            policy.charged_cohorts(asked, declared=declared)
