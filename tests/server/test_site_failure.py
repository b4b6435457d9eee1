from __future__ import annotations

import pytest

from fedward.common.protocol.releases import Refusal, RefusalReason
from fedward.server.site_failure import SiteFailure, told


def refused(reason: RefusalReason) -> SiteFailure:
    return SiteFailure.refused(
        Refusal(site="a", query_digest="0" * 64, reason=reason, message="It does not")
    )


@pytest.mark.parametrize("reason", list(RefusalReason))
def test_a_refusal_is_free_unless_the_vault_may_have_charged_itself(reason: RefusalReason) -> None:
    failure = refused(reason)

    assert failure.charged == (
        reason in {"internal", "privacy", "already_answered", "ledger_unavailable"}
    )
    assert failure.stays == (reason == "already_answered")
    assert failure.may_pass == (
        reason
        in {
            "internal",
            "ledger_unavailable",
            "roster_too_small",
            "session_keys",
            "unknown_session",
        }
    )
    assert failure.why == f"refused ({reason}): It does not"


def test_silence_counts_as_charged_and_may_pass() -> None:
    failure = SiteFailure(why="no reply in time")

    assert failure.charged
    assert failure.may_pass
    assert not failure.stays


def test_failures_are_told_by_site_exchange_and_reason() -> None:
    failures = {
        "b": SiteFailure(why="no reply in time").at("session 2"),
        "a": refused(RefusalReason.PRIVACY).at("round 3, attempt 1"),
    }

    assert told(failures) == (
        ": a in round 3, attempt 1: refused (privacy): It does not; "
        "b in session 2: no reply in time"
    )
    assert told({}) == ""
