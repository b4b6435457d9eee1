"""The auditor's vaults are real ones: they refuse, charge and mask as a hospital's do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fedward.audits.empirical.audit_study import AuditStudy
from fedward.audits.empirical.meters.charging import charge_meter, planned_events
from fedward.audits.empirical.real_patients import invented_cohort, invented_cohorts
from fedward.audits.empirical.rehearsed_sites import BareProtection, NotReleased, RehearsedSites
from fedward.common.study.columns import design_columns
from fedward.common.study.definition import Study

Audited = Callable[[str], Study]


def sites_of(study: Study, **options: object) -> tuple[RehearsedSites, dict[str, np.ndarray]]:
    audit = AuditStudy.of(study, canaries=3)
    generator = np.random.default_rng(0)
    nobody = np.zeros(0, dtype=np.int64)
    cohorts = {
        site: audit.with_canaries(cohort, canaries=nobody, positive=nobody.astype(bool))
        for site, cohort in invented_cohorts(study, sites=2, generator=generator).items()
    }
    arrays = {"parameters": audit.parameters()} | audit.scaler()
    return RehearsedSites(audit.study, cohorts, **options), arrays  # type: ignore[arg-type]


def test_a_sum_is_given_once(audited: Audited) -> None:
    asked, arrays = sites_of(audited("full"))
    asked.ask("training", round_number=1, arrays=arrays)

    with pytest.raises(NotReleased, match=r"site-1 did not release the training sum of round 1: "):
        asked.ask("training", round_number=1, arrays=arrays)


def test_no_more_is_given_than_the_study_pays_for(audited: Audited) -> None:
    asked, arrays = sites_of(audited("poisson"))

    for number in range(1, 7):
        asked.ask("training", round_number=number, arrays=arrays)

    with pytest.raises(NotReleased, match="budget"):
        asked.ask("training", round_number=6, attempt=2, arrays=arrays)


def test_every_kind_is_released_and_charged(audited: Audited) -> None:
    asked, arrays = sites_of(audited("full"))
    for kind in ("moments", "counts", "evaluation", "site_evaluation"):
        asked.ask_once(kind, arrays)
    asked.ask("training", round_number=2, arrays=arrays)

    assert charge_meter([asked]).check.passed is True
    assert {one.kind for one in asked.releases} == {
        entry.kind for entry in asked.ledgers["site-1"].entries()
    }
    for one in asked.releases:
        event, alone = planned_events(asked, one)
        assert one.executed is not None
        assert one.executed.noise_multiplier == event.noise_multiplier
        assert one.executed.share_multiplier == alone.noise_multiplier


def test_bare_vaults_release_the_sum_itself(audited: Audited) -> None:
    asked, arrays = sites_of(audited("full"), protection=BareProtection())
    asked.ask_once("counts", arrays)

    counts = asked.values("counts", "site-1")[0]
    np.testing.assert_array_equal(counts, np.rint(counts))
    assert counts.sum() > 0


def test_masked_vaults_release_what_means_nothing_alone(audited: Audited) -> None:
    asked, arrays = sites_of(audited("full"), masked=True)
    asked.ask("training", round_number=1, arrays=arrays)

    assert all(one.masked for one in asked.releases)
    assert max(float(np.abs(one.values).max()) for one in asked.releases) > 1e6


def test_invented_patients_are_the_studys(make_study: Callable[..., Study]) -> None:
    study = make_study(
        features=[
            {"kind": "numeric", "name": "a", "unit": "u", "range": (0.0, 2.0)},
            {"kind": "categorical", "name": "b", "categories": ("x", "y", "z")},
        ]
    )
    cohort = invented_cohort(study, patients=40, generator=np.random.default_rng(3))

    assert cohort.features.shape == (50, len(design_columns(study)))
    assert cohort.patient_count == 40
    assert np.isin(cohort.features[:, 1:], (0.0, 1.0)).all()
    assert np.abs(cohort.features).max() <= 1
    assert set(np.unique(cohort.target)) == {0.0, 1.0}
