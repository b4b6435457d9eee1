"""What one patient can change of a sum, through the vault's whole path but for the noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.client.vault.protection import SumKind, SumRules
from fedward.client.vault.vault import Vault
from fedward.common.protocol.queries import AnySumQuery
from fedward.common.protocol.releases import Answer, SumRelease
from fedward.common.secure_sum.ring import RingCodec, decode_units
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions
from fedward.simulations.hospitals.holdout import concatenate
from fedward.simulations.unprotected import NoShare

MakeStudy = Callable[..., Study]
MakeCohort = Callable[..., Cohort]
MakeVault = Callable[..., Vault]
MakeQuery = Callable[..., AnySumQuery]
Ask = Callable[..., tuple[Answer, NDArray[np.uint64] | None]]

CLIP = 0.8


@dataclass(frozen=True)
class ClippedOnly:
    """The clip of the study, and no noise: shows what noise has to hide."""

    clip: float = CLIP

    def minimum_roster(self, study: Study) -> int:
        return 1

    def rules(self, study: Study, kind: SumKind, *, sites: int) -> SumRules:
        dimensions = Dimensions.of(study)
        codec = RingCodec(
            clip=self.clip,
            length=dimensions.moments if kind == "moments" else dimensions.parameters,
            max_patients=1000,
            sites=sites,
            noise_multiplier=0.0,
        )
        return SumRules(
            clip=self.clip, sampling_rate=1.0, codec=codec, share=NoShare(), executed=None
        )

    def planned(self, study: Study, kind: SumKind, *, sites: int) -> None:
        return


def outlier(rows: int, *, columns: int = 3) -> Cohort:
    """One patient at the corner of every range, always mispredicted by the model below."""
    return Cohort.from_rows(
        features=np.ones((rows, columns)),
        target=np.zeros(rows),
        patients=np.zeros(rows, dtype=np.int64),
    )


@pytest.fixture
def sum_of(make_vault: MakeVault, make_query: MakeQuery, ask: Ask) -> Callable[..., Any]:
    def total(
        study: Study, cohort: Cohort, kind: str, **arrays: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        vault = make_vault(study, cohort=cohort, protection=ClippedOnly())
        release, elements = ask(vault, study, make_query(study, kind), **arrays)
        assert isinstance(release, SumRelease)
        assert elements is not None
        return decode_units(elements, scale_bits=release.scale_bits)

    return total


@pytest.mark.parametrize("rows", [1, 50])
@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ({"name": "logistic_regression"}, "gradient_sum"),
        ({"name": "mlp", "options": {"hidden": [5]}}, "gradient_sum"),
        ({"name": "logistic_regression"}, "moments"),
    ],
)
def test_a_patient_moves_the_sum_by_the_clip_at_most(
    make_study: MakeStudy,
    make_cohort: MakeCohort,
    sum_of: Callable[..., NDArray[np.float64]],
    model: dict[str, Any],
    kind: str,
    rows: int,
) -> None:
    study = make_study(model=model)
    rest = make_cohort(30)
    # Weights at which the outlier's own gradient is far above the clip.
    arrays = {}
    if kind != "moments":
        arrays["parameters"] = np.full(Dimensions.of(study).parameters, 4.0)
    rounding = np.sqrt(len(sum_of(study, rest, kind, **arrays))) * 2.0**-23 * CLIP

    change = sum_of(study, concatenate([rest, outlier(rows)]), kind, **arrays) - sum_of(
        study, rest, kind, **arrays
    )

    norm = float(np.linalg.norm(change))
    assert norm <= CLIP * (1 + 2.0**-16) + rounding
    # The clip was at work, or the test would show nothing.
    assert norm >= CLIP * 0.999


def test_the_number_of_a_patients_rows_does_not_matter(
    make_study: MakeStudy, sum_of: Callable[..., NDArray[np.float64]]
) -> None:
    study = make_study()
    one, fifty = (
        sum_of(study, outlier(rows), "gradient_sum", parameters=np.zeros(4)) for rows in (1, 50)
    )

    np.testing.assert_allclose(fifty, one, atol=1e-7)


def test_the_sum_is_that_of_the_patients_mean_gradients(
    make_study: MakeStudy, make_cohort: MakeCohort, sum_of: Callable[..., NDArray[np.float64]]
) -> None:
    study, cohort = make_study(), make_cohort(30)
    parameters = np.array([0.3, -0.2, 0.1, 0.05])
    center, scale = np.array([0.1, 0.0, -0.1]), np.array([0.5, 1.0, 0.4])

    rows = np.clip((cohort.features - center) / scale, -study.scaling.feature_clip,
                   study.scaling.feature_clip)  # fmt: skip
    chance = 1 / (1 + np.exp(-(rows @ parameters[:-1] + parameters[-1])))
    by_row = (chance - cohort.target)[:, None] * np.hstack([rows, np.ones((len(rows), 1))])
    expected = np.zeros(4)
    for start, end in zip(cohort.offsets[:-1], cohort.offsets[1:], strict=True):
        mean = by_row[start:end].mean(axis=0)
        expected += mean * min(1.0, CLIP / np.linalg.norm(mean))

    found = sum_of(study, cohort, "gradient_sum", parameters=parameters, center=center, scale=scale)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_noise_comes_on_top_of_exactly_this_sum(
    make_study: MakeStudy,
    make_cohort: MakeCohort,
    make_vault: MakeVault,
    make_query: MakeQuery,
    ask: Ask,
) -> None:
    study = make_study(privacy={"clip": CLIP}, cohort={"max_patients_per_site": 1000})
    parameters = np.array([0.3, -0.2, 0.1, 0.05])

    def total(cohort: Cohort) -> NDArray[np.int64]:
        vault = make_vault(study, cohort=cohort, noise_seed=3)
        _, elements = ask(vault, study, make_query(study), parameters=parameters)
        assert elements is not None
        return elements.view(np.int64)

    cohort = make_cohort(30)
    with_all = total(cohort)
    without_one = total(cohort.take(np.arange(29)))

    # The same seed gives both the same noise, so the difference is the last patient's share.
    units = np.linalg.norm((with_all - without_one).astype(np.float64))
    assert 0 < units <= CLIP * 2.0**25 * (1 + 2.0**-16) + 2
