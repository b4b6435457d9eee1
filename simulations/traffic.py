"""What crossed between coordinator and hospitals, counted from the coordinator's log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

from fedward.client.vault.timings import VaultTimings
from fedward.server.release_log import ReleaseRecord
from fedward.simulations.results import SumTraffic, Traffic


def traffic_of(
    records: Sequence[ReleaseRecord],
    *,
    sites: int,
    rounds: int,
    timings: Sequence[VaultTimings] | None,
) -> Traffic:
    """Count one training's log: ``rounds`` completed rounds over a roster of ``sites``.

    ``timings`` are the vaults' own, of this process alone; None where they stayed elsewhere.
    """
    attempts: dict[tuple[str, str], list[ReleaseRecord]] = {}
    for record in records:
        attempts.setdefault((record.kind, record.query_digest), []).append(record)
    lost = {key for key, asked in attempts.items() if not any(one.summed for one in asked)}
    training = [record for record in records if record.kind == "training"]
    places = max(1, rounds) * sites
    sessions = len({record.session for record in records})
    by_kind = [
        _of_kind(kind, {key: asked for key, asked in attempts.items() if key[0] == kind}, lost)
        for kind in dict.fromkeys(record.kind for record in records)
    ]
    computing, noise, masks = _seconds_per_release(timings)
    return Traffic(
        sites=sites,
        sessions=sessions,
        exchanges=sessions + len(attempts),
        attempts=len(attempts),
        lost=len(lost),
        repeated=sum(asked[0].attempt > 1 for asked in attempts.values()),
        bytes_up=sum(record.bytes for record in training) / places,
        bytes_down=sum(record.query_bytes for record in training) / places,
        by_kind=by_kind,
        seconds_computing=computing,
        seconds_in_noise=noise,
        seconds_in_masks=masks,
    )


def mean_traffic(seeds: Iterable[Traffic | None]) -> Traffic | None:
    """Number by number, the mean over the seeds; None where no seed has any."""
    known = [seed for seed in seeds if seed is not None]
    if not known:
        return None
    kinds = dict.fromkeys(one.kind for seed in known for one in seed.by_kind)
    by_kind = [
        [one for seed in known for one in seed.by_kind if one.kind == kind] for kind in kinds
    ]
    return Traffic(
        sites=known[0].sites,
        sessions=fmean(seed.sessions for seed in known),
        exchanges=fmean(seed.exchanges for seed in known),
        attempts=fmean(seed.attempts for seed in known),
        lost=fmean(seed.lost for seed in known),
        repeated=fmean(seed.repeated for seed in known),
        bytes_up=fmean(seed.bytes_up for seed in known),
        bytes_down=fmean(seed.bytes_down for seed in known),
        by_kind=[
            SumTraffic(
                kind=same[0].kind,
                sums=sum(one.sums for one in same) / len(known),
                attempts=sum(one.attempts for one in same) / len(known),
                bytes_up=_mean([one.bytes_up for one in same]),
                bytes_down=fmean(one.bytes_down for one in same),
            )
            for same in by_kind
        ],
        seconds_computing=_mean([seed.seconds_computing for seed in known]),
        seconds_in_noise=_mean([seed.seconds_in_noise for seed in known]),
        seconds_in_masks=_mean([seed.seconds_in_masks for seed in known]),
    )


def _of_kind(
    kind: str,
    attempts: dict[tuple[str, str], list[ReleaseRecord]],
    lost: set[tuple[str, str]],
) -> SumTraffic:
    asked = [record for records in attempts.values() for record in records]
    return SumTraffic(
        kind=kind,
        sums=len(attempts.keys() - lost),
        attempts=len(attempts),
        bytes_up=_mean([record.bytes for record in asked if record.bytes]),
        bytes_down=fmean(record.query_bytes for record in asked),
    )


def _seconds_per_release(
    timings: Sequence[VaultTimings] | None,
) -> tuple[float | None, float | None, float | None]:
    releases = sum(one.releases for one in timings or ())
    if timings is None or not releases:
        return None, None, None
    return (
        sum(one.seconds_computing for one in timings) / releases,
        sum(one.seconds_in_noise for one in timings) / releases,
        sum(one.seconds_in_masks for one in timings) / releases,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
