"""The vault: owner of the cohort, and the only code that answers queries about it."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.client.vault.cohort_budget import DEFAULT_COHORT
from fedward.client.vault.cohort_checks import check_cohort
from fedward.client.vault.gate import Admitted, Gate
from fedward.client.vault.ledger import Ledger, Place
from fedward.client.vault.ledger_heads import refused_without_ledger
from fedward.client.vault.patient_sums import Arrays, PatientSums, VaultPerformance
from fedward.client.vault.policy import Refused, SitePolicy
from fedward.client.vault.protection import Protection
from fedward.client.vault.query_reading import check_shapes, query_of
from fedward.client.vault.session_desk import SessionDesk
from fedward.client.vault.timings import VaultTimings
from fedward.common.errors import PrivacyRefusal
from fedward.common.privacy.random_source import RandomSource, RandomStream
from fedward.common.protocol.queries import (
    AnySumQuery,
    CloseSessionQuery,
    OpenSessionQuery,
    SiteEvaluationQuery,
    frame_digest,
)
from fedward.common.protocol.releases import (
    Refusal,
    RefusalReason,
    SessionClosed,
    SessionOpened,
    SumRelease,
)
from fedward.common.protocol.sealed import sealed_answer
from fedward.common.secure_sum.masks import MaskedSum
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions

MOST_MESSAGE_CHARACTERS = 1000
_UNPROTECTED = "the sum could not be protected"
_FAILED = "the vault failed"


class Vault:
    """Answers the closed list of queries over one site's patients, under one ledger.

    Order for every sum: the gate checks and reserves, the sum is computed, clipped, encoded,
    noised, masked and sealed, the ledger commits the digest of its frame, and only then do the
    bytes leave. What fails once it is reserved is noted as abandoned, and stays spent. Every answer
    is signed by the site's ``identity``. A refusal is a typed answer and never an exception.
    ``timings`` says where the time went; it is in no answer. A vault answers in the process that
    made it; a forked child, which would answer from the same budget, refuses.

    ``cohort`` are the training patients; ``held_out`` other patients that only evaluate the model,
    None or empty at a site that has none: it sends noise all the same. ``cohort_name`` is what the
    policy's budgets call them all. Raises what
    :func:`~fedward.client.vault.cohort_checks.check_cohort` does for either and any study.
    """

    def __init__(
        self,
        *,
        site: str,
        identity: SiteIdentity,
        cohort: Cohort,
        held_out: Cohort | None,
        studies: Mapping[str, Study],
        policy: SitePolicy,
        ledger: Ledger,
        protection: Protection,
        randomness: RandomSource,
        performance: VaultPerformance | None = None,
        sessions: SessionDesk | None = None,
        cohort_name: str = DEFAULT_COHORT,
    ) -> None:
        for study in studies.values():
            check_cohort(site, cohort, study)
            if held_out is not None:
                check_cohort(site, held_out, study, held_out=True)
        self.timings = VaultTimings()
        self._site = site
        self._identity = identity
        self._ledger = ledger
        self._randomness = randomness
        self._sums = PatientSums(
            cohort=cohort, held_out=held_out, performance=performance or VaultPerformance()
        )
        self._gate = Gate(
            site=site,
            identity_key=identity.public_key,
            studies=studies,
            policy=policy,
            ledger=ledger,
            protection=protection,
            sessions=sessions
            or SessionDesk(site=site, identity=identity, policy=policy, randomness=randomness),
            cohort_name=cohort_name,
        )
        self._hiding = threading.Lock()
        self._process = os.getpid()

    def answer(self, frame: bytes) -> bytes:
        """Answer one framed query with one sealed answer; refusals included."""
        digest = frame_digest(frame)
        try:
            if os.getpid() != self._process:
                raise RuntimeError("a vault must not cross a fork; make it where it answers")
            query, arrays = query_of(frame)
            if isinstance(query, OpenSessionQuery):
                return self._open_session(query, digest)
            if isinstance(query, CloseSessionQuery):
                return self._close_session(query, digest)
            return self._answer_sum(query, arrays, digest)
        except Refused as refused:
            return self._refuse(digest, refused.reason, str(refused))
        except PrivacyRefusal:
            # Why may depend on the data, so the answer does not say; the charge stands.
            return self._refuse(digest, RefusalReason.PRIVACY, _UNPROTECTED)
        except Exception:
            # A fault's text may quote a record: it stays in the hospital's own log.
            logging.getLogger(__name__).exception("%s failed to answer a query", self._site)
            return self._refuse(digest, RefusalReason.INTERNAL, _FAILED)

    def _open_session(self, query: OpenSessionQuery, digest: str) -> bytes:
        offer, head = self._gate.open_session(query)
        opened = SessionOpened(site=self._site, query_digest=digest, offer=offer, head=head)
        return sealed_answer(opened, identity=self._identity)[0]

    def _close_session(self, query: CloseSessionQuery, digest: str) -> bytes:
        head = self._gate.close_session(query)
        closed = SessionClosed(site=self._site, query_digest=digest, head=head)
        return sealed_answer(closed, identity=self._identity)[0]

    def _answer_sum(self, query: AnySumQuery, arrays: Arrays, digest: str) -> bytes:
        study = self._gate.approved(query.study_digest)
        check_shapes(Dimensions.of(study), arrays)
        admitted = self._gate.admit(query, query_digest=digest)
        try:
            sealed = self._released(query, arrays, admitted, digest)
        except Exception as fault:
            self._abandon(admitted.entry.place, fault)
            raise
        self.timings.count_release()
        return sealed

    def _released(
        self, query: AnySumQuery, arrays: Arrays, admitted: Admitted, digest: str
    ) -> bytes:
        elements, scale_bits = self._noised_sum(query, arrays, admitted)
        with self.timings.spent("in_masks"):
            masked = self._hide(query, elements, admitted, digest)
        executed = admitted.rules.executed
        if executed is not None and admitted.entry.event is not None:
            executed = executed.model_copy(update={"count": admitted.entry.event.count})
        release = SumRelease(
            site=self._site,
            run_id=query.run_id,
            study_digest=query.study_digest,
            query_digest=digest,
            round=query.round,
            attempt=query.attempt,
            executed=executed,
            masked=masked,
            scale_bits=scale_bits,
            ledger=admitted.head,
        )
        with self.timings.spent("sealing"):
            sealed, release_digest = sealed_answer(release, elements, identity=self._identity)
        with refused_without_ledger(self._site):
            self._ledger.commit(admitted.entry.place, release_digest=release_digest)
        return sealed

    def _abandon(self, place: Place, fault: Exception) -> None:
        """Note that a reservation came to nothing, if that can be noted; it is spent anyway."""
        reason = _UNPROTECTED if isinstance(fault, PrivacyRefusal) else _FAILED
        if isinstance(fault, Refused):
            reason = f"the release was refused: {fault.reason}"
        try:
            self._ledger.abandon(place, reason=reason)
        except Exception:
            logging.getLogger(__name__).exception("%s could not abandon a release", self._site)

    def _noised_sum(
        self, query: AnySumQuery, arrays: Arrays, admitted: Admitted
    ) -> tuple[NDArray[np.uint64], int]:
        def stream_of(purpose: str, step: int) -> RandomStream:
            place = [query.run_id, self._site, query.kind, query.round, query.attempt, step]
            return self._randomness.stream(purpose=purpose, context=json.dumps(place).encode())

        with self.timings.spent("computing"):
            summed = self._sums.encoded(query, arrays, admitted, stream_of=stream_of)
        if not summed.noised:
            with self.timings.spent("in_noise"):
                admitted.rules.add_noise(summed.elements, stream_of("noise", 0))
        return summed.elements, summed.codec.scale_bits

    def _hide(
        self, query: AnySumQuery, elements: NDArray[np.uint64], admitted: Admitted, digest: str
    ) -> bool:
        if isinstance(query, SiteEvaluationQuery):
            return False  # it is read by itself, and holds all of its noise
        masked = MaskedSum(
            run_id=query.run_id,
            study_digest=query.study_digest,
            session=query.session,
            roster=query.roster,
            round=query.round,
            attempt=query.attempt,
            query_digest=digest,
        )
        with self._hiding:
            return admitted.session.masks.hide(masked, elements)

    def _refuse(self, digest: str, reason: RefusalReason, message: str) -> bytes:
        refusal = Refusal(
            site=self._site,
            query_digest=digest,
            reason=reason,
            message=message[:MOST_MESSAGE_CHARACTERS],
        )
        return sealed_answer(refusal, identity=self._identity)[0]
