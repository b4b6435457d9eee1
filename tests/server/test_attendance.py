from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fedward.common.protocol.releases import RefusalReason
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.server.attendance import Attendance
from fedward.server.errors import CoordinationError
from fedward.server.exchange import Exchange
from fedward.server.site_failure import SiteFailure
from fedward.simulations.engines.node_numbers import node_of

Federate = Callable[..., Any]
GONE = SiteFailure(why="no reply in time")
REFUSED = SiteFailure(why="refused (budget_exceeded): no", charged=False, may_pass=False)


def attendance(federation: Any, grid: Any, *, last_session: int = 0, **options: Any) -> Attendance:
    chosen = federation.options(**options)
    exchange = Exchange(grid, timeout=chosen.timeout, poll_seconds=chosen.poll_seconds)
    return Attendance(
        exchange, chosen, study_digest="0" * 64, minimum_sites=2, last_session=last_session
    )


def begun(federation: Any, grid: Any, **options: Any) -> Attendance:
    found = attendance(federation, grid, **options)
    found.begin()
    return found


def completed(found: Attendance, count: int) -> None:
    for _ in range(count):
        found.session.completed += 1
        found.ask_back_if_due()


def test_a_run_begins_with_the_whole_roster(federate: Federate) -> None:
    federation = federate()
    found = begun(federation, federation.grid())

    assert found.session.sites == ("a", "b", "c")
    assert found.last_session == found.session.number == 1


def test_a_run_that_goes_on_opens_the_next_session(federate: Federate) -> None:
    federation = federate()
    found = begun(federation, federation.grid(), last_session=4)

    assert found.last_session == found.session.number == 5


def test_a_run_does_not_begin_without_everybody(federate: Federate) -> None:
    federation = federate()
    federation.sites["b"].answer = lambda frame: federation.sites["b"].refused(
        frame, RefusalReason.STUDY_NOT_APPROVED
    )

    with pytest.raises(CoordinationError) as caught:
        begun(federation, federation.grid())
    assert str(caught.value) == (
        "2 of 3 sites opened the session: b in session 1: refused (study_not_approved): "
        "It does not want to."
    )


def test_it_may_begin_with_fewer(federate: Federate) -> None:
    federation = federate()
    federation.sites["b"].answer = lambda _: RuntimeError("down")

    assert begun(federation, federation.grid(), expected_sites=2).session.sites == ("a", "c")


def test_never_with_fewer_than_the_minimum(federate: Federate) -> None:
    federation = federate()
    for name in "bc":
        federation.sites[name].answer = lambda _: RuntimeError("down")

    with pytest.raises(CoordinationError, match="1 of 2 sites opened"):
        begun(federation, federation.grid(), expected_sites=1)


def test_more_than_the_roster_has_are_not_waited_for(federate: Federate) -> None:
    federation = federate()
    grid = federation.grid()

    with pytest.raises(CoordinationError, match="the roster has 3 sites, and 4 are needed"):
        begun(federation, grid, expected_sites=4, timeout=None)
    assert grid.frames == []


def test_it_gives_up_when_too_few_nodes_come(
    federate: Federate, make_grid: Callable[..., Any]
) -> None:
    federation = federate()
    grid = make_grid([federation.sites["a"].answer])

    with pytest.raises(CoordinationError, match="1 of 3 sites are connected; start the others"):
        begun(federation, grid, timeout=0.01)
    assert grid.frames == []


def test_a_roster_that_the_federation_did_not_sign_is_not_used(federate: Federate) -> None:
    federation = federate()
    stranger = SiteIdentity.from_private_bytes(b"x" * 32).public_key

    with pytest.raises(CoordinationError, match="is not signed by the federation's key"):
        attendance(federation, federation.grid(), federation_key=stranger)
    roster = federation.signed_roster.roster.model_copy(update={"serial": 2})
    changed = replace(
        federation.options(),
        signed_roster=federation.signed_roster.model_copy(update={"roster": roster}),
    )
    with pytest.raises(CoordinationError, match="is not signed by the federation's key"):
        Attendance(
            Exchange(federation.grid(), timeout=1, poll_seconds=0.1),
            changed,
            study_digest="0" * 64,
            minimum_sites=2,
        )


def test_a_site_that_left_is_asked_back_after_some_sums(federate: Federate) -> None:
    federation = federate()
    found = begun(federation, federation.grid(), rejoin_after=3)
    found.session.leave("b", GONE)
    completed(found, 2)
    assert found.session.sites == ("a", "c")

    completed(found, 1)
    assert found.session.sites == ("a", "b", "c")
    assert found.session.number == found.last_session == 2


