"""From a table of text to a cohort in the study's columns: checked, clamped, scaled, one-hot."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.client.sources.cells import CellReader, Column
from fedward.common.errors import InputError
from fedward.common.study.columns import (
    MISSING_CATEGORY,
    categories_of,
    design_columns,
    indicated_categories,
)
from fedward.common.study.definition import (
    CategoricalFeature,
    Feature,
    NumericFeature,
    Study,
    Target,
)
from fedward.common.study.recorded_values import NUMBER, same_value_key


def encode_table(
    study: Study,
    table: pd.DataFrame,
    *,
    source: str,
    patient_column: str | None,
    rename: Mapping[str, str] | None = None,
) -> Cohort:
    """The cohort of a table of text with one record a row.

    Nulls are missing values; what else stands for one has to be made null before
    (:func:`fedward.client.sources.tables.read_table` does). Numbers are clamped to their public
    range and scaled to [-1, 1] by it; categories become 0/1 columns and match by value, so "3.0"
    is "3". Rows in which a feature with ``missing = "drop_row"`` is missing are left out, whatever
    else is in them. Rows with equal text in ``patient_column`` belong to one patient; None makes
    each row a patient. ``rename`` maps names of the study to columns of the table.

    Raises :class:`InputError` naming source, column, lines and value for everything that the study
    does not allow: a column that is absent, no number, "nan" or "inf", an unknown category, a
    missing target, patient or feature that may not be missing, no patient left, too many.
    """
    reader = CellReader(table, source, dict(rename or {}))
    reader = reader.keeping(_complete_rows(study, reader))
    if not len(reader.table):
        raise InputError(
            source=source,
            field="",
            problem="has no patients left after rows with missing values are dropped",
            fix="leave this site out, or fill in the missing values",
        )
    features = np.empty((len(reader.table), len(design_columns(study))), dtype=np.float64)
    start = 0
    for index, feature in enumerate(study.features):
        block = _encode_feature(feature, reader, index)
        features[:, start : start + block.shape[1]] = block
        start += block.shape[1]
    cohort = Cohort.from_rows(
        features=features,
        target=_encode_target(study.target, reader),
        patients=_patient_ids(reader, patient_column),
    )
    if cohort.patient_count > study.cohort.max_patients_per_site:
        raise InputError(
            source=source,
            field="",
            problem=f"has more than the {study.cohort.max_patients_per_site} patients that the "
            "study allows a site (cohort.max_patients_per_site)",
            fix="raise it in the study, or split the site",
        )
    return cohort


def scale_to_range(feature: NumericFeature, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Clamp to the public range and map it to [-1, 1]; ``values`` must be finite, any shape."""
    low, high = feature.range
    clamped = np.clip(values, low, high)
    # In halves, because high - low may overflow; clipped, because rounding may pass 1 by an ulp.
    middle, half = low / 2 + high / 2, high / 2 - low / 2
    scaled: NDArray[np.float64] = np.clip((clamped - middle) / half, -1.0, 1.0)
    return scaled


def _complete_rows(study: Study, reader: CellReader) -> NDArray[np.bool_]:
    complete = np.ones(len(reader.table), dtype=np.bool_)
    for feature in study.features:
        if feature.missing == "drop_row":
            complete &= ~reader.column(feature.name).missing
    return complete


def _encode_feature(feature: Feature, reader: CellReader, index: int) -> NDArray[np.float64]:
    column = reader.column(feature.name)
    if feature.missing == "refuse" and column.missing.any():
        other = "midpoint" if isinstance(feature, NumericFeature) else "own_category"
        raise reader.refuse(
            column,
            column.missing,
            problem="has no value",
            fix=f'fill it in, or set features[{index}].missing of the study to "drop_row" or '
            f'"{other}"',
        )
    if isinstance(feature, CategoricalFeature):
        return _encode_categories(feature, column, reader)
    return _encode_numbers(feature, column, reader)[:, None]


def _encode_numbers(
    feature: NumericFeature, column: Column, reader: CellReader
) -> NDArray[np.float64]:
    present = ~column.missing
    values, positions = column.distinct()
    numbers = np.array([_number(value) for value in values], dtype=np.float64)
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        bad = np.zeros(len(present), dtype=np.bool_)
        first = int(positions[wrong[positions]][0])
        bad[np.flatnonzero(present)[positions == first]] = True
        raise reader.refuse(
            column,
            bad,
            problem=f"holds {_quoted(values[first])}, which is not a finite number",
            fix="correct it, or list it among the file's missing values",
        )
    encoded: NDArray[np.float64] = np.zeros(len(present))  # the middle of the range, where missing
    encoded[present] = scale_to_range(feature, numbers)[positions]
    return encoded


def _encode_categories(
    feature: CategoricalFeature, column: Column, reader: CellReader
) -> NDArray[np.float64]:
    codes = _codes(column, {c: [c] for c in feature.categories}, reader, what="categories")
    categories = categories_of(feature)
    if MISSING_CATEGORY in categories:
        codes[column.missing] = len(categories) - 1
    wanted = [categories.index(category) for category in indicated_categories(feature)]
    return np.asarray(codes[:, None] == np.array(wanted), dtype=np.float64)


def _encode_target(target: Target, reader: CellReader) -> NDArray[np.float64]:
    column = reader.column(target.name)
    if column.missing.any():
        raise reader.refuse(
            column,
            column.missing,
            problem="has no value, but is the target",
            fix="fill it in, or remove those records",
        )
    classes = {"negative": list(target.negative), "positive": list(target.positive)}
    return _codes(column, classes, reader, what="target values").astype(np.float64)


def _codes(
    column: Column, groups: Mapping[str, list[str]], reader: CellReader, *, what: str
) -> NDArray[np.int64]:
    """The number of the group that each cell's value is in, -1 where missing."""
    known = {
        same_value_key(value): code for code, group in enumerate(groups.values()) for value in group
    }
    values, positions = column.distinct()
    found = np.array([known.get(same_value_key(value), -1) for value in values], dtype=np.int64)
    present = np.flatnonzero(~column.missing)
    wrong = found < 0
    if wrong.any():
        first = int(positions[wrong[positions]][0])
        bad = np.zeros(len(column.missing), dtype=np.bool_)
        bad[present[positions == first]] = True
        allowed = [value for group in groups.values() for value in group]
        raise reader.refuse(
            column,
            bad,
            problem=f"holds {_quoted(values[first])}, which is none of the study's {what} "
            f"{', '.join(allowed[:8])}{', ...' if len(allowed) > 8 else ''}",
            fix="correct it, list it among the file's missing values, or add it to the study",
        )
    codes = np.full(len(column.missing), -1, dtype=np.int64)
    codes[present] = found[positions]
    return codes


def _patient_ids(reader: CellReader, patient_column: str | None) -> NDArray[np.int64]:
    if patient_column is None:
        return np.arange(len(reader.table), dtype=np.int64)
    column = CellReader(reader.table, reader.source, {}).column(patient_column)
    if column.missing.any():
        raise reader.refuse(
            column,
            column.missing,
            problem="has no value, but says whose record it is",
            fix="fill it in, or remove those records",
        )
    return column.distinct()[1]


def _number(text: str) -> float:
    return float(text) if NUMBER.fullmatch(text) else float("nan")


def _quoted(value: str) -> str:
    return repr(value if len(value) <= 40 else f"{value[:37]}...")
