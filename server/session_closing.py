"""The end of a run: each site strikes its study's balance and shows where its ledger ends."""

from __future__ import annotations

from fedward.common.ledger.heads import LedgerHead
from fedward.common.protocol.frame import FrameError
from fedward.common.protocol.queries import CloseSessionQuery, encode_query, frame_digest
from fedward.common.protocol.releases import Refusal, SessionClosed
from fedward.common.protocol.sealed import SealError, open_sealed
from fedward.common.secure_sum.roster import Roster
from fedward.server.exchange import Exchange, NoAnswer
from fedward.server.seen_heads import SeenHeads
from fedward.server.sessions import OpenedSession
from fedward.server.site_failure import SiteFailure

_MOST_BYTES = 2**16
"""Of an answer with one head."""


def close_session(
    session: OpenedSession,
    exchange: Exchange,
    *,
    run_id: str,
    study_digest: str,
    roster: Roster,
    heads: SeenHeads,
) -> dict[str, SiteFailure]:
    """Ask the sites that still take part to close, and keep the heads that they answer.

    Returns who did not close, by site, and why. Nothing is asked where no site has shown a head.
    """
    if not session.has_ledgers:
        return {}
    query = CloseSessionQuery(
        run_id=run_id, study_digest=study_digest, session=session.number, heads=heads.known
    )
    frame = encode_query(query, {})
    digest = frame_digest(frame)
    site_of = {session.nodes[site]: site for site in session.sites}
    closed: dict[str, LedgerHead] = {}
    failures: dict[str, SiteFailure] = {}

    def receive(node: int, reply: bytes | NoAnswer) -> None:
        site = site_of[node]
        found = _read(site, reply, digest=digest, roster=roster)
        wrong = heads.failure(site, found.head) if isinstance(found, SessionClosed) else found
        if wrong is not None:
            failures[site] = wrong
        elif isinstance(found, SessionClosed) and found.head is not None:
            closed[site] = found.head

    exchange.ask(frame, site_of, receive, most_bytes=_MOST_BYTES)
    heads.keep(closed)
    return failures


def _read(
    site: str, reply: bytes | NoAnswer, *, digest: str, roster: Roster
) -> SessionClosed | SiteFailure:
    if isinstance(reply, NoAnswer):
        return SiteFailure(why=reply.why)
    try:
        answer, _ = open_sealed(reply).answer_of(roster.key_of(site))
    except (FrameError, SealError) as error:
        return SiteFailure(why=f"sent a bad answer: {error}")
    if answer.site != site or answer.query_digest != digest:
        return SiteFailure(why="answered another query")
    if isinstance(answer, Refusal):
        return SiteFailure.refused(answer)
    if isinstance(answer, SessionClosed):
        return answer
    return SiteFailure(why=f"answered with {answer.kind} instead of the end of its ledger")
