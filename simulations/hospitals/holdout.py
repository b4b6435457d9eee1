"""Splitting cohorts by patient, stratified by outcome, and joining them for pooled baselines.

Splits are seeded and hold no secret: a simulation must be able to repeat them. They depend on the
seed and the site's name alone, so one site's split does not move when another site changes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedward.client.cohort import Cohort


def site_generator(seed: int, *names: str) -> np.random.Generator:
    """A PCG64 generator keyed by SHA-256 of ``(seed, *names)``; for data, never for noise."""
    key = hashlib.sha256(json.dumps([seed, *names]).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(key, "big")))


def patient_labels(cohort: Cohort) -> NDArray[np.bool_]:
    """Each patient's majority label ``[patients]``; a tie counts as positive."""
    if cohort.patient_count == 0:
        return np.zeros(0, dtype=np.bool_)
    sums = np.add.reduceat(cohort.target, cohort.offsets[:-1])
    return np.asarray(2 * sums >= np.diff(cohort.offsets))


def split_holdout(cohort: Cohort, *, holdout: float, seed: int, site: str) -> tuple[Cohort, Cohort]:
    """Training and held-out patients of one site, the same for the same seed and site.

    Holds out ``ceil(holdout * patients)`` patients, at most all but one, drawn at random with the
    share of positive patients kept as near as whole patients allow. All rows of a patient go to
    one side, and patients keep their order. A cohort of one patient holds nobody out.
    """
    if not 0 < holdout < 1:
        raise ValueError(f"holdout must be in (0, 1): {holdout}")
    count = cohort.patient_count
    wanted = max(0, min(math.ceil(holdout * count - 1e-9), count - 1))
    labels = patient_labels(cohort)
    positives = int(labels.sum())
    held_positives = min(round(wanted * positives / count), positives) if count else 0
    generator = site_generator(seed, "holdout", site)
    held_out = np.zeros(count, dtype=np.bool_)
    for label, number in ((True, held_positives), (False, wanted - held_positives)):
        held_out[generator.permutation(np.flatnonzero(labels == label))[:number]] = True
    return _parts(cohort, held_out)


def fold_split(
    cohort: Cohort, *, folds: int = 5, fold: int, seed: int, site: str
) -> tuple[Cohort, Cohort]:
    """Training and test patients of one of ``folds`` folds, numbered from 0.

    Stratified by each patient's majority label. For a fixed seed and site, every patient is in
    the test part of exactly one fold, and fold sizes differ by at most one patient; with fewer
    patients than folds some test parts are empty.
    """
    if folds < 2 or not 0 <= fold < folds:
        raise ValueError(f"fold must be in 0..{folds - 1} and folds at least 2: {fold}, {folds}")
    labels = patient_labels(cohort)
    generator = site_generator(seed, "folds", site)
    shuffled = generator.permutation(cohort.patient_count)
    # Dealing class by class, like cards, spreads both classes and the remainder evenly.
    order = np.concatenate([shuffled[labels[shuffled]], shuffled[~labels[shuffled]]])
    start = int(generator.integers(folds))
    held_out = np.zeros(cohort.patient_count, dtype=np.bool_)
    held_out[order[(fold - start) % folds :: folds]] = True
    return _parts(cohort, held_out)


def concatenate(cohorts: Sequence[Cohort]) -> Cohort:
    """All patients of all cohorts, in order; the same number of columns in each."""
    if not cohorts:
        raise ValueError("concatenate needs at least one cohort")
    counts = np.concatenate([np.diff(cohort.offsets) for cohort in cohorts])
    return Cohort(
        features=np.concatenate([cohort.features for cohort in cohorts]),
        target=np.concatenate([cohort.target for cohort in cohorts]),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


def _parts(cohort: Cohort, held_out: NDArray[np.bool_]) -> tuple[Cohort, Cohort]:
    return cohort.take(np.flatnonzero(~held_out)), cohort.take(np.flatnonzero(held_out))
