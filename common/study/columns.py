"""The columns of the design matrix: fixed by the study alone, the same at every site."""

from __future__ import annotations

from dataclasses import dataclass

from fedward.common.study.definition import CategoricalFeature, Study

MISSING_CATEGORY = "(missing)"
"""The last category of a feature with ``missing = "own_category"``."""


@dataclass(frozen=True)
class DesignColumn:
    """One column of a cohort's ``features``.

    A numeric feature is one column in [-1, 1]. A categorical one is 0/1 columns: ``category`` is
    the value for which the column is 1, and ``binary`` is True.
    """

    name: str
    feature: str
    category: str | None
    binary: bool


def categories_of(feature: CategoricalFeature) -> tuple[str, ...]:
    """The categories as encoded: those of the study, then one for missing if it has its own."""
    if feature.missing == "own_category":
        return (*feature.categories, MISSING_CATEGORY)
    return feature.categories


def indicated_categories(feature: CategoricalFeature) -> tuple[str, ...]:
    """The categories that get a column: all of them, or of two the second alone."""
    categories = categories_of(feature)
    return categories[1:] if len(categories) == 2 else categories


def design_columns(study: Study) -> tuple[DesignColumn, ...]:
    """All columns, in the order of the study's features and of each feature's categories."""
    columns: list[DesignColumn] = []
    for feature in study.features:
        if isinstance(feature, CategoricalFeature):
            columns += [
                DesignColumn(f"{feature.name}={category}", feature.name, category, True)
                for category in indicated_categories(feature)
            ]
        else:
            columns.append(DesignColumn(feature.name, feature.name, None, False))
    return tuple(columns)
