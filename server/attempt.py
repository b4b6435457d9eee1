"""One attempt at a sum: every answer is checked as it arrives, handed on, and forgotten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward.common.ledger.heads import LedgerPosition
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.protocol.frame import FrameError
from fedward.common.protocol.queries import AnySumQuery, EvaluationQuery, encode_query, frame_digest
from fedward.common.protocol.releases import ExecutedNoise, Refusal, SumRelease
from fedward.common.protocol.sealed import SealError, open_sealed
from fedward.common.secure_sum.offers import SessionOffer
from fedward.common.secure_sum.roster import Roster
from fedward.server.exchange import Exchange, NoAnswer
from fedward.server.release_log import ReleaseRecord
from fedward.server.seen_heads import SeenHeads
from fedward.server.site_failure import SiteFailure

_OVERHEAD_BYTES = 2**16
"""Of an answer beside its elements, at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WantedSum:
    """What to ask for: the kind of sum, its round of the run, and what goes with the question.

    ``length`` is that of the sum, as the study fixes it; ``group`` is the evaluation's.
    """

    kind: SumKind
    query: type[AnySumQuery]
    round: int
    length: int
    arrays: Mapping[str, NDArray[np.float64]]
    group: str | None = None

    def __str__(self) -> str:
        names: dict[SumKind, str] = {
            "moments": "sum for the scaler",
            "training": f"training sum of round {self.round}",
            "evaluation": f"evaluation of group {self.group}",
            "site_evaluation": "evaluation of each site",
            "counts": "count of outcomes",
        }
        return names[self.kind]

    def framed(
        self,
        *,
        run_id: str,
        study_digest: str,
        session: int,
        roster: tuple[str, ...],
        attempt: int,
        offers: tuple[SessionOffer, ...],
    ) -> tuple[AnySumQuery, bytes]:
        """The query of one attempt, and its frame."""
        fields: dict[str, Any] = {
            "run_id": run_id,
            "study_digest": study_digest,
            "session": session,
            "roster": roster,
            "round": self.round,
            "attempt": attempt,
            "offers": offers,
        }
        if self.query is EvaluationQuery:
            fields["group"] = self.group
        query = self.query(**fields)
        return query, encode_query(query, dict(self.arrays))


@dataclass(frozen=True, kw_only=True)
class Released:
    """What is kept of a site's release; its ring elements are not."""

    executed: ExecutedNoise | None
    masked: bool
    scale_bits: int
    digest: str
    ledger: LedgerPosition | None


Accept = Callable[[str, NDArray[np.uint64]], None]
"""Takes a site's ring elements, uint64 [length]; they must not be kept, for they are a view."""


