"""What a vault takes in: checked when it is made, for either part of its patients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.client.vault.vault import Vault
from fedward.common.errors import InputError
from fedward.common.protocol.queries import AnySumQuery
from fedward.common.protocol.releases import Answer
from fedward.common.study.definition import Study

MakeStudy = Callable[..., Study]
MakeCohort = Callable[..., Cohort]
MakeVault = Callable[..., Vault]
MakeQuery = Callable[..., AnySumQuery]
Ask = Callable[..., tuple[Answer, NDArray[np.uint64] | None]]


@pytest.mark.parametrize("part", ["cohort", "held_out"])
def test_a_cohort_of_other_columns_is_refused(
    study: Study, make_vault: MakeVault, make_cohort: MakeCohort, part: str
) -> None:
    with pytest.raises(ValueError, match="4 columns, not 3"):
        make_vault(study, **{part: make_cohort(columns=4)})


def test_a_cohort_without_patients_is_refused(
    study: Study, make_vault: MakeVault, make_cohort: MakeCohort
) -> None:
    with pytest.raises(InputError, match="no patient"):
        make_vault(study, cohort=make_cohort().take(np.array([], dtype=np.int64)))


PARTS = ("cohort", "held_out")


@pytest.mark.parametrize("part", PARTS)
def test_more_patients_than_the_ring_was_sized_for_are_refused(
    make_study: MakeStudy, make_vault: MakeVault, make_cohort: MakeCohort, part: str
) -> None:
    study = make_study(cohort={"max_patients_per_site": 19})

    make_vault(study, **({"cohort": make_cohort(19)} | {part: make_cohort(19)}))
    with pytest.raises(InputError, match="max_patients_per_site"):
        make_vault(study, **({"cohort": make_cohort(19)} | {part: make_cohort(20)}))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.5, -1.01])
def test_features_outside_the_agreed_range_are_refused(
    study: Study, make_vault: MakeVault, make_cohort: MakeCohort, value: float, part: str
) -> None:
    cohort = make_cohort()
    features = cohort.features.copy()
    features[3, 1] = value

    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        make_vault(
            study,
            **{part: Cohort(features=features, target=cohort.target, offsets=cohort.offsets)},
        )


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("value", [np.nan, 0.5, 2.0, -1.0])
def test_outcomes_other_than_0_and_1_are_refused(
    study: Study, make_vault: MakeVault, make_cohort: MakeCohort, value: float, part: str
) -> None:
    cohort = make_cohort()
    target = cohort.target.copy()
    target[3] = value

    with pytest.raises(ValueError, match="0 or 1"):
        make_vault(
            study,
            **{part: Cohort(features=cohort.features, target=target, offsets=cohort.offsets)},
        )
