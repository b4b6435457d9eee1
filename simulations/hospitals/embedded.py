"""The breast-cancer records that come with scikit-learn, in a study's columns.

Wisconsin Diagnostic Breast Cancer (Wolberg, Street and Mangasarian 1995): 569 patients, of whom 212
have a malignant tumour, each with one record of 30 measurements.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer

from fedward.client.cohort import Cohort
from fedward.client.sources.encoding import encode_table
from fedward.common.errors import InputError
from fedward.common.study.definition import NumericFeature, Study
from fedward.common.validation_messages import suggestion

TARGET = "diagnosis"


def breast_cancer_table() -> pd.DataFrame:
    """The embedded records as text: 569 rows, 30 measurements and ``diagnosis``.

    Columns are scikit-learn's names with ``_`` for blanks, such as ``mean_radius``.
    """
    data = load_breast_cancer()
    names = [str(name).replace(" ", "_") for name in data.feature_names]
    # repr of a double reads back as the same double.
    columns = {
        name: [repr(float(value)) for value in column]
        for name, column in zip(names, data.data.T, strict=True)
    }
    columns[TARGET] = [str(data.target_names[code]) for code in data.target]
    table = pd.DataFrame(columns, dtype=object)
    table.index.name = "row"
    return table


def embedded_cohort(study: Study) -> Cohort:
    """All 569 patients in the study's columns; InputError where it asks for what they lack."""
    _check_columns(study)
    # The study's bound is for one hospital; these are all of them.
    cohort = study.cohort.model_copy(update={"max_patients_per_site": 2**24})
    return encode_table(
        study.model_copy(update={"cohort": cohort}),
        breast_cancer_table(),
        source="scikit-learn's breast-cancer data",
        patient_column=None,
    )


def tumour_sizes() -> NDArray[np.float64]:
    """Logarithm of each patient's mean radius, ``[569]``, standardised."""
    sizes = np.log(np.asarray(load_breast_cancer().data[:, 0], dtype=np.float64))
    return np.asarray((sizes - sizes.mean()) / sizes.std(), dtype=np.float64)


def _check_columns(study: Study) -> None:
    names = [str(name) for name in breast_cancer_table().columns]
    source = f"study {study.about.name!r}"
    fix = "or give the hospitals' own files with --data"
    for index, feature in enumerate(study.features):
        known = [name for name in names if name != TARGET]
        if feature.name not in known or not isinstance(feature, NumericFeature):
            problem = "is not a measurement of scikit-learn's embedded breast-cancer data"
            raise InputError(
                source=source,
                field=f"features[{index}].name ({feature.name!r})",
                problem=problem,
                fix=f"{suggestion(feature.name, known)}, {fix}",
            )
    if study.target.name != TARGET:
        raise InputError(
            source=source,
            field="target.name",
            problem=f"is {study.target.name!r}, which the embedded breast-cancer data lack",
            fix=f"make it {TARGET!r}, {fix}",
        )
