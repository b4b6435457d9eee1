"""Small hospitals for whole experiments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from fedward.client.cohort import Cohort
from fedward.simulations.hospitals.hospital import Hospital, Hospitals


@pytest.fixture(scope="session")
def make_hospitals(make_cohort: Callable[..., Cohort]) -> Callable[..., Hospitals]:
    def make(
        names: Sequence[str] = ("north", "south", "west"), *, columns: int = 3, seed: int = 0
    ) -> Hospitals:
        sites = tuple(
            Hospital(name, make_cohort(22 + 4 * number, columns=columns, seed=seed + number))
            for number, name in enumerate(names)
        )
        return Hospitals(sites=sites, description="Generated for a test.")

    return make
