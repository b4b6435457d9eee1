from __future__ import annotations

import threading

import pytest

import fedward.client.vault.timings
from fedward.client.vault.timings import VaultTimings


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock's hands: a list whose only entry is the time."""
    now = [100.0]
    monkeypatch.setattr(fedward.client.vault.timings.time, "perf_counter", lambda: now[0])
    return now


def test_time_is_added_to_its_stage_alone(pass_time: list[float]) -> None:
    timings = VaultTimings()
    for _ in range(2):
        with timings.spent("in_masks"):
            pass_time[0] += 0.5
        pass_time[0] += 7

    assert timings.seconds_in_masks == 1.0
    assert timings.seconds_computing == timings.seconds_in_noise == timings.seconds_sealing == 0


def test_what_failed_took_time_too(pass_time: list[float]) -> None:
    timings = VaultTimings()

    def fail() -> None:
        with timings.spent("computing"):
            pass_time[0] += 0.25
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert timings.seconds_computing == 0.25


def test_releases_of_many_threads_are_all_counted() -> None:
    timings = VaultTimings()
    threads = [
        threading.Thread(target=lambda: [timings.count_release() for _ in range(500)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert timings.releases == 8 * 500
