"""Small hospitals for whole experiments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
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


STUDY = """
[about]
name = "small"
title = "A small study"

[target]
name = "ill"
positive = ["yes"]
negative = ["no"]

[cohort]
expected_patients = 64

[scaling]
method = "private_moments"

[model]
name = "logistic_regression"

[training]
method = "distributed"
rounds = {rounds}
learning_rate = 1.0
momentum = 0.5

[privacy]
epsilon = 3.0
delta = 1e-4
"""
FEATURE = """
[[features]]
name = "x{number}"
kind = "numeric"
unit = "u"
range = [-1, 1]
"""


@dataclass(frozen=True)
class FolderStudy:
    """A study file and a folder with one CSV file a hospital."""

    study: Path
    data: Path


@pytest.fixture
def folder_study(tmp_path: Path, make_cohort: Callable[..., Cohort]) -> Callable[..., FolderStudy]:
    def make(*, rounds: int = 3, patients: int = 40, name: str = "input") -> FolderStudy:
        folder = tmp_path / name
        data = folder / "data"
        data.mkdir(parents=True)
        study = folder / "small.toml"
        study.write_text(
            STUDY.format(rounds=rounds) + "".join(FEATURE.format(number=n) for n in range(3))
        )
        for number, site in enumerate(("North", "south")):
            cohort = make_cohort(patients, seed=number)
            owners = np.repeat(np.arange(patients), np.diff(cohort.offsets))
            lines = ["patient_id,x0,x1,x2,ill"]
            for owner, row, ill in zip(owners, cohort.features, cohort.target, strict=True):
                values = ",".join(f"{value:.6f}" for value in row)
                lines.append(f"p{owner},{values},{'yes' if ill else 'no'}")
            (data / f"{site}.csv").write_text("\n".join(lines) + "\n")
        return FolderStudy(study=study, data=data)

    return make
