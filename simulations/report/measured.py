"""What the coordinator measured of the patients, at a charge, beside the exact figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from fedward.simulations.report.arms import one_per_kind
from fedward.simulations.report.traffic import private_federated
from fedward.simulations.results import ArmResult, ChargedEvaluation, ExperimentResult, Figure

TITLES: Final = {
    "patients": "Patients",
    "positive_share": "Positive share",
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision",
    "f1": "F1",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "brier": "Brier score",
    "positive": "Positive",
    "negative": "Negative",
}
"""Each figure's heading, in the order of the columns."""
WHOLE: Final = frozenset({"patients", "positive", "negative"})
"""Figures that are numbers of patients."""


@dataclass(frozen=True, kw_only=True)
class MeasuredRow:
    """One way to train, as the coordinator measured one group of hospitals or one hospital."""

    arm: ArmResult
    name: str
    figures: dict[str, Figure]


def measured_seed(result: ExperimentResult) -> int | None:
    """The seed that is shown; None where nothing was measured."""
    found = (arm.charged_evaluation for arm in private_federated(result))
    return next((charged[0].seed for charged in found if charged), None)


def measured_rows(
    result: ExperimentResult, which: Literal["groups", "by_site"]
) -> list[MeasuredRow]:
    """Every private federated way at the first seed; of single hospitals one epsilon a way."""
    arms = private_federated(result)
    if which == "by_site":
        arms = one_per_kind(arms)
    return [
        MeasuredRow(arm=arm, name=group.name, figures=group.figures)
        for arm in arms
        for charged in _first(arm)
        for group in getattr(charged, which)
    ]


def counted_rows(result: ExperimentResult) -> list[MeasuredRow]:
    """The numbers of training patients by outcome."""
    return [
        MeasuredRow(arm=arm, name="all", figures=charged.counts)
        for arm in private_federated(result)
        for charged in _first(arm)
        if charged.counts
    ]


def named_groups(rows: list[MeasuredRow]) -> bool:
    """Whether the rows are of several groups of hospitals, so that their names say something."""
    return any(row.name != "all" for row in rows)


def columns_of(rows: list[MeasuredRow]) -> list[str]:
    """The figures that any row has, in the order of the columns."""
    found = {name for row in rows for name in row.figures}
    return [name for name in TITLES if name in found]


def _first(arm: ArmResult) -> list[ChargedEvaluation]:
    return arm.charged_evaluation[:1]
