"""Hospitals of unequal size and case mix, dealt from scikit-learn's embedded breast-cancer data.

569 real patients, each at exactly one hospital. Beyond eight hospitals the patients run out, and
:mod:`fedward.simulations.hospitals.generated` makes new ones in their likeness.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fedward.common.study.definition import Study
from fedward.simulations.hospitals.embedded import embedded_cohort, tumour_sizes
from fedward.simulations.hospitals.generated import generated_hospitals
from fedward.simulations.hospitals.holdout import patient_labels, site_generator
from fedward.simulations.hospitals.hospital import Hospital, Hospitals, check_site_count

MOST_DEALT_SITES = 8
"""The smallest hospital still has about 30 patients."""

SMALLEST_TO_LARGEST = 1 / 3.8
LARGEST_TILT = 0.8
"""Log-odds by which the malignant share of the hospital furthest off differs from the whole."""
FEWEST_OF_A_CLASS = 5
SIZE_NOISE = 2.0
"""Spread of chance against tumour size, in standard deviations, when patients are referred."""


def breast_cancer_hospitals(study: Study, *, sites: int = 4, seed: int) -> Hospitals:
    """Deal the 569 patients to ``sites`` hospitals, or generate patients for more than eight.

    Sizes fall geometrically, the largest 3.8 times the smallest. Hospitals differ in the share of
    malignant tumours (a tilt of up to 0.8 in log-odds), and those with more of them also tend to
    see the larger ones. The sizes and shares depend on ``sites`` alone; who goes where, on the
    seed. Raises InputError where the study asks for what these data lack.
    """
    check_site_count(sites, source="command line", field="--sites")
    if sites > MOST_DEALT_SITES:
        return generated_hospitals(study, sites=sites, seed=seed)
    cohort = embedded_cohort(study)
    labels = patient_labels(cohort)
    owners = _deal(labels, tumour_sizes(), sites=sites, seed=seed)
    dealt = [np.flatnonzero(owners == site) for site in range(sites)]
    hospitals = tuple(
        Hospital(f"hospital-{number}", cohort.take(patients))
        for number, patients in enumerate(dealt, start=1)
    )
    shares = ", ".join(f"{labels[patients].mean():.0%}" for patients in dealt)
    counts = ", ".join(str(len(patients)) for patients in dealt)
    return Hospitals(
        sites=hospitals,
        description=(
            f"scikit-learn's embedded breast-cancer data: {len(labels)} real patients, each at "
            f"one of {sites} simulated hospitals of {counts} patients. The hospitals differ in "
            f"case mix ({shares} {' or '.join(study.target.positive)}); those with more such "
            "patients also see larger tumours."
        ),
    )


def _deal(
    labels: NDArray[np.bool_], size: NDArray[np.float64], *, sites: int, seed: int
) -> NDArray[np.int64]:
    """The hospital of each patient; every count is fixed in advance, so each gets both classes."""
    shares = SMALLEST_TO_LARGEST ** np.linspace(0, 1, sites)
    totals = _whole(shares, len(labels))
    tilts = _tilts(sites)
    odds = math.log(labels.mean() / (1 - labels.mean())) + tilts
    positives = _whole(totals / (1 + np.exp(-odds)), int(labels.sum()))
    positives = np.clip(positives, FEWEST_OF_A_CLASS, totals - FEWEST_OF_A_CLASS)
    if positives.sum() != labels.sum():
        raise ValueError("the classes cannot be dealt out to so many sites")
    generator = site_generator(seed, "breast cancer", str(sites))
    by_tilt = np.argsort(-tilts, kind="stable")
    owners = np.empty(len(labels), dtype=np.int64)
    for label, counts in ((True, positives), (False, totals - positives)):
        patients = np.flatnonzero(labels == label)
        referral = size[patients] + SIZE_NOISE * generator.standard_normal(len(patients))
        largest_first = patients[np.argsort(-referral, kind="stable")]
        owners[largest_first] = np.repeat(by_tilt, counts[by_tilt])
    return owners


def _tilts(sites: int) -> NDArray[np.float64]:
    """Evenly spaced tilts, so ordered that neighbours in size lean opposite ways."""
    spaced = np.linspace(LARGEST_TILT, -LARGEST_TILT, sites)
    # From both ends inwards: 0, n - 1, 1, n - 2, ...
    order = [site // 2 if site % 2 == 0 else sites - 1 - site // 2 for site in range(sites)]
    return np.asarray(spaced[np.array(order)], dtype=np.float64)


def _whole(weights: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Whole numbers in proportion to the weights that add up to the total (largest remainders)."""
    exact = weights * (total / weights.sum())
    whole = np.floor(exact).astype(np.int64)
    short = total - int(whole.sum())
    whole[np.argsort(-(exact - whole), kind="stable")[:short]] += 1
    return np.asarray(whole, dtype=np.int64)
