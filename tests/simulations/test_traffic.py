from __future__ import annotations

from typing import Any

import pytest

from fedward.client.vault.timings import VaultTimings
from fedward.server.release_log import ReleaseRecord
from fedward.simulations.traffic import mean_traffic, traffic_of


def record(site: str, digest: str, **changes: Any) -> ReleaseRecord:
    fields: dict[str, Any] = {
        "site": site,
        "kind": "training",
        "session": 1,
        "round": 1,
        "attempt": 1,
        "query_digest": digest,
        "release_digest": "0" * 64,
        "executed": None,
        "masked": True,
        "bytes": 100,
        "query_bytes": 30,
        "summed": True,
        "charged": True,
        "failure": None,
    }
    return ReleaseRecord(**(fields | changes))


LOST: dict[str, Any] = {"summed": False}
FAILED = LOST | {"release_digest": None, "bytes": 0, "failure": "is down", "masked": False}
LOG = (
    record("a", "m", kind="moments", round=0, bytes=500, query_bytes=900),
    record("b", "m", kind="moments", round=0, bytes=500, query_bytes=900),
    record("a", "1", **LOST),
    record("b", "1", **FAILED),
    record("a", "1b", attempt=2),
    record("a", "2", round=2, session=2, query_bytes=80),
    record("b", "2", round=2, session=2, query_bytes=80),
)


def test_the_log_is_counted_by_attempt_and_by_kind() -> None:
    found = traffic_of(LOG, sites=2, rounds=2, timings=None)

    assert (found.sessions, found.attempts, found.lost, found.repeated) == (2, 4, 1, 1)
    assert found.exchanges == 6
    # Two rounds over two sites; the lost attempt's bytes are among them.
    assert found.bytes_up == (4 * 100) / 4
    assert found.bytes_down == (3 * 30 + 2 * 80) / 4
    moments, training = found.by_kind
    assert (moments.kind, moments.sums, moments.attempts) == ("moments", 1, 1)
    assert (moments.bytes_up, moments.bytes_down) == (500, 900)
    assert (training.kind, training.sums, training.attempts) == ("training", 2, 3)
    # An answer that never came has no size.
    assert (training.bytes_up, training.bytes_down) == (100, 50)
    assert found.seconds_in_masks is None


def test_groups_that_are_asked_in_the_same_round_are_attempts_of_their_own() -> None:
    log = [record(site, digest, kind="evaluation") for site, digest in (("a", "x"), ("b", "y"))]
    found = traffic_of(log, sites=2, rounds=0, timings=None)

    assert (found.attempts, found.lost) == (2, 0)
    assert (found.bytes_up, found.bytes_down) == (0, 0)


def test_times_are_by_release_over_all_vaults() -> None:
    timings = (
        VaultTimings(
            releases=3, seconds_computing=0.3, seconds_in_noise=0.06, seconds_in_masks=0.9
        ),
        VaultTimings(
            releases=1, seconds_computing=0.5, seconds_in_noise=0.02, seconds_in_masks=0.1
        ),
    )
    found = traffic_of(LOG, sites=2, rounds=2, timings=timings)

    assert found.seconds_computing == pytest.approx(0.2)
    assert found.seconds_in_noise == pytest.approx(0.02)
    assert found.seconds_in_masks == pytest.approx(0.25)
    # A seed that was read back released nothing in this process.
    assert traffic_of(LOG, sites=2, rounds=2, timings=(VaultTimings(),)).seconds_in_masks is None


def test_seeds_are_averaged_number_by_number() -> None:
    first = traffic_of(LOG, sites=2, rounds=2, timings=(VaultTimings(releases=1),))
    second = traffic_of(LOG[:2], sites=2, rounds=2, timings=None)
    found = mean_traffic([first, None, second])

    assert found is not None
    assert (found.sessions, found.attempts, found.lost, found.repeated) == (1.5, 2.5, 0.5, 0.5)
    assert found.exchanges == 4
    assert found.bytes_up == first.bytes_up / 2
    moments, training = found.by_kind
    assert (moments.sums, training.sums, training.attempts) == (1, 1, 1.5)
    assert training.bytes_up == 100
    assert found.seconds_in_noise == 0
    assert mean_traffic([first]) == first
    assert mean_traffic([None]) is None
