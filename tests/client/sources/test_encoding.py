from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.client.cohort import Cohort
from fedward.client.sources.encoding import encode_table, scale_to_range
from fedward.common.errors import InputError
from fedward.common.study.columns import design_columns
from fedward.common.study.definition import NumericFeature, Study


def study(**changes: Any) -> Study:
    """Age (refuse), dose (numeric), sex (two categories), stage (three)."""
    rules = {"age": "refuse", "dose": "refuse", "sex": "refuse", "stage": "refuse"} | changes
    return Study.model_validate(
        {
            "about": {"name": "small", "title": "Small"},
            "features": [
                {
                    "kind": "numeric",
                    "name": "age",
                    "unit": "years",
                    "range": [0, 100],
                    "missing": rules["age"],
                },
                {
                    "kind": "numeric",
                    "name": "dose",
                    "unit": "mg",
                    "range": [-1, 3],
                    "missing": rules["dose"],
                },
                {
                    "kind": "categorical",
                    "name": "sex",
                    "categories": ["f", "m"],
                    "missing": rules["sex"],
                },
                {
                    "kind": "categorical",
                    "name": "stage",
                    "categories": ["1", "2", "3"],
                    "missing": rules["stage"],
                },
            ],
            "target": {"name": "ill", "positive": ["1", "2"], "negative": ["0"]},
            "cohort": {
                "expected_patients": 100,
                "max_patients_per_site": rules.get("most", 1000),
            },
            "model": {"name": "logistic_regression"},
            "training": {"method": "distributed", "rounds": 1, "learning_rate": 1.0},
            "privacy": {"epsilon": 1.0, "delta": 1e-5},
        }
    )


ROW = {"age": "50", "dose": "1", "sex": "f", "stage": "1", "ill": "0"}


def table(*rows: dict[str, str | None], index: str | None = None) -> pd.DataFrame:
    made = pd.DataFrame([ROW | row for row in rows], dtype=object)
    if index:
        made.index = pd.Index(range(2, 2 + len(rows)), name=index)
    return made


def encoded(
    *rows: dict[str, str | None], patient_column: str | None = None, **changes: Any
) -> Cohort:
    return encode_table(
        study(**changes), table(*rows), source="a.csv", patient_column=patient_column
    )


def refused(*rows: dict[str, str | None], patient_column: str | None = None, **changes: Any) -> str:
    with pytest.raises(InputError) as caught:
        encode_table(
            study(**changes),
            table(*rows, index="line"),
            source="a.csv",
            patient_column=patient_column,
        )
    return str(caught.value)


def test_numbers_are_scaled_by_the_public_range_and_clamped_to_it() -> None:
    cohort = encoded({"age": "0"}, {"age": "100"}, {"age": "75"}, {"age": "-5"}, {"age": "1e9"})
    assert cohort.features[:, 0].tolist() == [-1.0, 1.0, 0.5, -1.0, 1.0]
    assert encoded({"dose": " .5 "}).features[0, 1] == -0.25


def test_categories_are_indicators_and_match_by_value() -> None:
    cohort = encoded({"stage": "1"}, {"stage": "2.0"}, {"stage": " 3"}, {"sex": "m"})
    assert cohort.features[:, 2].tolist() == [0, 0, 0, 1]
    assert cohort.features[:, 3:].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_the_target_is_0_or_1_by_value() -> None:
    cohort = encoded({"ill": "0.0"}, {"ill": "1"}, {"ill": "2.00"})
    assert cohort.target.tolist() == [0, 1, 1]


def test_the_columns_are_those_of_the_design() -> None:
    for rule in ("refuse", "own_category"):
        cohort = encoded({}, stage=rule, sex=rule)
        assert cohort.features.shape[1] == len(design_columns(study(stage=rule, sex=rule)))


def test_midpoint_is_zero_and_own_category_is_the_last_column() -> None:
    cohort = encoded({"age": None, "stage": None}, {}, age="midpoint", stage="own_category")
    assert cohort.features[0, 0] == 0
    assert cohort.features[0, 3:].tolist() == [0, 0, 0, 1]
    assert cohort.features[1, 3:].tolist() == [1, 0, 0, 0]


def test_two_categories_with_missing_become_three_columns() -> None:
    cohort = encoded({"sex": None}, {"sex": "f"}, {"sex": "m"}, sex="own_category")
    assert cohort.features[:, 2:5].tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_rows_are_dropped_whatever_else_is_in_them() -> None:
    cohort = encoded(
        {"age": None, "ill": None, "stage": "9"}, {"age": "25"}, {"age": None}, age="drop_row"
    )
    assert cohort.patient_count == 1
    assert cohort.features[0, 0] == -0.5


