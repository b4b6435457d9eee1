"""Why a run cannot go on."""

from __future__ import annotations

from fedward.common.errors import FedwardError


class CoordinationError(FedwardError):
    """A run that cannot go on: who did not answer, or refused, and why."""


class BudgetSpent(CoordinationError):
    """The study's budget pays for no further attempt at a sum."""
