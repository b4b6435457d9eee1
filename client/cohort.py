"""A hospital's patients in the study's columns: rows grouped by patient, in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Cohort:
    """Rows of all patients, the rows of one patient side by side.

    ``features`` is ``[rows, columns]`` float64 in the order of
    :func:`fedward.common.study.columns.design_columns`, ``target`` is ``[rows]`` float64 of 0 and
    1, and patient ``p`` owns rows ``offsets[p]:offsets[p + 1]``. Every patient has at least one
    row. The arrays are made read-only. Patient keys do not survive loading.
    """

    features: NDArray[np.float64]
    target: NDArray[np.float64]
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or self.target.shape != self.features.shape[:1]:
            raise ValueError("features must be [rows, columns] and target [rows]")
        ends = [*self.offsets[:1], *self.offsets[-1:]] if self.offsets.ndim == 1 else []
        if ends != [0, len(self.target)]:
            raise ValueError("offsets must run from 0 to the number of rows")
        steps = np.diff(self.offsets)
        if steps.size and steps.min() < 1:
            raise ValueError("every patient needs at least one row")
        for array in (self.features, self.target, self.offsets):
            array.setflags(write=False)

    @classmethod
    def from_rows(
        cls,
        *,
        features: NDArray[np.float64],
        target: NDArray[np.float64],
        patients: NDArray[np.int64],
    ) -> Self:
        """Group rows by ``patients`` (any integers, any order); each keeps its row order.

        ``features``, ``target`` and ``patients`` have one entry a row; ValueError otherwise.
        """
        if not len(features) == len(target) == len(patients):
            raise ValueError("features, target and patients must have one entry a row")
        order = np.argsort(patients, kind="stable")
        _, counts = np.unique(patients, return_counts=True)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(
            features=np.ascontiguousarray(features[order], dtype=np.float64),
            target=np.ascontiguousarray(target[order], dtype=np.float64),
            offsets=offsets,
        )

    @property
    def patient_count(self) -> int:
        """How many patients (a private number at a real site)."""
        return len(self.offsets) - 1

    def take(self, patients: NDArray[np.int64]) -> Self:
        """The cohort of the patients at these positions, in this order."""
        counts = np.diff(self.offsets)[patients]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        starts = np.repeat(self.offsets[patients] - offsets[:-1], counts)
        rows = np.arange(offsets[-1]) + starts
        return type(self)(features=self.features[rows], target=self.target[rows], offsets=offsets)
