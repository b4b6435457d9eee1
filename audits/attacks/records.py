"""What a record of a study looks like to a person: names, units, and pictures among its columns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedward.common.study.columns import design_columns
from fedward.common.study.definition import NumericFeature, Study

TOLERANCE = 0.01
"""A value counts as read if it is off by at most this share of its public range."""
_PIXEL = re.compile(r"pixel_(\d+)_(\d+)")


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordSpace:
    """The columns of a study's records.

    ``low`` and ``high`` are the ends of each column in the study's units, ``binary`` the columns
    that are 0 or 1. ``picture`` is [rows, columns] if the columns are the pixels of a picture, all
    of them and row by row, named ``pixel_<row>_<column>`` from 0 or from 1.
    """

    names: tuple[str, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    binary: NDArray[np.bool_]
    picture: tuple[int, int] | None

    @classmethod
    def of(cls, study: Study) -> Self:
        """Read them off the study."""
        ranges = {
            feature.name: feature.range
            for feature in study.features
            if isinstance(feature, NumericFeature)
        }
        columns = design_columns(study)
        ends = np.array([ranges.get(column.feature, (0.0, 1.0)) for column in columns])
        names = tuple(column.name for column in columns)
        return cls(
            names=names,
            low=ends[:, 0],
            high=ends[:, 1],
            binary=np.array([column.binary for column in columns]),
            picture=_picture(names),
        )

    @property
    def lowest(self) -> NDArray[np.float64]:
        """Each column's least value as vaults hold it: -1, or 0 for binary columns."""
        return np.where(self.binary, 0.0, -1.0)

    def in_units(self, record: NDArray[np.float64]) -> tuple[float, ...]:
        """A record ``[columns]`` of a cohort in the study's units."""
        share = (record - self.lowest) / (1.0 - self.lowest)
        return tuple(float(value) for value in self.low + share * (self.high - self.low))

    def bounded(self, records: NDArray[np.float64]) -> NDArray[np.float64]:
        """Records cut off at the ends of the public ranges, which every attacker knows."""
        return np.clip(np.nan_to_num(records), self.lowest, 1.0)

    def read(self, guesses: NDArray[np.float64], records: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of the ``records [n, columns]`` some guess has right in every value."""
        allowed = TOLERANCE * (1.0 - self.lowest)
        found = np.zeros(len(records), dtype=np.bool_)
        for guess in guesses:
            found |= (np.abs(records - guess) <= allowed).all(axis=1)
        return found


def nearest(guesses: NDArray[np.float64], record: NDArray[np.float64]) -> NDArray[np.float64]:
    """The guess ``[columns]`` that is nearest to a record; the attacker's best shot at it."""
    best: NDArray[np.float64] = guesses[np.argmin(((guesses - record) ** 2).sum(axis=1))]
    return best


def _picture(names: tuple[str, ...]) -> tuple[int, int] | None:
    matches = [_PIXEL.fullmatch(name) for name in names]
    places = [(int(match[1]), int(match[2])) for match in matches if match]
    if len(places) < len(names):
        return None
    (first_row, first_column), (last_row, last_column) = places[0], places[-1]
    whole = [
        (row, column)
        for row in range(first_row, last_row + 1)
        for column in range(first_column, last_column + 1)
    ]
    if places != whole or len(whole) < 4:
        return None
    return last_row - first_row + 1, last_column - first_column + 1
