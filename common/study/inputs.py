"""Features and outcome: what a study reads of a patient, and what it takes a value for."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedward.common.study.section import Name, Section


class NumericFeature(Section):
    """A measured quantity, clamped to its plausible public range and scaled to [-1, 1] by it."""

    kind: Literal["numeric"]
    name: Name
    unit: str = Field(min_length=1, max_length=40)
    range: tuple[float, float]
    missing: Literal["refuse", "drop_row", "midpoint"] = "refuse"
    description: str = ""

    @model_validator(mode="after")
    def _range_is_upright(self) -> Self:
        low, high = self.range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(
                f"range is upside down or empty: [{low:g}, {high:g}]; write it as [low, high]"
            )
        return self


class CategoricalFeature(Section):
    """One of a closed list of values, encoded one-hot (two categories: one column)."""

    kind: Literal["categorical"]
    name: Name
    categories: tuple[str, ...] = Field(min_length=2, max_length=256)
    missing: Literal["refuse", "drop_row", "own_category"] = "refuse"
    description: str = ""

    @model_validator(mode="after")
    def _categories_differ(self) -> Self:
        if len(set(self.categories)) != len(self.categories):
            raise ValueError("categories repeat a value; list each once")
        return self


Feature = Annotated[NumericFeature | CategoricalFeature, Field(discriminator="kind")]


class Target(Section):
    """The outcome to predict: which recorded values count as positive, which as negative."""

    name: Name
    positive: tuple[str, ...] = Field(min_length=1)
    negative: tuple[str, ...] = Field(min_length=1)
    description: str = ""

    @model_validator(mode="after")
    def _values_are_disjoint(self) -> Self:
        both = set(self.positive) & set(self.negative)
        if both:
            raise ValueError(f"{sorted(both)} is in both positive and negative; keep it in one")
        return self
