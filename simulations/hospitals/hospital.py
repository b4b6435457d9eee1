"""A simulated hospital and the set of them: what every source of patients returns."""

from __future__ import annotations

from dataclasses import dataclass

from fedward.client.cohort import Cohort
from fedward.common.errors import InputError

MOST_SITES = 10_000
"""Largest number of simulated hospitals; also the largest ``cohort.minimum_sites``."""


@dataclass(frozen=True, eq=False)
class Hospital:
    """One site of a simulation: its name and all its patients, not yet split."""

    name: str
    cohort: Cohort


@dataclass(frozen=True, eq=False)
class Hospitals:
    """The sites of a simulation, and a few sentences for the report on where they come from."""

    sites: tuple[Hospital, ...]
    description: str


def check_site_count(sites: int, *, source: str, field: str) -> None:
    """Refuse a number of sites that cannot make a federation; InputError names ``field``."""
    if sites < 2:
        raise InputError(
            source=source,
            field=field,
            problem=f"gives {sites} site{'s' * (sites != 1)}, "
            "but a federated study needs at least 2",
            fix="give it more hospitals",
        )
    if sites > MOST_SITES:
        raise InputError(
            source=source,
            field=field,
            problem=f"gives {sites} sites, more than the {MOST_SITES} that can be simulated",
            fix="lower it",
        )
