from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedward.common.protocol.queries import decode_query, encode_query, frame_digest
from fedward.common.protocol.releases import RefusalReason, SumRelease
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.server.exchange import Exchange
from fedward.server.seen_heads import SeenHeads
from fedward.server.sessions import OpenedSession, SessionOpener
from fedward.server.site_failure import SiteFailure
from fedward.simulations.engines.node_numbers import node_of

Federate = Callable[..., Any]
DIGEST = "0123456789abcdef" * 4
COORDINATOR = SiteIdentity.from_private_bytes(b"c" * 32)


def opened(
    federation: Any, grid: Any, *, number: int = 1, heads: SeenHeads | None = None
) -> OpenedSession:
    exchange = Exchange(grid, timeout=60.0, poll_seconds=0.001)
    opener = SessionOpener(
        exchange,
        run_id="run",
        study_digest=DIGEST,
        signed_roster=federation.signed_roster,
        heads=heads or federation.seen_heads(),
    )
    return opener.open(number, exchange.node_ids())


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_nodes_are_told_apart_by_the_keys_of_the_roster(
    federate: Federate, order: tuple[int, ...]
) -> None:
    federation = federate("bca")
    session = opened(federation, federation.grid(order=order))

    assert session.nodes == {"a": node_of(2), "b": node_of(0), "c": node_of(1)}
    assert session.sites == ("a", "b", "c")
    assert [offer.site for offer in session.offers] == ["a", "b", "c"]
    assert session.failures == {}


def test_every_node_gets_the_signed_roster_and_the_number(federate: Federate) -> None:
    federation = federate()
    grid = federation.grid()
    opened(federation, grid, number=7)
    query = decode_query(grid.frames[0])[0]

    assert len(set(grid.frames)) == 1
    assert query.session == 7
    assert query.signed_roster == federation.signed_roster
    assert (query.run_id, query.study_digest) == ("run", DIGEST)


def resealed(federation: Any, **changes: Any) -> Callable[[bytes], object]:
    """Site b signs a session key that is bound to something else."""
    site = federation.sites["b"]
    return lambda frame: site.sealed(site.opened(decode_query(frame)[0], frame, **changes))


def wrong_digest(federation: Any) -> Callable[[bytes], object]:
    site = federation.sites["b"]

    def answer(frame: bytes) -> bytes:
        fields = site.opened(decode_query(frame)[0], frame).model_copy(
            update={"query_digest": DIGEST}
        )
        return site.sealed(fields)

    return answer


def forged_seal(federation: Any) -> Callable[[bytes], object]:
    """A stranger's node seals in the name of b."""
    stranger = SiteIdentity.from_private_bytes(b"x" * 32)
    site = federation.sites["b"]
    return lambda frame: replace(site, identity=stranger).sealed(
        site.opened(decode_query(frame)[0], frame)
    )


def forged_offer(federation: Any) -> Callable[[bytes], object]:
    """Site b seals, and the key in it was signed by nobody."""
    site = federation.sites["b"]

    def answer(frame: bytes) -> bytes:
        answered = site.opened(decode_query(frame)[0], frame)
        offer = answered.offer.model_copy(update={"signature": "00" * 64})
        return site.sealed(answered.model_copy(update={"offer": offer}))

    return answer


def foreign_offer(federation: Any) -> Callable[[bytes], object]:
    """Site b seals the key of a."""
    site, other = federation.sites["b"], federation.sites["a"]

    def answer(frame: bytes) -> bytes:
        query = decode_query(frame)[0]
        answered = site.opened(query, frame)
        return site.sealed(answered.model_copy(update={"offer": other.opened(query, frame).offer}))

    return answer


def a_sum(federation: Any) -> Callable[[bytes], object]:
    site = federation.sites["b"]
    return lambda frame: site.sealed(
        SumRelease(
            site="b",
            run_id="run",
            study_digest=DIGEST,
            query_digest=frame_digest(frame),
            round=1,
            attempt=1,
            executed=None,
            masked=False,
            scale_bits=24,
        ),
        np.zeros(1, dtype=np.uint64),
    )


BAD: dict[str, tuple[Callable[[Any], Callable[[bytes], object]], str, str]] = {
    "silence": (lambda _: lambda _: None, "node 3", "no reply in time"),
    "a crash": (lambda _: lambda _: RuntimeError("no vault"), "node 3", "no vault"),
    "garbage": (lambda _: lambda _: b"garbage", "node 3", "bad answer"),
    "a long garbage": (lambda _: lambda _: b"g" * 999, "node 3", "bad answer"),
    "far too much": (lambda _: lambda _: bytes(2**17), "node 3", "131072 bytes is too long"),
    "a forged seal": (forged_seal, "node 3", "not signed with the site's key"),
    "a refusal": (
        lambda federation: (
            lambda frame: federation.sites["b"].refused(frame, RefusalReason.STUDY_NOT_APPROVED)
        ),
        "b",
        "refused (study_not_approved): It does not want to.",
    ),
    "a sum": (a_sum, "b", "answered with sum instead of a session key"),
    "an answer to another query": (wrong_digest, "b", "answered another query"),
    "a forged key": (forged_offer, "b", "is not signed by that site"),
    "another's key": (foreign_offer, "b", "for another session"),
    "another run": (lambda f: resealed(f, run_id="other"), "b", "for another session"),
    "another study": (lambda f: resealed(f, study_digest="f" * 64), "b", "for another session"),
    "another roster": (lambda f: resealed(f, roster_digest="f" * 64), "b", "for another session"),
    "a session of before": (lambda f: resealed(f, session=2), "b", "for another session"),
}


