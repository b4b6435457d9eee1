"""Hospitals that fail: which attempts they miss, and whether before or after they computed.

A site that fails before computing was never asked, as far as it knows. One that fails after it has
charged its ledger, and its answer is lost on the way: the worse case, because the attempt must be
paid for though nobody holds a sum.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal, Protocol

from fedward.client.vault.timings import VaultTimings
from fedward.common.errors import FedwardError
from fedward.common.protocol.frame import FrameError, decode_frame

Fate = Literal["answers", "fails before", "fails after"]


class SiteDown(FedwardError):
    """A simulated site that does not answer; the coordinator sees a failed exchange."""


class SimulatedVault(Protocol):
    """What an engine needs of a site's vault."""

    @property
    def timings(self) -> VaultTimings:
        """Where its time went."""
        ...

    def answer(self, frame: bytes) -> bytes:
        """Answer one framed query."""
        ...


@dataclass(frozen=True, kw_only=True)
class DropOuts:
    """Each site misses each attempt at a sum with probability ``rate``, one as likely as another.

    Half of the failures come before the site computed and half after. What fails follows from
    ``seed`` alone, so that a run can be repeated, under any engine, and continued. Only sums fail,
    no opening of a session.
    """

    rate: float
    seed: int

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(f"rate must be in [0, 1): {self.rate}")

    def fate(self, *, site: str, kind: str, round_number: int, attempt: int) -> Fate:
        """Tell what happens to one site's part of one attempt."""
        place = json.dumps([self.seed, site, kind, round_number, attempt]).encode()
        draw = int.from_bytes(hashlib.sha256(place).digest()[:8], "big") / 2**64
        if draw >= self.rate:
            return "answers"
        return "fails before" if draw < self.rate / 2 else "fails after"


class UnreliableVault:
    """A vault behind a connection that fails as :class:`DropOuts` says."""

    def __init__(self, vault: SimulatedVault, *, site: str, drop_outs: DropOuts) -> None:
        self._vault = vault
        self._site = site
        self._drop_outs = drop_outs

    @property
    def timings(self) -> VaultTimings:
        """Where its time went."""
        return self._vault.timings

    def answer(self, frame: bytes) -> bytes:
        """Answer one framed query, or raise :class:`SiteDown`."""
        fate = self._fate(frame)
        if fate == "fails before":
            raise SiteDown(f"{self._site} is down")
        answer = self._vault.answer(frame)
        if fate == "fails after":
            raise SiteDown(f"{self._site} went down after it had answered")
        return answer

    def _fate(self, frame: bytes) -> Fate:
        try:
            body, _ = decode_frame(frame)
        except FrameError:
            return "answers"
        round_number, attempt = body.get("round"), body.get("attempt")
        if not (isinstance(round_number, int) and isinstance(attempt, int)):
            return "answers"
        return self._drop_outs.fate(
            site=self._site,
            kind=str(body.get("kind")),
            round_number=round_number,
            attempt=attempt,
        )
