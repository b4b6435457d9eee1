"""How long the vectors of a study are; public, and fixed by the study alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from fedward.common.models.registry import ModelFamily, build_model
from fedward.common.study.columns import design_columns
from fedward.common.study.definition import Study
from fedward.common.study.scaling import moments_length


@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """Lengths of what crosses between sites and coordinator in one study."""

    columns: int
    parameters: int
    moments: int

    @staticmethod
    def of(study: Study) -> Dimensions:
        """Derive them from the study's columns and model; InputError if the model is unknown."""
        return _dimensions(study)

    @property
    def longest(self) -> int:
        """Coordinates of the longest sum; the sampler's gap is charged for as many draws."""
        return max(self.parameters, self.moments)


@lru_cache(maxsize=256)
def study_model(study: Study) -> ModelFamily:
    """Build the study's model for its columns."""
    return build_model(study.model, columns=len(design_columns(study)))


@lru_cache(maxsize=256)
def _dimensions(study: Study) -> Dimensions:
    columns = len(design_columns(study))
    return Dimensions(
        columns=columns,
        parameters=study_model(study).parameter_count,
        moments=moments_length(columns) if study.scaling.method == "private_moments" else 0,
    )
