"""How long the vectors of a study are; public, and fixed by the study alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from fedward.common.models.registry import ModelFamily, build_model
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.study.class_counts import COUNTS_LENGTH
from fedward.common.study.columns import design_columns
from fedward.common.study.definition import Study
from fedward.common.study.scaling import moments_length
from fedward.common.study.score_sums import score_sums_length


@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """Lengths of what crosses between sites and coordinator in one study; 0 if it never does."""

    columns: int
    parameters: int
    moments: int
    counts: int
    evaluation: int

    @staticmethod
    def of(study: Study) -> Dimensions:
        """Derive them from the study's columns and model; InputError if the model is unknown."""
        return _dimensions(study)

    def of_kind(self, kind: SumKind) -> int:
        """Length of one sum of this kind."""
        if kind == "moments":
            return self.moments
        if kind == "counts":
            return self.counts
        return self.parameters if kind == "training" else self.evaluation

    @property
    def longest(self) -> int:
        """Coordinates of the longest sum; the sampler's gap is charged for as many draws."""
        return max(self.parameters, self.moments, self.counts, self.evaluation)


@lru_cache(maxsize=256)
def study_model(study: Study) -> ModelFamily:
    """Build the study's model for its columns."""
    return build_model(study.model, columns=len(design_columns(study)))


@lru_cache(maxsize=256)
def _dimensions(study: Study) -> Dimensions:
    columns = len(design_columns(study))
    evaluation = study.evaluation
    return Dimensions(
        columns=columns,
        parameters=study_model(study).parameter_count,
        moments=moments_length(columns) if study.scaling.method == "private_moments" else 0,
        counts=COUNTS_LENGTH if study.statistics is not None else 0,
        evaluation=(
            score_sums_length(evaluation.score_bins)
            if evaluation.release or evaluation.per_site
            else 0
        ),
    )
