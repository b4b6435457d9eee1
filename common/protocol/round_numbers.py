"""Which round number each kind of sum has: a place that a vault answers once."""

from __future__ import annotations

from fedward.common.study.definition import Study

MOMENTS_ROUND = 0
"""Training rounds follow, from 1 on."""


def evaluation_round(study: Study) -> int:
    """Round number of the sum over held-out patients."""
    return study.training.rounds + 1


def site_evaluation_round(study: Study) -> int:
    """Round number of each site's own evaluation."""
    return study.training.rounds + 2


def counts_round(study: Study) -> int:
    """Round number of the counts of training patients."""
    return study.training.rounds + 3
