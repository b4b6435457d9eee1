"""Chosen patients, cut into chunks of bounded memory that never split a small patient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.client.vault.kernels.scratch import Scratch

_scratch = Scratch()


@dataclass(frozen=True, eq=False)
class PatientChunk:
    """Whole patients, their rows side by side.

    ``features`` is ``[rows, columns]`` and C-contiguous, ``target`` ``[rows]``, and ``counts``
    ``[patients]`` the rows of each. Do not write to features or target: they may be the
    cohort's own.
    """

    features: NDArray[np.float64]
    target: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def starts(self) -> NDArray[np.int64]:
        """First row of each patient."""
        starts: NDArray[np.int64] = np.cumsum(self.counts) - self.counts
        return starts

    def by_row_count(self) -> tuple[PatientChunk | None, PatientChunk | None]:
        """The patients with one row, and those with several; None where there are none."""
        if len(self.counts) == len(self.target):
            return self, None
        alone = self.counts == 1
        if not alone.any():
            return None, self
        return self._patients(alone), self._patients(~alone)

    def _patients(self, mask: NDArray[np.bool_]) -> PatientChunk:
        rows = np.repeat(mask, self.counts)
        return PatientChunk(self.features[rows], self.target[rows], self.counts[mask])


def chosen(cohort: Cohort, patients: NDArray[np.int64] | NDArray[np.bool_]) -> NDArray[np.int64]:
    """Positions of the chosen patients, from positions or from a mask ``[patient_count]``.

    A patient chosen twice would count twice against one clip, so repeats are a ValueError, as are
    positions outside the cohort (negative ones too) and a mask of another length.
    """
    if patients.ndim != 1:
        raise ValueError("patients must be a vector of positions or a mask")
    if patients.dtype == np.bool_:
        if len(patients) != cohort.patient_count:
            raise ValueError("a mask of patients needs one entry a patient")
        return np.flatnonzero(patients)
    if patients.dtype.kind not in "iu":
        raise ValueError("positions of patients must be integers")
    positions = patients.astype(np.int64, copy=False)
    if len(positions):
        ascending = bool((positions[1:] > positions[:-1]).all())
        ends = positions[[0, -1]] if ascending else positions
        if ends.min() < 0 or ends.max() >= cohort.patient_count:
            raise ValueError("a position lies outside the cohort")
        if not ascending and len(np.unique(positions)) != len(positions):
            raise ValueError("a patient is chosen twice")
    return positions


def patient_chunks(
    cohort: Cohort,
    patients: NDArray[np.int64] | NDArray[np.bool_] | None,
    *,
    rows: int,
) -> Iterator[PatientChunk]:
    """Cut the chosen patients (None: all) into chunks of at most ``rows`` rows, in order.

    A patient with more rows than that is a chunk alone, as a view of the cohort: its rows are
    not copied, and the kernel walks them in blocks. A chunk lasts until the next one is asked for.
    """
    if patients is None:
        positions = None
        offsets = cohort.offsets
    else:
        positions = chosen(cohort, patients)
        offsets = _row_offsets(cohort, positions)
    first = 0
    while first < len(offsets) - 1:
        fitting = int(np.searchsorted(offsets, offsets[first] + rows, side="right")) - 1
        last = max(fitting, first + 1)
        if positions is None:
            yield _view(cohort, first, last)
        elif last == first + 1:
            yield _view(cohort, int(positions[first]), int(positions[first]) + 1)
        else:
            yield _gathered(cohort, positions[first:last], np.diff(offsets[first : last + 1]))
        first = last


def _view(cohort: Cohort, first: int, last: int) -> PatientChunk:
    rows = slice(int(cohort.offsets[first]), int(cohort.offsets[last]))
    counts = np.diff(cohort.offsets[first : last + 1])
    return PatientChunk(cohort.features[rows], cohort.target[rows], counts)


def _one_row_each(cohort: Cohort) -> bool:
    return len(cohort.target) == cohort.patient_count


def _row_offsets(cohort: Cohort, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each patient's rows begin when they are put side by side, and where the last end."""
    if _one_row_each(cohort):
        return np.arange(len(positions) + 1)
    offsets = np.zeros(len(positions) + 1, dtype=np.int64)
    np.cumsum(cohort.offsets[positions + 1] - cohort.offsets[positions], out=offsets[1:])
    return offsets


def _gathered(
    cohort: Cohort, positions: NDArray[np.int64], counts: NDArray[np.int64]
) -> PatientChunk:
    rows = positions
    if not _one_row_each(cohort):
        shifts = cohort.offsets[positions] - (np.cumsum(counts) - counts)
        rows = np.repeat(shifts, counts) + np.arange(int(counts.sum()))
    features = _scratch.float64("features", (len(rows), cohort.features.shape[1]))
    # Positions are checked, so "clip" changes nothing; "raise" would copy once more.
    np.take(cohort.features, rows, axis=0, out=features, mode="clip")
    return PatientChunk(features, cohort.target[rows], counts)
