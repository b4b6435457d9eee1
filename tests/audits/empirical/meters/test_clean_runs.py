"""Sound vaults raise no alarm: 50 audits, and what each meter says in them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fedward.audits.empirical.meters.all_meters import measure
from fedward.audits.empirical.meters.levels import FAMILY_LEVEL, LEVEL
from fedward.audits.empirical.rehearsal import rehearse
from fedward.common.study.definition import Study

RUNS = {"full": 22, "poisson": 15, "poisson_mlp": 6, "full_mlp": 3, "local": 3, "local_mlp": 1}
SAMPLING = {"sampling_rate", "sampling_by_patient", "batch_sizes", "empty_batches"}
IN_PARTS = [(name, part) for name, runs in RUNS.items() for part in range(-(-runs // 5))]


def test_fifty_clean_runs_are_looked_at() -> None:
    assert sum(RUNS.values()) == 50


@pytest.mark.parametrize(("name", "part"), IN_PARTS)
def test_no_alarm_on_clean_runs(audited: Callable[[str], Study], name: str, part: int) -> None:
    for _ in range(min(5, RUNS[name] - 5 * part)):
        meters = measure(rehearse(audited(name), sites=3, canaries=64))

        assert [meter for meter in meters if meter.check.passed is False] == []
        names = [meter.check.name for meter in meters]
        assert len(names) == len(set(names))
        p_values = [meter.p_value for meter in meters if meter.p_value is not None]
        assert len(p_values) * LEVEL <= FAMILY_LEVEL


@pytest.mark.parametrize("name", ["full", "poisson", "local"])
def test_what_cannot_be_measured_is_neither_passed_nor_failed(
    audited: Callable[[str], Study], name: str
) -> None:
    meters = measure(rehearse(audited(name), sites=3, canaries=64))

    silent = {meter.check.name for meter in meters if meter.check.passed is None}
    assert silent == {"full": SAMPLING, "poisson": set(), "local": {"empty_batches"}}[name]
    assert all(
        meter.p_value is None and meter.observed is None
        for meter in meters
        if meter.check.name in silent
    )