class Attempt:
    """Asks the sites of one query and sorts their answers into releases and failures.

    ``roster`` is the federation's, with the keys that answers must be sealed by. ``planned`` is the
    noise that a release must declare; its share may be larger, at a site that is more cautious than
    the study. None: it must declare none. Each release brings its ledger's head to ``heads``, where
    it must lie beyond those that came before; they are noted there and not yet saved.
    """

    def __init__(
        self,
        query: AnySumQuery,
        frame: bytes,
        *,
        wanted: WantedSum,
        roster: Roster,
        planned: ExecutedNoise | None,
        heads: SeenHeads,
    ) -> None:
        self._query = query
        self._frame = frame
        self._digest = frame_digest(frame)
        self._wanted = wanted
        self._roster = roster
        self._planned = planned
        self._heads = heads
        self.releases: dict[str, Released] = {}
        self.failures: dict[str, SiteFailure] = {}
        self._received: dict[str, int] = {}

    def ask(self, exchange: Exchange, nodes: Mapping[str, int], accept: Accept) -> None:
        """Ask all sites and wait for all answers, also when the attempt is lost already.

        ``accept`` gets the elements of each valid release. If the releases are not all of one
        ring, the fewer ones are failures; ``accept`` has had them nevertheless.
        """
        site_of = {nodes[site]: site for site in self._query.roster}

        def receive(node: int, reply: bytes | NoAnswer) -> None:
            self._receive(site_of[node], reply, accept)

        most_bytes = 8 * self._wanted.length + _OVERHEAD_BYTES
        exchange.ask(self._frame, site_of, receive, most_bytes=most_bytes)
        self._refuse_other_rings()

    def records(self, *, summed: bool, unknown: ExecutedNoise | None) -> tuple[ReleaseRecord, ...]:
        """The lines of the log, by site; ``unknown`` is taken for what lost answers executed."""
        return tuple(self._record(site, summed, unknown) for site in self._query.roster)

    def _record(self, site: str, summed: bool, unknown: ExecutedNoise | None) -> ReleaseRecord:
        release = self.releases.get(site)
        failure = self.failures.get(site)
        charged = failure is None or failure.charged
        executed = release.executed if release else unknown
        return ReleaseRecord(
            site=site,
            kind=self._wanted.kind,
            session=self._query.session,
            round=self._query.round,
            attempt=self._query.attempt,
            query_digest=self._digest,
            release_digest=release.digest if release else None,
            executed=executed if charged else None,
            masked=release.masked if release else False,
            bytes=self._received.get(site, 0),
            query_bytes=len(self._frame),
            summed=summed and failure is None,
            charged=charged,
            failure=failure.why if failure else None,
            ledger=release.ledger if release else None,
        )

    def _receive(self, site: str, reply: bytes | NoAnswer, accept: Accept) -> None:
        if isinstance(reply, NoAnswer):
            self.failures[site] = SiteFailure(why=reply.why)
            return
        self._received[site] = len(reply)
        try:
            sealed = open_sealed(reply)
            answer, elements = sealed.answer_of(self._roster.key_of(site))
        except (FrameError, SealError) as error:
            self.failures[site] = SiteFailure(why=f"sent a bad answer: {error}")
            return
        if answer.site != site or answer.query_digest != self._digest:
            self.failures[site] = SiteFailure(why="answered another query")
        elif isinstance(answer, Refusal):
            self.failures[site] = SiteFailure.refused(answer)
        elif not isinstance(answer, SumRelease) or elements is None:
            self.failures[site] = SiteFailure(why=f"answered with {answer.kind} instead of a sum")
        elif elements.shape != (self._wanted.length,):
            self.failures[site] = SiteFailure(
                why=f"sent {elements.size} numbers instead of {self._wanted.length}"
            )
        elif not self._is_of_this_query(answer):
            self.failures[site] = SiteFailure(why="answered another query")
        elif (wrong := self._wrong_release(answer)) is not None:
            self.failures[site] = wrong
        else:
            accept(site, elements)
            self.releases[site] = Released(
                executed=answer.executed,
                masked=answer.masked,
                scale_bits=answer.scale_bits,
                digest=sealed.digest,
                ledger=answer.ledger.position if answer.ledger else None,
            )

    def _wrong_release(self, release: SumRelease) -> SiteFailure | None:
        """What is wrong with a release of this query; its head counts even if its noise is."""
        head = release.ledger
        wrong = self._heads.failure_of_release(release.site, head)
        if wrong is not None:
            return wrong
        if head is not None:
            self._heads.note(release.site, head)
        if _is_planned(release.executed, self._planned):
            return None
        return SiteFailure(why="declares other noise than the study plans", may_pass=False)

    def _is_of_this_query(self, answer: SumRelease) -> bool:
        query = self._query
        return (answer.run_id, answer.study_digest, answer.round, answer.attempt) == (
            query.run_id,
            query.study_digest,
            query.round,
            query.attempt,
        )

    def _refuse_other_rings(self) -> None:
        """Vectors of different units, or some masked and others not, do not add up to anything."""
        rings = {site: (one.scale_bits, one.masked) for site, one in self.releases.items()}
        # The commonest, and of equally common ones the coarsest: the same however replies arrive.
        common = max(
            Counter(rings.values()).items(), key=lambda found: (found[1], found[0]), default=None
        )
        for site, ring in rings.items():
            if common is not None and ring != common[0]:
                self.failures[site] = SiteFailure(why="answered in another ring than most sites")


def _is_planned(executed: ExecutedNoise | None, planned: ExecutedNoise | None) -> bool:
    """Whether a site declares what the study plans; more than all of the noise nobody draws."""
    if executed is None or planned is None:
        return executed is planned
    share = executed.share_multiplier
    return (
        executed.model_copy(update={"share_multiplier": planned.share_multiplier}) == planned
        and planned.share_multiplier <= share <= planned.noise_multiplier
    )