def test_rows_of_a_patient_are_grouped_and_keys_do_not_survive() -> None:
    rows = [
        {"age": "0", "who": "b"},
        {"age": "25", "who": "a"},
        {"age": "50", "who": " b "},
        {"age": "75", "who": "c"},
    ]
    cohort = encoded(*rows, patient_column="who")
    assert cohort.patient_count == 3
    assert sorted(np.diff(cohort.offsets)) == [1, 1, 2]
    wide = int(np.argmax(np.diff(cohort.offsets)))
    start, stop = cohort.offsets[wide : wide + 2]
    assert cohort.features[start:stop, 0].tolist() == [-1.0, 0.0]


def test_without_a_patient_column_each_row_is_a_patient() -> None:
    assert encoded({}, {}, {}).patient_count == 3


def test_columns_can_have_other_names() -> None:
    renamed = table({"age": "75"}).rename(columns={"age": "alter"})
    cohort = encode_table(
        study(), renamed, source="a.csv", patient_column=None, rename={"age": "alter"}
    )
    assert cohort.features[0, 0] == 0.5


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-Infinity", "1e999"])
def test_nan_and_infinity_are_refused(text: str) -> None:
    assert refused({}, {"age": text}) == (
        f"a.csv: column 'age' holds {text!r}, which is not a finite number (line 3); "
        "correct it, or list it among the file's missing values."
    )


@pytest.mark.parametrize("text", ["abc", "1,5", "12 mg", "1_0", "٣", "0x1", "<5"])
def test_what_is_no_number_is_refused_with_its_lines(text: str) -> None:
    message = refused({"age": text}, {}, *[{"age": text}] * 4)
    assert message.startswith(
        f"a.csv: column 'age' holds {text!r}, which is not a finite number (lines 2, 4, 5 and 2 "
        "more); "
    )


def test_a_category_outside_the_schema_is_refused() -> None:
    assert refused({}, {"stage": "4"}) == (
        "a.csv: column 'stage' holds '4', which is none of the study's categories 1, 2, 3 "
        "(line 3); correct it, list it among the file's missing values, or add it to the study."
    )
    assert "column 'sex' holds 'F'" in refused({"sex": "F"})
    assert "holds '(missing)'" in refused({"sex": "(missing)"}, sex="own_category")


def test_a_target_outside_the_schema_or_missing_is_refused() -> None:
    assert refused({"ill": "3"}).startswith(
        "a.csv: column 'ill' holds '3', which is none of the study's target values 0, 1, 2 (line 2)"
    )
    assert refused({}, {"ill": None}) == (
        "a.csv: column 'ill' has no value, but is the target (line 3); "
        "fill it in, or remove those records."
    )


def test_missing_values_that_may_not_be_missing() -> None:
    assert refused({"dose": None}) == (
        "a.csv: column 'dose' has no value (line 2); fill it in, or set features[1].missing of "
        'the study to "drop_row" or "midpoint".'
    )
    assert '"drop_row" or "own_category"' in refused({"stage": None})


def test_a_record_of_nobody_is_refused() -> None:
    assert refused({"who": "a"}, {"who": None}, patient_column="who") == (
        "a.csv: column 'who' has no value, but says whose record it is (line 3); "
        "fill it in, or remove those records."
    )
    assert refused({}, patient_column="who").startswith("a.csv: column 'who' is not in the file; ")


def test_a_column_that_the_table_lacks() -> None:
    with pytest.raises(InputError, match=r"column 'stage' is not in the file; did you mean 'stagE"):
        encode_table(
            study(),
            table({}).rename(columns={"stage": "stagE"}),
            source="a.csv",
            patient_column=None,
        )


def test_no_patients_left() -> None:
    assert refused({"age": None}, {"age": None}, age="drop_row") == (
        "a.csv: has no patients left after rows with missing values are dropped; "
        "leave this site out, or fill in the missing values."
    )


def test_too_many_patients() -> None:
    assert refused({}, {}, {}, most=2).startswith(
        "a.csv: has more than the 2 patients that the study allows a site "
        "(cohort.max_patients_per_site); raise it"
    )
    rows = [{"who": "a"}, {"who": "a"}, {"who": "b"}]
    assert encoded(*rows, patient_column="who", most=2).patient_count == 2


def test_a_long_value_is_cut_in_the_message() -> None:
    assert len(refused({"age": "x" * 10_000})) < 250


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(FINITE, min_size=1, max_size=5), FINITE, FINITE)
def test_any_finite_number_lands_in_the_unit_range(
    values: list[float], one: float, other: float
) -> None:
    low, high = sorted((one, other))
    if low == high:
        return
    feature = NumericFeature(kind="numeric", name="x", unit="1", range=(low, high))
    scaled = scale_to_range(feature, np.array(values))
    assert np.all(np.abs(scaled) <= 1)
    # 1e-9: a range that is narrow against its distance from zero rounds the middle.
    width = (high / 2 - low / 2) / max(abs(low), abs(high))
    if width > 1e-3 and high / 2 - low / 2 > 1e-300:
        ends = scale_to_range(feature, np.array([low, high]))
        assert ends == pytest.approx([-1, 1], abs=1e-9)
        order = np.argsort(values)
        assert np.all(np.diff(scaled[order]) >= 0)
