from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fedward.audits.attacks.result import AttackResult
from fedward.audits.attacks.trap_weights import trap_weights
from fedward.audits.attacks.views import Sites
from fedward.client.cohort import Cohort
from fedward.common.study.definition import Study

MakeCohort = Callable[..., Cohort]


def attacked(
    study: Study, make_cohort: MakeCohort, reference: Cohort | None = None
) -> AttackResult:
    cohorts = {f"site-{n}": make_cohort(20 + n, seed=n, most_rows=1) for n in range(3)}
    return trap_weights(
        study,
        Sites(cohorts=cohorts, victim="site-2", noise_seed=5),
        reference=make_cohort(20, seed=9) if reference is None else reference,
        generator=np.random.default_rng(1),
    )


def long(make_study: Callable[..., Study], **changes: Any) -> Study:
    training = {"method": "distributed", "rounds": 30, "learning_rate": 1.0}
    return make_study(training=training, **changes)


def test_records_are_shown_that_were_read_beside_what_else_was_found(
    make_study: Callable[..., Study], make_cohort: MakeCohort
) -> None:
    result = attacked(long(make_study), make_cohort)
    figures = {figure.view: figure.value for figure in result.figures}

    assert figures["raw"] == figures["clipped"] == 1.0
    assert figures["masked"] is not None
    assert 0.2 < figures["masked"] < 0.7
    assert figures["noised"] == 0
    assert result.worked_against_release is False
    assert len(result.reconstructions) == 4
    for shown in result.reconstructions:
        assert shown.names == ("x0", "x1", "x2")
        for view in ("raw", "clipped", "masked"):
            assert shown.found[view] == pytest.approx(shown.true, abs=1e-3)


def test_knowing_the_records_beforehand_is_no_success(
    make_study: Callable[..., Study], make_cohort: MakeCohort
) -> None:
    """What the attacker's own patients give away is what guessing would reach."""
    same = make_cohort(21, seed=1, most_rows=1)
    result = attacked(long(make_study), make_cohort, reference=same)
    chance = {figure.view: figure.chance for figure in result.figures}

    assert chance["raw"] == 0
    assert chance["masked"] == pytest.approx(21 / 63)
    assert result.worked_against_release is False


def test_too_few_rounds_or_patients_are_told(
    make_study: Callable[..., Study], make_cohort: MakeCohort
) -> None:
    short = {"method": "distributed", "rounds": 2, "learning_rate": 1.0}
    healthy = make_cohort(20, seed=9)
    alike = Cohort(
        features=healthy.features.copy(),
        target=np.zeros(len(healthy.target)),
        offsets=healthy.offsets.copy(),
    )
    for result, why in (
        (attacked(make_study(training=short), make_cohort), "needs 3 rounds"),
        (attacked(long(make_study), make_cohort, reference=alike), "both outcomes"),
    ):
        assert result.worked_against_release is None
        assert all(figure.value is None and why in figure.why for figure in result.figures)
