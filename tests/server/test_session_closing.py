from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fedward.common.protocol.queries import CloseSessionQuery
from fedward.common.protocol.releases import RefusalReason
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.server.exchange import Exchange
from fedward.server.session_closing import close_session
from fedward.server.sessions import OpenedSession, SessionOpener
from fedward.server.site_failure import SiteFailure
from fedward.simulations.engines.node_numbers import node_of

Federate = Callable[..., Any]
COORDINATOR = SiteIdentity.from_private_bytes(b"c" * 32)
DIGEST = "0123456789abcdef" * 4


class Run:
    """A session over stand-ins that is open, and what closes it."""

    def __init__(self, federation: Any, grid: Any) -> None:
        self.grid = grid
        self.heads = federation.seen_heads()
        self._roster = federation.signed_roster.roster
        self._exchange = Exchange(grid, timeout=60.0, poll_seconds=0.001)
        self.session: OpenedSession = SessionOpener(
            self._exchange,
            run_id="run",
            study_digest=DIGEST,
            signed_roster=federation.signed_roster,
            heads=self.heads,
        ).open(1, self._exchange.node_ids())

    def close(self) -> dict[str, SiteFailure]:
        return close_session(
            self.session,
            self._exchange,
            run_id="run",
            study_digest=DIGEST,
            roster=self._roster,
            heads=self.heads,
        )

    @property
    def ends(self) -> dict[str, int]:
        return {known.head.site: known.head.sequence for known in self.heads.known}


@pytest.fixture
def federation(federate: Federate) -> Any:
    """Sites a, b and c with ledgers of 10 entries."""
    found = federate(coordinator=COORDINATOR)
    for site in found.sites.values():
        site.entries = 10
    return found


def test_each_ledgers_end_is_known_and_countersigned(federation: Any) -> None:
    run = Run(federation, federation.grid())
    assert run.ends == dict.fromkeys("abc", 9)
    federation.sites["b"].entries = 30

    assert run.close() == {}
    assert run.ends == {"a": 10, "b": 30, "c": 10}
    for known in run.heads.known:
        assert known.is_countersigned_by(COORDINATOR.public_key)
    asked = run.grid.queries[-1]
    assert isinstance(asked, CloseSessionQuery)
    assert (asked.run_id, asked.study_digest, asked.session) == ("run", DIGEST, 1)
    assert [known.head.sequence for known in asked.heads] == [9, 9, 9]


def test_sites_without_a_chain_are_not_asked(federate: Federate) -> None:
    federation = federate()
    run = Run(federation, federation.grid())

    assert run.close() == {}
    assert len(run.grid.frames) == 3
    assert run.ends == {}


def test_a_site_that_left_is_not_waited_for(federation: Any) -> None:
    run = Run(federation, federation.grid())
    run.session.leave("b", SiteFailure(why="gone"))
    run.grid.nodes[node_of(1)] = lambda _: None

    assert run.close() == {}
    assert run.ends == {"a": 10, "b": 9, "c": 10}


def rolled_back(federation: Any) -> Callable[[bytes], object]:
    site = federation.sites["b"]

    def answer(frame: bytes) -> object:
        site.entries = 4
        return site.closed(frame)

    return answer


BAD: dict[str, tuple[Callable[[Any], Callable[[bytes], object]], str]] = {
    "silence": (lambda _: lambda _: None, "no reply in time"),
    "a crash": (lambda _: lambda _: RuntimeError("no vault"), "no vault"),
    "garbage": (lambda _: lambda _: b"g" * 99, "bad answer"),
    "another's answer": (lambda f: f.sites["a"].closed, "not signed with the site's key"),
    "a refusal": (
        lambda f: lambda frame: f.sites["b"].refused(frame, RefusalReason.UNKNOWN_SESSION),
        "refused (unknown_session)",
    ),
    "an answer to another query": (
        lambda f: lambda frame: f.sites["b"].closed(frame + b" "),
        "answered another query",
    ),
    "a ledger that went back": (rolled_back, "went back from entry 9 to 4"),
}


@pytest.mark.parametrize(("bad", "why"), BAD.values(), ids=BAD)
def test_who_does_not_close_is_told_and_its_last_head_stays(
    federation: Any,
    impatient: Callable[[Any], Any],
    bad: Callable[[Any], Any],
    why: str,
) -> None:
    run = Run(federation, impatient(federation.grid()))
    run.grid.nodes[node_of(1)] = bad(federation)
    failures = run.close()

    assert set(failures) == {"b"}
    assert why in failures["b"].why
    assert run.ends["b"] == 9
    assert run.ends["c"] == 10


def test_a_session_key_is_no_end_of_a_ledger(federation: Any) -> None:
    run = Run(federation, federation.grid())
    site = federation.sites["b"]
    opening = run.grid.queries[0]
    run.grid.nodes[node_of(1)] = lambda frame: site.sealed(site.opened(opening, frame))

    assert "session_opened instead of the end" in run.close()["b"].why
