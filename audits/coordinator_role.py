"""The coordinator's part, played by an auditor towards vaults in the same process.

It asks what a malicious coordinator may ask: any query of the protocol, with any arrays, of any of
the sites. Vaults cannot tell it from an honest one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedward.common.errors import FedwardError
from fedward.common.protocol.queries import (
    ARRAYS_OF,
    GradientSumQuery,
    LocalUpdateQuery,
    OpenSessionQuery,
    SumQuery,
    encode_query,
    frame_digest,
)
from fedward.common.protocol.releases import Answer, ExecutedNoise, SessionOpened, SumRelease
from fedward.common.protocol.sealed import open_sealed
from fedward.common.secure_sum.offers import SessionOffer
from fedward.common.secure_sum.ring import decode_units
from fedward.common.secure_sum.roster import SignedRoster
from fedward.common.secure_sum.running_sum import RunningSum
from fedward.common.study.definition import LocalTraining, Study

SESSION = 1


class NotAnsweredError(FedwardError):
    """A vault refused the auditor's query, or answered another one."""


class AnswersQueries(Protocol):
    """A vault, or what stands in its place."""

    def answer(self, frame: bytes) -> bytes:
        """Answer one framed query with one sealed answer."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class SiteSum:
    """One site's release: ring elements, uint64 ``[length]``, in units of ``2**-scale_bits``."""

    elements: NDArray[np.uint64]
    scale_bits: int
    masked: bool
    executed: ExecutedNoise | None

    @property
    def decoded(self) -> NDArray[np.float64]:
        """The site's own summand, float64 ``[length]``; nonsense if it is masked."""
        return decode_units(self.elements, scale_bits=self.scale_bits)


class CoordinatorRole:
    """One run of ``study`` with ``vaults`` by site name; opens its session at once.

    ``signed_roster`` names exactly these sites. Raises :class:`NotAnsweredError` if a vault
    refuses.
    """

    def __init__(
        self,
        study: Study,
        vaults: Mapping[str, AnswersQueries],
        *,
        signed_roster: SignedRoster,
        run_id: str,
    ) -> None:
        self.study = study
        self.run_id = run_id
        self.roster = tuple(sorted(vaults))
        self._vaults = dict(vaults)
        self._keys = {site: signed_roster.roster.key_of(site) for site in self.roster}
        self._offers = self._opened(signed_roster)

    def ask(
        self,
        query: type[SumQuery],
        *,
        round: int,  # noqa: A002
        attempt: int = 1,
        arrays: Mapping[str, NDArray[np.float64]] | None = None,
        of: Iterable[str] | None = None,
    ) -> dict[str, SiteSum]:
        """Put one query, whose roster is all sites, to the sites ``of`` (None: to all).

        ``arrays`` are exactly those that the kind of query carries. Raises
        :class:`NotAnsweredError` with the vault's reason if one refuses.
        """
        asked = query(
            run_id=self.run_id,
            study_digest=self.study.digest,
            session=SESSION,
            roster=self.roster,
            round=round,
            attempt=attempt,
            offers=self._offers,
        )
        frame = encode_query(asked, dict(arrays or {}))  # type: ignore[arg-type]
        return {site: self._sum(site, frame) for site in (self.roster if of is None else of)}

    def ask_training(
        self,
        *,
        round: int,  # noqa: A002
        parameters: NDArray[np.float64],
        center: NDArray[np.float64],
        scale: NDArray[np.float64],
        attempt: int = 1,
        of: Iterable[str] | None = None,
    ) -> dict[str, SiteSum]:
        """Ask for the study's training sum (a gradient sum, or local updates) at any model."""
        local = isinstance(self.study.training, LocalTraining)
        query: type[SumQuery] = LocalUpdateQuery if local else GradientSumQuery
        given = {"parameters": parameters, "center": center, "scale": scale}
        arrays = {name: given[name] for name in ARRAYS_OF["gradient_sum"]}
        return self.ask(query, round=round, attempt=attempt, arrays=arrays, of=of)

    def _sum(self, site: str, frame: bytes) -> SiteSum:
        answer, elements = self._answer(site, frame)
        if not isinstance(answer, SumRelease) or elements is None:
            raise NotAnsweredError(f"{site} did not answer: {_reason(answer)}")
        return SiteSum(
            elements=elements.copy(),
            scale_bits=answer.scale_bits,
            masked=answer.masked,
            executed=answer.executed,
        )

    def _opened(self, signed_roster: SignedRoster) -> tuple[SessionOffer, ...]:
        query = OpenSessionQuery(
            run_id=self.run_id,
            study_digest=self.study.digest,
            session=SESSION,
            signed_roster=signed_roster,
        )
        frame = encode_query(query, {})
        offers: list[SessionOffer] = []
        for site in self.roster:
            answer, _ = self._answer(site, frame)
            if not isinstance(answer, SessionOpened):
                raise NotAnsweredError(f"{site} opened no session: {_reason(answer)}")
            offers.append(answer.offer)
        return tuple(offers)

    def _answer(self, site: str, frame: bytes) -> tuple[Answer, NDArray[np.uint64] | None]:
        answer, elements = open_sealed(self._vaults[site].answer(frame)).answer_of(self._keys[site])
        if answer.query_digest != frame_digest(frame):
            raise NotAnsweredError(f"{site} answered another query")
        return answer, elements


def summed(parts: Mapping[str, SiteSum]) -> NDArray[np.float64]:
    """The sum over all sites' releases of one query, float64 ``[length]``; masks cancel in it."""
    total = RunningSum()
    for part in parts.values():
        total.add(part.elements)
    return decode_units(total.total, scale_bits=next(iter(parts.values())).scale_bits)


def _reason(answer: Answer) -> str:
    return getattr(answer, "message", f"it sent {answer.kind}")
