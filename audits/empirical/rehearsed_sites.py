"""Real vaults in one open session, and an auditor who asks them what a coordinator may ask."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedward.audits.empirical.rehearsed_ledgers import RehearsedLedgers
from fedward.client.cohort import Cohort
from fedward.client.vault.policy import SitePolicy
from fedward.client.vault.protection import PlannedProtection, Protection, SumRules
from fedward.client.vault.session_desk import SessionDesk
from fedward.client.vault.vault import Vault
from fedward.common.errors import FedwardError
from fedward.common.privacy.plan import PrivacyPlan
from fedward.common.privacy.random_source import RandomSource
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.protocol.queries import (
    CountsQuery,
    EvaluationQuery,
    GradientSumQuery,
    LocalUpdateQuery,
    MomentsQuery,
    OpenSessionQuery,
    Query,
    SiteEvaluationQuery,
    SumQuery,
    encode_query,
    frame_digest,
)
from fedward.common.protocol.releases import Answer, ExecutedNoise, SessionOpened, SumRelease
from fedward.common.protocol.round_numbers import (
    MOMENTS_ROUND,
    counts_round,
    evaluation_round,
    site_evaluation_round,
)
from fedward.common.protocol.sealed import open_sealed
from fedward.common.secure_sum.offers import SessionOffer
from fedward.common.secure_sum.ring import decode_units
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import LocalTraining, Study
from fedward.simulations.credentials import Credentials
from fedward.simulations.unmasked import UnmaskedDesk
from fedward.simulations.unprotected import NoShare

Arrays = Mapping[str, NDArray[np.float64]]


class NotReleased(FedwardError):
    """A vault refused what the study plans; the message says which, and its reason."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Release:
    """One site's release as the auditor received it.

    ``elements`` are in the ring, uint64 ``[length]``; of no meaning by themselves if ``masked``.
    """

    site: str
    kind: SumKind
    round: int
    attempt: int
    query_digest: str
    digest: str
    executed: ExecutedNoise | None
    masked: bool
    scale_bits: int
    elements: NDArray[np.uint64]

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """The elements as numbers, float64 ``[length]``."""
        return decode_units(self.elements, scale_bits=self.scale_bits)


class BareProtection:
    """The plan's clip, sampling, ring and charges, without its noise; for an auditor's twin."""

    def __init__(self) -> None:
        self._planned = PlannedProtection()

    def minimum_roster(self, study: Study) -> int:
        """The study's own minimum."""
        return self._planned.minimum_roster(study)

    def rules(self, study: Study, kind: SumKind, *, sites: int, colluding: int) -> SumRules:
        """The planned rules with nothing to add."""
        planned = self._planned.rules(study, kind, sites=sites, colluding=colluding)
        return replace(planned, share=NoShare())

    def plan(self, study: Study, *, sites: int, colluding: int) -> PrivacyPlan:
        """The study's plan."""
        return self._planned.plan(study, sites=sites, colluding=colluding)


