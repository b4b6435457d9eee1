from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fedward.common.protocol.releases import ExecutedNoise
from fedward.server.release_log import ReleaseLog, ReleaseRecord


def noise(share: float = 1.0) -> ExecutedNoise:
    return ExecutedNoise(noise_multiplier=2.0, share_multiplier=share, sampling_rate=1.0, count=1)


def record(**changes: Any) -> ReleaseRecord:
    fields: dict[str, Any] = {
        "site": "a",
        "kind": "training",
        "session": 1,
        "round": 1,
        "attempt": 1,
        "query_digest": "1" * 64,
        "release_digest": "2" * 64,
        "executed": noise(),
        "masked": True,
        "bytes": 100,
        "query_bytes": 50,
        "summed": True,
        "charged": True,
        "failure": None,
    }
    return ReleaseRecord(**(fields | changes))


LOST = {"summed": False, "release_digest": None, "bytes": 0, "failure": "no reply in time"}
REFUSED = LOST | {"charged": False, "executed": None, "failure": "refused (not_allowed): no"}


def test_a_line_comes_back_from_json() -> None:
    for one in (record(), record(**LOST), record(**REFUSED)):
        assert ReleaseRecord.model_validate_json(one.model_dump_json()) == one


@pytest.mark.parametrize("change", [{"kind": "gradient_sum"}, {"attempt": 0}, {"more": 1}], ids=str)
def test_a_wrong_line_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        record(**change)


def test_a_site_is_charged_for_what_it_may_have_answered() -> None:
    log = ReleaseLog(
        [
            record(kind="moments", round=0),
            record(),
            record(attempt=2, **LOST),
            record(round=2, **REFUSED),
            record(site="b", kind="evaluation", round=9),
        ]
    )

    assert log.charged("a") == {"moments": 1, "training": 2}
    assert log.charged("b") == {"evaluation": 1}
    assert log.charged("c") == {}


def test_a_round_of_local_training_is_charged_by_its_steps() -> None:
    log = ReleaseLog([record(), record(kind="moments", round=0)], local_steps=7)

    assert log.charged("a") == {"training": 7, "moments": 1}
    assert (log.sums_of("training"), log.sums_of("counts")) == (7, 1)


def test_the_next_attempt_is_new_to_every_site_that_is_asked() -> None:
    log = ReleaseLog([record(attempt=2, **LOST), record(site="b", attempt=5, **REFUSED)])

    assert log.next_attempt(1, ["a"]) == 3
    assert log.next_attempt(1, ["a", "b"]) == 6
    assert log.next_attempt(1, ["c"]) == 1
    assert log.next_attempt(2, ["a", "b"]) == 1


def test_lost_attempts_are_counted_by_kind() -> None:
    log = ReleaseLog(
        [
            record(),
            record(site="b"),
            record(query_digest="3" * 64, summed=False),
            record(query_digest="3" * 64, site="b", **LOST),
            record(query_digest="4" * 64, kind="moments", round=0, **LOST),
        ]
    )

    assert (log.lost("training"), log.lost("moments"), log.lost("counts")) == (1, 1, 0)


def test_lines_since_are_those_that_were_added() -> None:
    log = ReleaseLog([record()])
    log.add([record(round=2), record(round=3)])

    assert len(log) == 3
    assert [one.round for one in log.since(1)] == [2, 3]
    assert [one.round for one in log.records] == [1, 2, 3]
