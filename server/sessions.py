"""Sessions: which sites are there, on which nodes, and the keys by which they hide their sums.

The coordinator relays keys. It checks them as well, so that one bad key does not cost the others
their session; each vault checks all of them again.

Which node is a site's is known from its sealed answer alone. A connected node that got hold of that
answer can send it as well; then nobody can tell the two apart, and the site has no part in the
session. That costs attendance and gives nothing away: the node cannot seal a sum, nor learn one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from fedward.common.protocol.fields import MAX_SITES
from fedward.common.protocol.frame import FrameError
from fedward.common.protocol.queries import OpenSessionQuery, encode_query, frame_digest
from fedward.common.protocol.releases import Refusal, SessionOpened, decode_answer
from fedward.common.protocol.sealed import SealedAnswer, SealError, open_sealed
from fedward.common.secure_sum.offers import SessionError, SessionOffer, check_offer
from fedward.common.secure_sum.roster import RosterError, SignedRoster
from fedward.server.exchange import Exchange, NoAnswer
from fedward.server.seen_heads import SeenHeads
from fedward.server.site_failure import SiteFailure

_MOST_BYTES = 2**16
"""Of an answer with one key."""


@dataclass(kw_only=True)
class OpenedSession:
    """A session as it stands: who opened it, who still takes part, and who has all keys.

    ``offers`` are sorted by site. ``completed`` counts its sums; ``failures`` says why a site that
    opened it takes part no more, or why a site of the roster did not open it. ``has_ledgers`` says
    whether any of its sites has shown the head of a ledger.
    """

    number: int
    offers: tuple[SessionOffer, ...]
    nodes: Mapping[str, int]
    failures: dict[str, SiteFailure]
    has_ledgers: bool = False
    completed: int = 0
    _joined: set[str] = field(default_factory=set)
    _left: set[str] = field(default_factory=set)

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites that still take part, sorted."""
        return tuple(offer.site for offer in self.offers if offer.site not in self._left)

    def offers_for(self, roster: Collection[str]) -> tuple[SessionOffer, ...]:
        """All keys, unless every site of the roster is known to have them."""
        return () if self._joined.issuperset(roster) else self.offers

    def joined(self, sites: Collection[str]) -> None:
        """Note that these sites released a sum, for which they needed the keys."""
        self._joined.update(sites)

    def leave(self, site: str, failure: SiteFailure) -> None:
        """Take a site out of this session."""
        self._left.add(site)
        self.failures[site] = failure

    @property
    def refused(self) -> dict[str, SiteFailure]:
        """Sites that refused a sum for good: asking them again would cost the others an attempt."""
        return {
            site: self.failures[site] for site in self._left if not self.failures[site].may_pass
        }


class SessionOpener:
    """Opens the sessions of one run over a checked roster."""

    def __init__(
        self,
        exchange: Exchange,
        *,
        run_id: str,
        study_digest: str,
        signed_roster: SignedRoster,
        heads: SeenHeads,
    ) -> None:
        self._exchange = exchange
        self._run_id = run_id
        self._study_digest = study_digest
        self._signed_roster = signed_roster
        self._heads = heads

    def open(self, number: int, nodes: Collection[int]) -> OpenedSession:
        """Ask each node for its key; whoever gives none that can be used is left out.

        So is a site whose ledger went back. The heads of the other ledgers are kept.
        A node that is of no site of the roster is noted in ``failures`` under "node <id>".
        """
        query = OpenSessionQuery(
            run_id=self._run_id,
            study_digest=self._study_digest,
            session=number,
            signed_roster=self._signed_roster,
            heads=self._heads.known,
        )
        frame = encode_query(query, {})
        digest = frame_digest(frame)
        opened: dict[str, SessionOpened] = {}
        node_of: dict[str, int] = {}
        failures: dict[str, SiteFailure] = {}

        def receive(node: int, reply: bytes | NoAnswer) -> None:
            site, found = self._read(node, reply, digest=digest, number=number)
            if isinstance(found, SiteFailure):
                failures.setdefault(site, found)
            elif site in node_of:
                failures[site] = SiteFailure(why="two nodes answer for it")
            else:
                opened[site], node_of[site] = found, node

        self._exchange.ask(frame, sorted(nodes)[:MAX_SITES], receive, most_bytes=_MOST_BYTES)
        keys = Counter(answer.offer.key for answer in opened.values())
        for site, answer in opened.items():
            if keys[answer.offer.key] > 1:
                failures[site] = SiteFailure(why="another site offers the same session key")
        usable = sorted(site for site in opened if site not in failures)
        heads = {site: head for site in usable if (head := opened[site].head) is not None}
        self._heads.keep(heads)
        return OpenedSession(
            number=number,
            offers=tuple(opened[site].offer for site in usable),
            nodes={site: node_of[site] for site in usable},
            failures={site: failure.at(f"session {number}") for site, failure in failures.items()},
            has_ledgers=bool(heads),
        )

    def _read(
        self, node: int, reply: bytes | NoAnswer, *, digest: str, number: int
    ) -> tuple[str, SessionOpened | SiteFailure]:
        """Which site a node is, and its answer or why it is none."""
        nobody = f"node {node}"
        if isinstance(reply, NoAnswer):
            return nobody, SiteFailure(why=reply.why)
        roster = self._signed_roster.roster
        try:
            sealed = open_sealed(reply)
            site = _claimed_site(sealed)
            answer, _ = sealed.answer_of(roster.key_of(site))
        except (FrameError, SealError, RosterError) as error:
            return nobody, SiteFailure(why=f"sent a bad answer: {error}", may_pass=False)
        if answer.site != site or answer.query_digest != digest:
            return site, SiteFailure(why="answered another query")
        if isinstance(answer, Refusal):
            return site, SiteFailure.refused(answer)
        if isinstance(answer, SessionOpened):
            wrong = self._wrong_offer(answer.offer, site=site, number=number)
            return site, wrong or self._heads.failure(site, answer.head) or answer
        return site, SiteFailure(why=f"answered with {answer.kind} instead of a session key")

    def _wrong_offer(self, offer: SessionOffer, *, site: str, number: int) -> SiteFailure | None:
        roster = self._signed_roster.roster
        bound_to = (site, self._run_id, self._study_digest, roster.digest, number)
        given = (
            offer.site,
            offer.run_id,
            offer.study_digest,
            offer.roster_digest,
            offer.session,
        )
        if given != bound_to:
            return SiteFailure(why="its session key is for another session")
        try:
            check_offer(offer, roster=roster)
        except SessionError as error:
            return SiteFailure(why=str(error))
        return None


def _claimed_site(sealed: SealedAnswer) -> str:
    """The site that an answer says it is from; the seal must still be checked with its key."""
    answer, _ = decode_answer(sealed.frame)
    return answer.site
