from __future__ import annotations

from fedward.common.study.columns import (
    MISSING_CATEGORY,
    DesignColumn,
    categories_of,
    design_columns,
    indicated_categories,
)
from fedward.common.study.definition import CategoricalFeature, Study
from fedward.common.study.loading import parse_study

STUDY = """
[about]
name = "small"
title = "A small study"

[target]
name = "outcome"
positive = ["1"]
negative = ["0"]

[cohort]
expected_patients = 100

[model]
name = "logistic_regression"

[training]
method = "distributed"
rounds = 2
learning_rate = 1.0

[privacy]
epsilon = 1.0
delta = 1e-5

[[features]]
name = "age"
kind = "numeric"
unit = "years"
range = [0, 120]

[[features]]
name = "sex"
kind = "categorical"
categories = ["f", "m"]
missing = "{sex_missing}"

[[features]]
name = "stage"
kind = "categorical"
categories = ["I", "II", "III"]
missing = "{stage_missing}"
"""


def study(*, sex_missing: str = "refuse", stage_missing: str = "refuse") -> Study:
    text = STUDY.format(sex_missing=sex_missing, stage_missing=stage_missing)
    return parse_study(text, source="study.toml")


def names(found: tuple[DesignColumn, ...]) -> list[str]:
    return [column.name for column in found]


def test_numeric_one_two_categories_one_three_categories_three() -> None:
    columns = design_columns(study())
    assert names(columns) == ["age", "sex=m", "stage=I", "stage=II", "stage=III"]
    assert columns[0] == DesignColumn("age", "age", None, False)
    assert columns[1] == DesignColumn("sex=m", "sex", "m", True)


def test_a_category_for_missing_comes_last_and_makes_two_categories_three_columns() -> None:
    columns = design_columns(study(sex_missing="own_category"))
    assert names(columns)[:4] == ["age", "sex=f", "sex=m", f"sex={MISSING_CATEGORY}"]
    columns = design_columns(study(stage_missing="own_category"))
    assert names(columns)[-1] == f"stage={MISSING_CATEGORY}"


def test_other_missing_rules_add_no_column() -> None:
    assert names(design_columns(study(sex_missing="drop_row"))) == names(design_columns(study()))


def test_of_two_categories_the_second_is_indicated() -> None:
    feature = CategoricalFeature(kind="categorical", name="sex", categories=("f", "m"))
    assert categories_of(feature) == ("f", "m")
    assert indicated_categories(feature) == ("m",)
