"""What an evaluation says: each figure with a 95 % interval, or that it cannot be told."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

CONFIDENCE = 0.95
Z = 1.959963984540054
"""The normal quantile of a two-sided interval of that confidence."""

Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(_Result):
    """A figure and the interval that covers its true value in 95 of 100 evaluations.

    All three numbers are finite and ``low <= value <= high``, or all three are None: the noise of
    the release leaves nothing to say about this figure.
    """

    value: Finite | None
    low: Finite | None
    high: Finite | None

    @classmethod
    def unknown(cls) -> Self:
        """The estimate of what cannot be told."""
        return cls(value=None, low=None, high=None)

    @classmethod
    def within(cls, value: float, low: float, high: float, *, most: float) -> Self:
        """Cut all three to the figure's range [0, ``most``], and the interval around the value."""
        value = min(max(value, 0.0), most)
        return cls(
            value=value,
            low=min(max(low, 0.0), value),
            high=max(min(high, most), value),
        )

    @property
    def known(self) -> bool:
        """Whether there is anything to show."""
        return self.value is not None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.value is None or self.low is None or self.high is None:
            if (self.value, self.low, self.high) != (None, None, None):
                raise ValueError("an estimate has a value and both limits, or none of them")
        elif not self.low <= self.value <= self.high:
            raise ValueError(f"{self.value} is not within {self.low} to {self.high}")
        return self


class CalibrationEstimate(_Result):
    """One bin of predicted probability, ``[low, high)``: how many are in it and how many are ill.

    ``observed_rate`` is the share of positive patients among those of the bin.
    """

    low: Finite
    high: Finite
    patients: Estimate
    observed_rate: Estimate


class EvaluationEstimate(_Result):
    """Every figure of one model on one set of held-out patients.

    The interval of ``patients``, here and in the bins of ``calibration``, covers the number of
    patients who were evaluated, and so the noise alone. All others cover the figure in the
    population that these patients were drawn from: sampling of patients and noise.
    """

    patients: Estimate
    positive_share: Estimate
    accuracy: Estimate
    sensitivity: Estimate
    specificity: Estimate
    precision: Estimate
    f1: Estimate
    auroc: Estimate
    auprc: Estimate
    brier: Estimate
    calibration: tuple[CalibrationEstimate, ...]
