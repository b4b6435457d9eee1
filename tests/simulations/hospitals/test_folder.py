from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from fedward.common.errors import InputError
from fedward.common.study.columns import design_columns
from fedward.common.study.definition import NumericFeature, Study
from fedward.common.study.loading import find_study, load_study
from fedward.simulations.hospitals.folder import folder_hospitals
from fedward.simulations.hospitals.holdout import split_holdout

HEART = Path(__file__).parents[4] / "shared" / "data" / "heart_disease"
needs_heart = pytest.mark.skipif(
    not HEART.is_dir(), reason="../shared/data/heart_disease is not on this machine"
)

HEADER = (
    "age,sex,chest_pain,resting_blood_pressure,cholesterol,high_fasting_blood_sugar,resting_ecg,"
    "maximum_heart_rate,exercise_angina,st_depression,heart_disease"
)
RECORD = "50,1,4,130,240,0,0,150,0,1.5,1"
HEALTHY = "40,0,3,120,200,0,0,170,0,0,0"


@pytest.fixture(scope="module")
def path() -> Path:
    return find_study("heart_disease")


@pytest.fixture(scope="module")
def study(path: Path) -> Study:
    return load_study(path)


def site(folder: Path, name: str, *records: str, header: str = HEADER) -> Path:
    file = folder / name
    file.write_text("\n".join([header, *records]) + "\n", encoding="utf-8")
    return file


