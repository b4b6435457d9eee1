"""The vault: owner of the cohort, and the only code that answers queries about it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.client.vault.gate import Admitted, Gate, Refused, SitePolicy
from fedward.client.vault.kernels.clipped_sum import KernelOptions, clipped_gradient_sum
from fedward.client.vault.ledger import Ledger
from fedward.client.vault.local_training import local_update, sampled_patients
from fedward.client.vault.protection import Protection, update_codec
from fedward.common.errors import InputError, PrivacyRefusal
from fedward.common.privacy.random_source import RandomSource, RandomStream
from fedward.common.protocol.frame import FrameError
from fedward.common.protocol.queries import (
    AnySumQuery,
    IdentifyQuery,
    LocalUpdateQuery,
    MomentsQuery,
    decode_query,
    frame_digest,
)
from fedward.common.protocol.releases import (
    Answer,
    Identified,
    Refusal,
    RefusalReason,
    SumRelease,
    encode_answer,
)
from fedward.common.secure_sum.masks import MaskedSum, MaskSource
from fedward.common.study.definition import LocalTraining, Study
from fedward.common.study.dimensions import Dimensions, study_model
from fedward.common.study.scaling import Scaler, moments_of_patients

Arrays = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class VaultPerformance:
    """Options that change speed only, never what is released in distribution."""

    distributed: KernelOptions = field(default_factory=KernelOptions)
    local: KernelOptions = field(default_factory=lambda: KernelOptions(kernel="opacus"))


class Vault:
    """Answers the closed list of queries over one cohort, under one ledger.

    Order for every sum: the gate checks and reserves, the sum is computed, clipped, encoded,
    noised and masked, the ledger commits its digest, and only then do the bytes leave. A refusal
    is a typed answer and never an exception.
    """

    def __init__(
        self,
        *,
        site: str,
        cohort: Cohort,
        studies: Mapping[str, Study],
        policy: SitePolicy,
        ledger: Ledger,
        protection: Protection,
        masks: MaskSource,
        randomness: RandomSource,
        performance: VaultPerformance | None = None,
    ) -> None:
        for study in studies.values():
            _check_cohort(site, cohort, study)
        self._site = site
        self._cohort = cohort
        self._ledger = ledger
        self._masks = masks
        self._randomness = randomness
        self._performance = performance or VaultPerformance()
        self._gate = Gate(
            site=site, studies=studies, policy=policy, ledger=ledger, protection=protection
        )
        self._scaled: tuple[Scaler, Cohort] | None = None

    def answer(self, frame: bytes) -> bytes:
        """Answer one framed query with one framed answer; refusals included."""
        digest = frame_digest(frame)
        try:
            query, arrays = decode_query(frame)
            if isinstance(query, IdentifyQuery):
                self._gate.approved(query.study_digest)
                identified = Identified(
                    site=self._site, run_id=query.run_id, study_digest=query.study_digest
                )
                return encode_answer(identified)
            return self._answer_sum(query, arrays, digest)
        except FrameError as error:
            return self._refuse(digest, RefusalReason.MALFORMED, str(error))
        except Refused as refused:
            return self._refuse(digest, refused.reason, str(refused))
        except PrivacyRefusal:
            # Why may depend on the data, so the answer does not say; the charge stands.
            return self._refuse(digest, RefusalReason.PRIVACY, "the sum could not be protected")
        except Exception:
            # A fault's text may quote a record: it stays in the hospital's own log.
            logging.getLogger(__name__).exception("%s failed to answer a query", self._site)
            return self._refuse(digest, RefusalReason.INTERNAL, "the vault failed")

    def _answer_sum(self, query: AnySumQuery, arrays: Arrays, digest: str) -> bytes:
        study = self._gate.approved(query.study_digest)
        _check_shapes(Dimensions.of(study), arrays)
        admitted = self._gate.admit(query, query_digest=digest)
        noised, scale_bits = self._noised_sum(query, arrays, admitted)
        noised += self._masks.mask(
            MaskedSum(
                run_id=query.run_id,
                study_digest=query.study_digest,
                roster=query.roster,
                round=query.round,
                attempt=query.attempt,
                length=len(noised),
            )
        )
        executed = admitted.rules.executed
        if executed is not None and admitted.entry.event is not None:
            executed = executed.model_copy(update={"count": admitted.entry.event.count})
        release: Answer = SumRelease(
            site=self._site,
            run_id=query.run_id,
            study_digest=query.study_digest,
            query_digest=digest,
            round=query.round,
            attempt=query.attempt,
            executed=executed,
            masked=self._masks.masking,
            scale_bits=scale_bits,
        )
        answer = encode_answer(release, noised)
        self._ledger.commit(admitted.entry.place, release_digest=frame_digest(answer))
        return answer

    def _noised_sum(
        self, query: AnySumQuery, arrays: Arrays, admitted: Admitted
    ) -> tuple[NDArray[np.uint64], int]:
        study, rules = admitted.study, admitted.rules

        def stream_of(purpose: str, step: int) -> RandomStream:
            place = [query.run_id, self._site, query.kind, query.round, query.attempt, step]
            return self._randomness.stream(purpose=purpose, context=json.dumps(place).encode())

        if isinstance(query, MomentsQuery):
            moments = moments_of_patients(
                self._cohort.features, self._cohort.offsets, clip=rules.clip
            )
            return rules.noised(moments.sum(axis=0), stream_of("noise", 0)), rules.codec.scale_bits
        scaler = Scaler(
            center=arrays["center"],
            scale=arrays["scale"],
            feature_clip=study.scaling.feature_clip,
        )
        cohort = self._scaled_cohort(scaler)
        model = study_model(study)
        parameters = np.array(arrays["parameters"])
        if isinstance(query, LocalUpdateQuery) and isinstance(study.training, LocalTraining):
            sites = len(query.roster)
            change = local_update(
                model=model,
                parameters=parameters,
                cohort=cohort,
                training=study.training,
                rules=rules,
                expected_patients=study.cohort.expected_patients / sites,
                stream_of=stream_of,
                performance=self._performance.local,
            )
            codec = update_codec(study, sites=sites, length=len(change))
            return codec.encode(change), codec.scale_bits
        patients = sampled_patients(
            cohort, rate=rules.sampling_rate, stream=stream_of("sampling", 0)
        )
        total = clipped_gradient_sum(
            model,
            parameters,
            cohort,
            patients,
            clip=rules.clip,
            performance=self._performance.distributed,
        )
        return rules.noised(total, stream_of("noise", 0)), rules.codec.scale_bits

    def _scaled_cohort(self, scaler: Scaler) -> Cohort:
        # The scaler stays the same for a whole run, so its product is kept.
        if self._scaled is None or not self._scaled[0].equals(scaler):
            features = scaler.apply(self._cohort.features)
            scaled = Cohort(
                features=features, target=self._cohort.target, offsets=self._cohort.offsets
            )
            self._scaled = (scaler, scaled)
        return self._scaled[1]

    def _refuse(self, digest: str, reason: RefusalReason, message: str) -> bytes:
        return encode_answer(
            Refusal(site=self._site, query_digest=digest, reason=reason, message=message[:1000])
        )


def _check_cohort(site: str, cohort: Cohort, study: Study) -> None:
    columns = Dimensions.of(study).columns
    if cohort.features.shape[1] != columns:
        raise ValueError(f"{site}: cohort has {cohort.features.shape[1]} columns, not {columns}")
    # Written so that NaN is refused as well.
    if not (np.abs(cohort.features) <= 1).all():
        raise ValueError(f"{site}: features must lie in [-1, 1]")
    if not np.isin(cohort.target, (0.0, 1.0)).all():
        raise ValueError(f"{site}: outcomes must be 0 or 1")
    if cohort.patient_count == 0:
        raise InputError(
            source=site, field="", problem="has no patient for this study", fix="leave the site out"
        )
    if cohort.patient_count > study.cohort.max_patients_per_site:
        raise InputError(
            source=site,
            field="",
            problem=f"has more patients than cohort.max_patients_per_site = "
            f"{study.cohort.max_patients_per_site}",
            fix="raise that bound in the study",
        )


def _check_shapes(dimensions: Dimensions, arrays: Arrays) -> None:
    wanted = {
        "parameters": dimensions.parameters,
        "center": dimensions.columns,
        "scale": dimensions.columns,
    }
    for name, array in arrays.items():
        if array.shape != (wanted[name],):
            raise Refused(
                RefusalReason.WRONG_SHAPE,
                f"{name} has shape {array.shape}; the study needs ({wanted[name]},)",
            )
    if "scale" in arrays and not (arrays["scale"] > 0).all():
        raise Refused(RefusalReason.WRONG_SHAPE, "scale must be above 0 in every column")
