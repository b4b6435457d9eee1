"""What one patient can change of a sum, through the vault's whole path but for the noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.client.vault.protection import SumRules
from fedward.client.vault.vault import Vault
from fedward.common.privacy.sum_plan import SumKind
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

    def rules(self, study: Study, kind: SumKind, *, sites: int, colluding: int) -> SumRules:
        codec = RingCodec(
            clip=self.clip,
            length=Dimensions.of(study).of_kind(kind),
            max_patients=1000,
            sites=sites,
            noise_multiplier=0.0,
        )
        return SumRules(
            clip=self.clip, sampling_rate=1.0, codec=codec, share=NoShare(), executed=None
        )

    def plan(self, study: Study, *, sites: int, colluding: int) -> None:
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
        vault = make_vault(study, cohort=cohort, held_out=cohort, protection=ClippedOnly())
        # A site by itself has nobody to be hidden among, so its sum can be looked at.
        query = make_query(study, kind, roster=("site-0",))
        release, elements = ask(vault, study, query, **arrays)
        assert isinstance(release, SumRelease)
        assert elements is not None
        assert not release.masked
        return decode_units(elements, scale_bits=release.scale_bits)

    return total


@pytest.mark.parametrize("rows", [1, 50])
@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ({"name": "logistic_regression"}, "gradient_sum"),
        ({"name": "mlp", "options": {"hidden": [5]}}, "gradient_sum"),
        ({"name": "logistic_regression"}, "moments"),
        ({"name": "logistic_regression"}, "counts"),
        ({"name": "logistic_regression"}, "evaluation"),
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
    study = make_study(model=model, statistics={})
    rest = make_cohort(30)
    # One patient counts as one, and its scores as a hair less.
    bound = 1.0 if kind in {"counts", "evaluation"} else CLIP
    # Weights at which the outlier's own gradient is far above the clip.
    arrays = {}
    if kind not in {"moments", "counts"}:
        arrays["parameters"] = np.full(Dimensions.of(study).parameters, 4.0)
    rounding = np.sqrt(len(sum_of(study, rest, kind, **arrays))) * 2.0**-23 * bound

    change = sum_of(study, concatenate([rest, outlier(rows)]), kind, **arrays) - sum_of(
        study, rest, kind, **arrays
    )

    norm = float(np.linalg.norm(change))
    assert norm <= bound * (1 + 2.0**-16) + rounding
    # The clip was at work, or the test would show nothing.
    assert norm >= bound * 0.999


@pytest.mark.parametrize("model", [{"name": "logistic_regression"}, {"name": "mlp"}])
@pytest.mark.parametrize("patients", [41, 47])
def test_no_question_of_the_coordinator_makes_a_patient_count_for_more(
    make_study: MakeStudy,
    make_cohort: MakeCohort,
    sum_of: Callable[..., NDArray[np.float64]],
    model: dict[str, Any],
    patients: int,
) -> None:
    # A center far away puts every feature at the clip, so that weights that cancel leave nothing
    # but the rounding of a product, which the factor makes into a certainty.
    study = make_study(columns=13, model=model)
    dimensions = Dimensions.of(study)
    cohort = make_cohort(patients + 1, columns=13)
    cohort = Cohort(
        features=cohort.features, target=np.ones(len(cohort.target)), offsets=cohort.offsets
    )
    row = np.full((48, 13), study.scaling.feature_clip)
    generator = np.random.default_rng(0)
    moved = 0.0
    for _ in range(8):
        weights = generator.standard_normal(13)
        for total in {*(row[:1] @ weights), *(row[:-1] @ weights), *(row @ weights)}:
            parameters = np.zeros(dimensions.parameters)
            parameters[:13] = 2.0**60 * weights
            bias = 13 * 32 if model["name"] == "mlp" else 13
            parameters[bias] = -(2.0**60) * total
            if model["name"] == "mlp":
                parameters[-33], parameters[-1] = 2.0**60, -1e-3  # the first hidden unit's weight
            with_all, without_one = (
                sum_of(
                    study,
                    some,
                    "evaluation",
                    parameters=parameters,
                    center=np.full(13, -100.0),
                )
                for some in (cohort, cohort.take(np.arange(patients)))
            )
            moved = max(moved, float(np.linalg.norm(with_all - without_one)))

    rounding = np.sqrt(dimensions.evaluation) * 2.0**-23
    assert 0.9 < moved <= 1 + 2.0**-16 + rounding


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
        vault = make_vault(study, cohort=cohort, noise_seed=3, masked=False)
        _, elements = ask(vault, study, make_query(study), parameters=parameters)
        assert elements is not None
        return elements.view(np.int64)

    cohort = make_cohort(30)
    with_all = total(cohort)
    without_one = total(cohort.take(np.arange(29)))

    # The same seed gives both the same noise, so the difference is the last patient's share.
    units = np.linalg.norm((with_all - without_one).astype(np.float64))
    assert 0 < units <= CLIP * 2.0**25 * (1 + 2.0**-16) + 2