def refused(study: Study, folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        folder_hospitals(study, folder)
    return str(caught.value)


@needs_heart
def test_the_four_real_hospitals_keep_740_patients(study: Study, path: Path) -> None:
    hospitals = folder_hospitals(study, HEART, study_path=path)
    counts = {hospital.name: hospital.cohort.patient_count for hospital in hospitals.sites}
    assert counts == {"cleveland": 303, "hungary": 261, "switzerland": 46, "long_beach": 130}
    positives = [int(hospital.cohort.target.sum()) for hospital in hospitals.sites]
    assert positives == [139, 98, 45, 101]
    assert "cleveland (303), hungary (261)" in hospitals.description


@needs_heart
def test_the_real_values_are_encoded_as_recorded(study: Study, path: Path) -> None:
    sites = folder_hospitals(study, HEART, study_path=path).sites
    names = [column.name for column in design_columns(study)]

    def value(hospital: int, row: int, column: str) -> float:
        return float(sites[hospital].cohort.features[row, names.index(column)])

    # First record of Cleveland: 63.0,1.0,1.0,145.0,233.0,1.0,2.0,150.0,0.0,2.3,...,0
    assert value(0, 0, "age") == pytest.approx((63 - 59) / 41)
    assert value(0, 0, "sex=1") == 1
    assert [value(0, 0, f"chest_pain={kind}") for kind in "1234"] == [1, 0, 0, 0]
    assert value(0, 0, "resting_blood_pressure") == pytest.approx((145 - 150) / 90)
    assert [value(0, 0, f"resting_ecg={kind}") for kind in "012"] == [0, 0, 1]
    assert value(0, 0, "st_depression") == pytest.approx((2.3 - 2.5) / 7.5)
    assert sites[0].cohort.target[0] == 0
    # A Swiss cholesterol of 0 is kept as recorded: the low end of the range.
    assert set(sites[2].cohort.features[:, names.index("cholesterol")]) == {-1.0}


@needs_heart
def test_only_one_real_value_is_clamped(study: Study, path: Path) -> None:
    # A resting blood pressure of 0 at Long Beach, which no living patient has.
    sites = folder_hospitals(study, HEART, study_path=path).sites
    columns = [c for c, found in enumerate(design_columns(study)) if not found.binary]
    assert sum(isinstance(feature, NumericFeature) for feature in study.features) == len(columns)
    edge = sum(
        int(np.sum(np.abs(hospital.cohort.features[:, column]) == 1))
        for hospital in sites
        for column in columns
        if design_columns(study)[column].name != "cholesterol"
    )
    assert edge <= 1


@needs_heart
def test_the_split_has_flambys_sizes(study: Study, path: Path) -> None:
    sizes = []
    for hospital in folder_hospitals(study, HEART, study_path=path).sites:
        train, test = split_holdout(
            hospital.cohort, holdout=study.evaluation.holdout, seed=0, site=hospital.name
        )
        sizes.append((train.patient_count, test.patient_count))
    assert sizes == [(199, 104), (172, 89), (30, 16), (85, 45)]
    assert sum(train for train, _ in sizes) == study.cohort.expected_patients


@needs_heart
def test_a_mapping_in_the_folder_comes_before_the_one_beside_the_study(
    study: Study, path: Path, tmp_path: Path
) -> None:
    for name in ("processed.va.data", "processed.cleveland.data"):
        shutil.copyfile(HEART / name, tmp_path / name)
    text = path.with_name("heart_disease.sites.toml").read_text(encoding="utf-8")
    kept = text[: text.index("[[sites]]")]
    kept += '[[sites]]\nname = "b"\nfile = "processed.va.data"\n'
    kept += '[[sites]]\nname = "a"\nfile = "processed.cleveland.data"\n'
    (tmp_path / "sites.toml").write_text(kept)
    hospitals = folder_hospitals(study, tmp_path, study_path=path)
    assert [hospital.name for hospital in hospitals.sites] == ["b", "a"]
    explicit = path.with_name("heart_disease.sites.toml")
    named = folder_hospitals(study, HEART, mapping_path=explicit)
    assert len(named.sites) == 4


def test_without_a_mapping_each_csv_file_is_a_site(study: Study, tmp_path: Path) -> None:
    site(tmp_path, "south.csv", RECORD, HEALTHY)
    site(tmp_path, "north.csv", RECORD)
    (tmp_path / "notes.txt").write_text("not a site")
    sites = folder_hospitals(study, tmp_path).sites
    assert [(s.name, s.cohort.patient_count) for s in sites] == [("north", 1), ("south", 2)]
    assert sites[1].cohort.target.tolist() == [1, 0]


def test_a_patient_id_column_groups_records(study: Study, tmp_path: Path) -> None:
    header = f"patient_id,{HEADER}"
    site(tmp_path, "a.csv", f"p1,{RECORD}", f"p2,{HEALTHY}", f"p1,{RECORD}", header=header)
    site(tmp_path, "b.csv", RECORD, HEALTHY)
    sites = folder_hospitals(study, tmp_path).sites
    assert [s.cohort.patient_count for s in sites] == [2, 2]
    assert np.diff(sites[0].cohort.offsets).max() == 2


def test_rows_with_missing_values_are_dropped_where_the_study_says_so(
    study: Study, tmp_path: Path
) -> None:
    site(tmp_path, "a.csv", RECORD, RECORD.replace("240", ""))
    site(tmp_path, "b.csv", RECORD)
    assert folder_hospitals(study, tmp_path).sites[0].cohort.patient_count == 1


def test_one_site_only(study: Study, tmp_path: Path) -> None:
    site(tmp_path, "a.csv", RECORD)
    assert refused(study, tmp_path) == (
        f"{tmp_path}: the folder gives 1 site, but a federated study needs at least 2; "
        "give it more hospitals."
    )
    (tmp_path / "sites.toml").write_text('[[sites]]\nname = "a"\nfile = "a.csv"\n')
    assert refused(study, tmp_path).startswith(
        f"{tmp_path / 'sites.toml'}: sites gives 1 site, but a federated study needs at least 2"
    )


def test_zero_patients_at_a_site(study: Study, tmp_path: Path) -> None:
    site(tmp_path, "a.csv", RECORD)
    b = site(tmp_path, "b.csv", RECORD.replace("240", ""))
    assert refused(study, tmp_path).startswith(f"{b}: has no patients left after rows")


def test_a_folder_without_files_or_no_folder(study: Study, tmp_path: Path) -> None:
    assert refused(study, tmp_path) == (
        f"{tmp_path}: holds neither sites.toml nor any *.csv file; "
        "put one CSV file a site into it, or describe its files in a mapping."
    )
    assert refused(study, tmp_path / "x").startswith(f"{tmp_path / 'x'}: there is no such folder; ")
    file = site(tmp_path, "a.csv", RECORD)
    assert refused(study, file).startswith(f"{file}: is not a folder; ")


def test_a_file_name_that_cannot_name_a_site(study: Study, tmp_path: Path) -> None:
    file = site(tmp_path, "my site.csv", RECORD)
    assert refused(study, tmp_path).startswith(f"{file}: has a name that cannot name a site")


def test_faults_of_one_site_name_its_file(study: Study, tmp_path: Path) -> None:
    site(tmp_path, "a.csv", RECORD)
    b = site(tmp_path, "b.csv", RECORD, header=HEADER.replace("chol", "kol"))
    assert refused(study, tmp_path) == (
        f"{b}: column 'cholesterol' is not in the file; did you mean 'kolesterol'."
    )
    site(tmp_path, "b.csv", HEALTHY, RECORD.replace("240", "nan"))
    assert refused(study, tmp_path).startswith(
        f"{b}: column 'cholesterol' holds 'nan', which is not a finite number (line 3); "
    )
    b.write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    assert refused(study, tmp_path).startswith(f"{b}: is no CSV file (it holds binary data); ")
    (tmp_path / "sites.toml").write_text(
        '[[sites]]\nname = "a"\nfile = "a.csv"\n[[sites]]\nname = "c"\nfile = "c.csv"\n'
    )
    assert refused(study, tmp_path).startswith(f"{tmp_path / 'c.csv'}: there is no such file; ")
