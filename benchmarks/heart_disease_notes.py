"""What must be said beside the heart-disease figures: the luck of the split and the penalty."""

from __future__ import annotations

import numpy as np
from heart_disease_splits import TEST_SIZES
from numpy.typing import NDArray

from fedward.common.study.definition import Study

HEADLINE_SEEDS = 5
NOT_PRIVATE_WANTED = 0.795
FLAMBY_POOLED = 0.7953


def luck_of_five(accuracy: NDArray[np.float64]) -> str:
    """How far a mean over five splits moves with the splits alone."""
    groups = len(accuracy) // HEADLINE_SEEDS
    means = accuracy[: groups * HEADLINE_SEEDS].reshape(groups, HEADLINE_SEEDS).mean(axis=1)
    reached = int(np.count_nonzero(means >= NOT_PRIVATE_WANTED))
    return (
        f"The splits decide: over seeds 0 to {len(accuracy) - 1} the federated model without "
        f"privacy has a mean of {float(accuracy.mean()):.4f} (standard deviation of one split "
        f"{float(accuracy.std(ddof=1)):.4f}, of a mean over {HEADLINE_SEEDS} splits "
        f"{float(accuracy.std(ddof=1)) / HEADLINE_SEEDS**0.5:.4f}); {reached} of {groups} disjoint "
        f"groups of {HEADLINE_SEEDS} splits reach {NOT_PRIVATE_WANTED:g}."
    )


def penalty_of(study: Study) -> str:
    """What is known about the study's L2 penalty."""
    if not study.training.l2:
        return "The study has no L2 penalty, so the last two rows repeat earlier ones."
    return (
        f"The study's L2 penalty is {study.training.l2:g}. It was 0, as in the breast-cancer "
        "study, until the first measurement here had missed the target for the federated model "
        "without privacy (.7724); the last two rows show what it does. Nothing was charged for it."
    )


def patients_right(own_split: float) -> str:
    """FLamby's own figure and ours on its split, in patients."""
    patients = sum(TEST_SIZES.values())
    theirs, ours = (round(share * patients) for share in (FLAMBY_POOLED, own_split))
    return (
        f"On FLamby's own split one test patient counts {1 / patients:.4f}: its pooled training "
        f"has {theirs} of {patients} right, ours, federated and not private, {ours}. No target is "
        "judged there."
    )