class RehearsedSites:
    """The vaults of all sites, each with its own ledger, and every release they gave.

    ``seed`` None takes keys, noise and batches from the operating system, as a hospital does. With
    ``masked`` False the auditor sees each site's share, as if all other sites colluded with it, and
    vaults run without a hospital's session desk. Ledgers are in memory; with ``ledger_folder`` they
    are a hospital's own, in files there, which are to be closed.

    Raises :class:`NotReleased` if a vault does not open the session.
    """

    def __init__(
        self,
        study: Study,
        cohorts: Mapping[str, Cohort],
        *,
        held_out: Mapping[str, Cohort] | None = None,
        protection: Protection | None = None,
        masked: bool = False,
        ledger_folder: Path | None = None,
        seed: int | None = None,
        run_id: str = "audit",
    ) -> None:
        randomness = RandomSource.from_os() if seed is None else RandomSource.insecure(seed)
        keys = Credentials.issue(
            cohorts, run_id=f"{run_id}-{secrets.token_hex(8)}", randomness=randomness
        )
        policy = SitePolicy(
            federation_key=keys.federation_key,
            known_keys=keys.known_keys,
            allow_site_evaluation=study.evaluation.per_site,
        )
        self.study = study
        self.run_id = run_id
        self.roster = tuple(sorted(cohorts))
        self.releases: list[Release] = []
        identities = {
            site: SiteIdentity.from_private_bytes(keys.identities[site]) for site in self.roster
        }
        self.ledgers = RehearsedLedgers(identities, folder=ledger_folder, delta=study.privacy.delta)
        self._keys = keys.known_keys
        self._vaults: dict[str, Vault] = {}
        desk = SessionDesk if masked else UnmaskedDesk
        for site in self.roster:
            identity = identities[site]
            self._vaults[site] = Vault(
                site=site,
                identity=identity,
                cohort=cohorts[site],
                held_out=None if held_out is None else held_out.get(site),
                studies={study.digest: study},
                policy=policy,
                ledger=self.ledgers[site],
                protection=protection or PlannedProtection(),
                randomness=randomness,
                sessions=desk(site=site, identity=identity, policy=policy, randomness=randomness),
            )
        query = OpenSessionQuery(
            run_id=run_id, study_digest=study.digest, session=1, signed_roster=keys.signed_roster
        )
        self._offers = self._opened(query)
        self._joined = False

    def ask(self, kind: SumKind, *, round_number: int, attempt: int = 1, arrays: Arrays) -> None:
        """Ask every site for one sum and keep what they release.

        Raises:
            NotReleased: a vault refused.
        """
        query = self._query(kind, round_number, attempt)
        frame = encode_query(query, {} if kind in {"moments", "counts"} else dict(arrays))
        for site in self.roster:
            answer, elements, digest = self._answer(site, frame)
            if not isinstance(answer, SumRelease) or elements is None:
                raise _not_released(site, f"the {kind} sum of round {round_number}", answer)
            self.releases.append(
                Release(
                    site=site,
                    kind=kind,
                    round=round_number,
                    attempt=attempt,
                    query_digest=frame_digest(frame),
                    digest=digest,
                    executed=answer.executed,
                    masked=answer.masked,
                    scale_bits=answer.scale_bits,
                    elements=np.array(elements),
                )
            )
        self._joined = True

    def ask_once(self, kind: SumKind, arrays: Arrays) -> None:
        """Ask for a sum that has one place in a run: all kinds but training."""
        rounds: dict[SumKind, int] = {
            "moments": MOMENTS_ROUND,
            "counts": counts_round(self.study),
            "evaluation": evaluation_round(self.study),
            "site_evaluation": site_evaluation_round(self.study),
        }
        self.ask(kind, round_number=rounds[kind], arrays=arrays)

    def values(self, kind: SumKind, site: str) -> NDArray[np.float64]:
        """All of a site's releases of a kind in the order they came, ``[releases, length]``."""
        return np.array(
            [one.values for one in self.releases if (one.kind, one.site) == (kind, site)]
        )

    def _opened(self, query: OpenSessionQuery) -> tuple[SessionOffer, ...]:
        offers = []
        for site in self.roster:
            answer, _, _ = self._answer(site, encode_query(query, {}))
            if not isinstance(answer, SessionOpened):
                raise _not_released(site, "the session", answer)
            offers.append(answer.offer)
        return tuple(sorted(offers, key=lambda offer: offer.site))

    def _answer(self, site: str, frame: bytes) -> tuple[Answer, NDArray[np.uint64] | None, str]:
        sealed = open_sealed(self._vaults[site].answer(frame))
        answer, elements = sealed.answer_of(self._keys[site])
        return answer, elements, sealed.digest

    def _query(self, kind: SumKind, round_number: int, attempt: int) -> Query:
        local = isinstance(self.study.training, LocalTraining)
        kinds: dict[SumKind, type[SumQuery]] = {
            "moments": MomentsQuery,
            "counts": CountsQuery,
            "training": LocalUpdateQuery if local else GradientSumQuery,
            "evaluation": EvaluationQuery,
            "site_evaluation": SiteEvaluationQuery,
        }
        query: Query = kinds[kind](  # type: ignore[assignment]
            run_id=self.run_id,
            study_digest=self.study.digest,
            session=1,
            roster=self.roster,
            round=round_number,
            attempt=attempt,
            offers=() if self._joined else self._offers,
        )
        return query


def _not_released(site: str, what: str, answer: Answer) -> NotReleased:
    why = getattr(answer, "message", None) or f"answered with {answer.kind}"
    return NotReleased(f"{site} did not release {what}: {why}")