def test_while_it_stays_away_the_session_goes_on(federate: Federate) -> None:
    federation = federate()
    grid = federation.grid()
    found = begun(federation, grid, rejoin_after=2)
    session = found.session
    session.leave("b", GONE)
    grid.nodes[node_of(1)] = lambda _: RuntimeError("down")
    completed(found, 7)

    assert found.session is session
    # Asked back after 2, 4 and 6 sums, each time under a new number.
    assert found.last_session == 4
    grid.nodes[node_of(1)] = federation.sites["b"].answer
    completed(found, 1)
    assert found.session.sites == ("a", "b", "c")
    assert found.session.number == 5


def test_nobody_is_asked_back_while_no_other_node_is_connected(
    federate: Federate, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = federate()
    grid = federation.grid()
    found = begun(federation, grid, rejoin_after=1)
    found.session.leave("b", GONE)
    monkeypatch.setattr(grid, "get_node_ids", lambda: [node_of(0), node_of(2)])
    completed(found, 5)

    assert found.last_session == 1
    assert len(grid.frames) == 3


def test_a_new_session_must_have_more_sites(federate: Federate) -> None:
    """As many with others in it are no gain: those that are here are known to answer."""
    federation = federate()
    grid = federation.grid()
    found = begun(federation, grid, rejoin_after=1)
    found.session.leave("b", GONE)
    grid.nodes[node_of(0)] = lambda _: RuntimeError("down")
    completed(found, 1)

    assert found.session.sites == ("a", "c")
    assert found.session.number == 1


def test_below_the_minimum_everyone_is_asked_back_once(federate: Federate) -> None:
    federation = federate()
    grid = federation.grid()
    found = begun(federation, grid, rejoin_after=100)
    found.session.completed = 1
    for name in "bc":
        found.session.leave(name, GONE)

    assert found.roster_for("sum", among=None) == ("a", "b", "c")
    assert found.session.number == 2
    # No sum was completed since.
    for name in "bc":
        found.session.leave(name, GONE.at("round 1"))
    with pytest.raises(CoordinationError) as caught:
        found.roster_for("sum", among=None)
    assert str(caught.value) == (
        "1 of 3 sites are left for the sum, and 2 are needed: "
        "b in round 1: no reply in time; c in round 1: no reply in time"
    )
    assert found.last_session == 2


def test_who_refused_for_good_is_not_asked_back(federate: Federate) -> None:
    federation = federate("ab")
    grid = federation.grid()
    found = begun(federation, grid)
    found.session.completed = 1
    found.session.leave("b", REFUSED.at("round 2"))

    with pytest.raises(CoordinationError, match=r"b in round 2: refused \(budget_exceeded\)"):
        found.roster_for("sum", among=None)
    assert found.last_session == 1


def test_who_refused_for_good_stays_out_when_others_are_asked_back(federate: Federate) -> None:
    federation = federate("abcd")
    found = begun(federation, federation.grid(), rejoin_after=1)
    found.session.leave("b", REFUSED)
    completed(found, 3)
    assert found.last_session == 1

    found.session.leave("c", GONE)
    completed(found, 1)
    assert found.last_session == 2
    assert found.session.sites == ("a", "c", "d")
    assert found.session.failures == {"b": REFUSED}


def test_why_a_site_left_is_still_known_in_the_next_session(federate: Federate) -> None:
    federation = federate("abcd")
    grid = federation.grid()
    found = begun(federation, grid, rejoin_after=1)
    found.session.leave("b", GONE.at("round 1"))
    found.session.leave("c", GONE.at("round 2"))
    grid.nodes[node_of(1)] = lambda _: RuntimeError("down")
    completed(found, 1)

    assert found.session.sites == ("a", "c", "d")
    assert found.session.failures["b"] == GONE.at("round 1")
    assert "c" not in found.session.failures


def test_a_sum_may_be_limited_to_some_sites(federate: Federate) -> None:
    federation = federate("abcd")
    found = begun(federation, federation.grid())
    found.session.leave("b", GONE.at("round 1"))

    assert found.roster_for("sum", among=("b", "c", "d")) == ("c", "d")
    with pytest.raises(CoordinationError, match="1 of 2 sites are left for the sum, and 2 are"):
        found.roster_for("sum", among=("a", "b"))


def test_there_is_no_session_before_the_first(federate: Federate) -> None:
    federation = federate()

    with pytest.raises(RuntimeError, match="no session is open"):
        _ = attendance(federation, federation.grid()).session
