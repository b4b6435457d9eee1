from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fedward.audits.empirical.audit import INVENTED, audit_study
from fedward.audits.empirical.result import EmpiricalAudit
from fedward.client.cohort import Cohort
from fedward.client.vault import protection
from fedward.common.errors import PrivacyRefusal
from fedward.common.study.definition import Study

Audited = Callable[[str], Study]


def test_a_sound_study_passes_and_its_record_can_be_read_again(audited: Audited) -> None:
    study, stages = audited("full"), []
    found = audit_study(
        study, canaries=500, seed=2, on_stage=lambda stage, done, total: stages.append(stage)
    )
    assert found.passed
    assert found.study_digest == study.digest
    assert (found.sites, found.canaries, found.data_description) == (4, 500, INVENTED)
    assert [claim.claimed for claim in found.claims] == sorted(
        claim.claimed for claim in found.claims
    )
    assert any(meter.check.passed for meter in found.meters)
    assert list(dict.fromkeys(stages)) == ["sums from all vaults", "lower bounds", "meters"]
    assert EmpiricalAudit.model_validate_json(found.model_dump_json()) == found


def test_a_study_whose_noise_is_too_small_fails_in_meters_and_claims(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = protection.add_noise_share

    def too_little(elements: Any, plan: Any, codec: Any, stream: Any) -> None:
        real(elements, replace(plan, share_multiplier=plan.share_multiplier / 6), codec, stream)

    monkeypatch.setattr(protection, "add_noise_share", too_little)
    found = audit_study(audited("full"), canaries=500, seed=2)
    assert not found.passed
    assert any(meter.check.passed is False for meter in found.meters)
    assert not any(claim.holds for claim in found.claims)


def test_given_patients_set_the_sites(audited: Audited, make_cohort: Callable[..., Cohort]) -> None:
    cohorts = {f"ward-{number}": make_cohort(12, seed=number) for number in range(3)}
    found = audit_study(
        audited("full"), cohorts=cohorts, data_description="three wards", canaries=300, seed=3
    )
    assert found.sites == 3
    assert found.data_description == "three wards"
    assert found.passed


def test_the_same_seed_gives_the_same_bounds(audited: Audited) -> None:
    first, again, other = (
        audit_study(audited("full"), canaries=300, seed=seed) for seed in (4, 4, 5)
    )
    assert first.claims == again.claims
    assert first.claims != other.claims


def test_refuses_a_study_without_a_plan_for_so_few_sites(audited: Audited) -> None:
    with pytest.raises(PrivacyRefusal, match="minimum_sites"):
        audit_study(audited("full"), sites=1, canaries=100)