@pytest.mark.parametrize(("bad", "who", "why"), BAD.values(), ids=BAD)
def test_who_gives_no_usable_key_is_left_out(
    federate: Federate,
    impatient: Callable[[Any], Any],
    bad: Callable[[Any], Any],
    who: str,
    why: str,
) -> None:
    federation = federate()
    grid = impatient(federation.grid())
    grid.nodes[node_of(1)] = bad(federation)
    session = opened(federation, grid)

    assert session.sites == ("a", "c")
    assert set(session.nodes) == {"a", "c"}
    assert set(session.failures) == {who}
    assert why in session.failures[who].why
    assert session.failures[who].when == "session 1"


@pytest.fixture
def with_ledgers(federate: Federate) -> Any:
    """Sites a, b and c with ledgers of 10 entries."""
    federation = federate(coordinator=COORDINATOR)
    for site in federation.sites.values():
        site.entries = 10
    return federation


def test_heads_are_kept_and_shown_when_the_next_session_is_opened(with_ledgers: Any) -> None:
    heads = with_ledgers.seen_heads()
    grid = with_ledgers.grid()
    session = opened(with_ledgers, grid, heads=heads)
    opened(with_ledgers, grid, number=2, heads=heads)

    assert session.has_ledgers
    assert [query.heads for query in grid.queries] == [(), heads.known]
    assert [known.head for known in heads.known] == [
        site.head() for site in with_ledgers.sites.values()
    ]


def test_sites_without_a_chain_have_no_heads(federate: Federate) -> None:
    federation = federate()
    assert not opened(federation, federation.grid()).has_ledgers


def test_a_site_whose_ledger_went_back_is_left_out_and_its_head_kept(with_ledgers: Any) -> None:
    heads = with_ledgers.seen_heads()
    opened(with_ledgers, with_ledgers.grid(), heads=heads)
    before = heads.known[1]
    for name, entries in {"a": 12, "b": 8}.items():
        with_ledgers.sites[name].entries = entries
    session = opened(with_ledgers, with_ledgers.grid(), number=2, heads=heads)

    assert session.sites == ("a", "c")
    assert session.failures["b"].why == "shows a ledger that went back from entry 9 to 7"
    assert not session.failures["b"].may_pass
    assert [known.head.sequence for known in heads.known] == [11, 9, 9]
    assert heads.known[1] == before


def test_the_head_of_a_site_without_a_usable_key_is_not_kept(with_ledgers: Any) -> None:
    heads = with_ledgers.seen_heads()
    grid = with_ledgers.grid()
    grid.nodes[node_of(1)] = forged_offer(with_ledgers)
    opened(with_ledgers, grid, heads=heads)

    assert [known.head.site for known in heads.known] == ["a", "c"]


def test_a_site_that_is_not_in_the_roster_is_left_out(federate: Federate) -> None:
    federation, others = federate("ab"), federate("abz")
    session = opened(federation, others.grid())

    # The stranger's own roster is another, too.
    assert session.sites == ("a", "b")
    assert "not in the roster" in session.failures["node 4"].why


def test_a_site_that_two_nodes_answer_for_is_left_out(federate: Federate) -> None:
    federation = federate()
    grid = federation.grid()
    grid.nodes[node_of(1)] = federation.sites["a"].answer
    session = opened(federation, grid)

    assert session.sites == ("c",)
    assert session.failures["a"].why == "two nodes answer for it"


def test_two_sites_with_one_session_key_are_left_out(federate: Federate) -> None:
    federation = federate()
    for name in "ab":
        federation.sites[name].secret = b"s" * 32
    session = opened(federation, federation.grid())

    assert session.sites == ("c",)
    assert {site: failure.why for site, failure in session.failures.items()} == dict.fromkeys(
        "ab", "another site offers the same session key"
    )


def test_keys_go_out_until_everyone_asked_has_them(federate: Federate) -> None:
    federation = federate()
    session = opened(federation, federation.grid())

    assert session.offers_for(("a", "b")) == session.offers
    session.joined(["a", "b"])
    assert session.offers_for(("a", "b")) == ()
    assert session.offers_for(("a", "c")) == session.offers


def test_a_site_that_leaves_keeps_its_key_in_the_session(federate: Federate) -> None:
    federation = federate()
    session = opened(federation, federation.grid())
    session.leave("b", SiteFailure(why="gone"))

    assert session.sites == ("a", "c")
    assert [offer.site for offer in session.offers] == ["a", "b", "c"]
    assert session.failures["b"].why == "gone"


def test_opening_again_gives_other_keys(federate: Federate) -> None:
    federation = federate()
    grid = federation.grid()
    keys = [offer.key for n in (1, 2) for offer in opened(federation, grid, number=n).offers]

    assert len(set(keys)) == 6


def test_a_query_holds_the_offers_of_a_session(federate: Federate, wanted: Any) -> None:
    federation = federate()
    session = opened(federation, federation.grid())
    query, frame = wanted().framed(
        run_id="run",
        study_digest=DIGEST,
        session=session.number,
        roster=session.sites,
        attempt=1,
        offers=session.offers_for(session.sites),
    )

    assert query.offers == session.offers
    assert frame == encode_query(query, dict(wanted().arrays))
