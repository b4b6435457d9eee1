"""The sums over a site's patients: computed, clipped and encoded, one for each kind of query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.client.vault.gate import Admitted
from fedward.client.vault.held_out_sum import held_out_sum
from fedward.client.vault.kernels.clipped_sum import KernelOptions, clipped_gradient_sum
from fedward.client.vault.local_training import StreamOf, local_update, sampled_patients
from fedward.client.vault.protection import update_codec
from fedward.common.protocol.queries import (
    AnySumQuery,
    CountsQuery,
    EvaluationQuery,
    LocalUpdateQuery,
    MomentsQuery,
    SiteEvaluationQuery,
)
from fedward.common.secure_sum.ring import RingCodec
from fedward.common.study.class_counts import class_count_sum, majority_outcomes
from fedward.common.study.definition import LocalTraining, Study
from fedward.common.study.dimensions import study_model
from fedward.common.study.scaling import Scaler, moments_of_patients

Arrays = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class VaultPerformance:
    """Options that change speed only, never what is released in distribution."""

    distributed: KernelOptions = field(default_factory=KernelOptions)
    local: KernelOptions = field(default_factory=lambda: KernelOptions(kernel="opacus"))


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedSum:
    """A sum in the ring, uint64 [length]; ``noised`` if all of its noise is inside already."""

    elements: NDArray[np.uint64]
    codec: RingCodec
    noised: bool


class PatientSums:
    """Computes one site's sums. What it returns is not private before noise is added."""

    def __init__(
        self, *, cohort: Cohort, held_out: Cohort | None, performance: VaultPerformance
    ) -> None:
        self._cohort = cohort
        self._held_out = held_out
        self._performance = performance
        self._scaled: tuple[Scaler, Cohort] | None = None

    def encoded(
        self, query: AnySumQuery, arrays: Arrays, admitted: Admitted, *, stream_of: StreamOf
    ) -> EncodedSum:
        """The sum that an admitted query asks for; ``stream_of`` gives randomness by purpose.

        ``arrays`` have the shapes of the study. Raises :class:`PrivacyRefusal` if the sum does not
        fit its ring.
        """
        if isinstance(query, LocalUpdateQuery):
            return self._local_update(query, arrays, admitted, stream_of)
        total = self._total(query, arrays, admitted, stream_of)
        codec = admitted.rules.codec
        return EncodedSum(elements=codec.encode(total), codec=codec, noised=False)

    def _total(
        self, query: AnySumQuery, arrays: Arrays, admitted: Admitted, stream_of: StreamOf
    ) -> NDArray[np.float64]:
        study, rules, cohort = admitted.study, admitted.rules, self._cohort
        if isinstance(query, MomentsQuery):
            moments = moments_of_patients(cohort.features, cohort.offsets, clip=rules.clip)
            total: NDArray[np.float64] = moments.sum(axis=0)
            return total
        if isinstance(query, CountsQuery):
            return class_count_sum(majority_outcomes(cohort.target, cohort.offsets))
        scaler = _scaler(arrays, study)
        if isinstance(query, EvaluationQuery | SiteEvaluationQuery):
            held_out = self._held_out or cohort.take(np.zeros(0, dtype=np.int64))
            return held_out_sum(study, _parameters(arrays), _scaled(held_out, scaler))
        patients = sampled_patients(
            cohort, rate=rules.sampling_rate, stream=stream_of("sampling", 0)
        )
        return clipped_gradient_sum(
            study_model(study),
            _parameters(arrays),
            self._training_cohort(scaler),
            patients,
            clip=rules.clip,
            performance=self._performance.distributed,
        )

    def _local_update(
        self, query: LocalUpdateQuery, arrays: Arrays, admitted: Admitted, stream_of: StreamOf
    ) -> EncodedSum:
        study = admitted.study
        if not isinstance(study.training, LocalTraining):
            raise TypeError("only local training has local updates")
        change = local_update(
            model=study_model(study),
            parameters=_parameters(arrays),
            cohort=self._training_cohort(_scaler(arrays, study)),
            training=study.training,
            rules=admitted.rules,
            # By the signed roster, not the round's: a step means the same in every round.
            expected_patients=study.cohort.expected_patients / len(admitted.session.roster.sites),
            stream_of=stream_of,
            performance=self._performance.local,
        )
        codec = update_codec(study, sites=len(query.roster), length=len(change))
        return EncodedSum(elements=codec.encode(change), codec=codec, noised=True)

    def _training_cohort(self, scaler: Scaler) -> Cohort:
        # The scaler stays the same for a whole run, so its product is kept. Another query may
        # replace it at any moment: what is returned is what was looked at.
        kept = self._scaled
        if kept is None or not kept[0].equals(scaler):
            kept = self._scaled = (scaler, _scaled(self._cohort, scaler))
        return kept[1]


def _scaled(cohort: Cohort, scaler: Scaler) -> Cohort:
    return Cohort(
        features=scaler.apply(cohort.features), target=cohort.target, offsets=cohort.offsets
    )


def _scaler(arrays: Arrays, study: Study) -> Scaler:
    return Scaler(
        center=arrays["center"], scale=arrays["scale"], feature_clip=study.scaling.feature_clip
    )


def _parameters(arrays: Arrays) -> NDArray[np.float64]:
    """The model's parameters; copied only where the frame did not align them."""
    return np.require(arrays["parameters"], requirements=["A"])
