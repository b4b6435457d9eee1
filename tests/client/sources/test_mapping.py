from __future__ import annotations

from pathlib import Path

import pytest

from fedward.client.sources.mapping import (
    FileMapping,
    SiteMapping,
    load_cohort,
    load_sites_mapping,
)
from fedward.common.errors import FedwardError, InputError
from fedward.common.study.definition import Study
from fedward.common.study.loading import find_study, load_study


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(find_study("heart_disease"))


def refused(tmp_path: Path, study: Study, text: str) -> list[str]:
    path = tmp_path / "sites.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FedwardError) as caught:
        load_sites_mapping(path, study)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


def test_the_shipped_mapping_loads(study: Study) -> None:
    path = find_study("heart_disease").with_name("heart_disease.sites.toml")
    mapping = load_sites_mapping(path, study)
    names = [site.name for site in mapping.sites]
    assert names == ["cleveland", "hungary", "switzerland", "long_beach"]
    settings = {site.name: found for site, found in mapping.resolved()}["hungary"]
    assert settings.missing == ("?",)
    assert settings.rename["cholesterol"] == "chol"
    assert settings.columns is not None
    assert len(settings.columns) == 14


def test_a_site_overrides_the_defaults_and_renames_are_merged() -> None:
    defaults = FileMapping(delimiter=";", missing=("?",), rename={"age": "a", "sex": "s"})
    site = SiteMapping(name="x", file="x.csv", delimiter="\t", rename={"sex": "gender"})
    merged = site.over(defaults)
    assert merged.delimiter == "\t"
    assert merged.missing == ("?",)
    assert merged.rename == {"age": "a", "sex": "gender"}
    # What a site sets to its default value still wins.
    assert SiteMapping(name="x", file="x.csv", delimiter=",").over(defaults).delimiter == ","


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "sites is missing; add it (a list)."),
        ("sites = []", "sites has 0 entries, but needs at least 1; add the missing ones."),
        ('[[sites]]\nname = "a"\n', "sites[0].file is missing; add it (text)."),
        (
            '[[sites]]\nname = "../a"\nfile = "a.csv"\n',
            'sites[0].name is "../a", which does not match ^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$; '
            "rename it.",
        ),
        (
            '[[sites]]\nname = "a"\nfile = "a.csv"\ndelimeter = ";"\n',
            "sites[0].delimeter is not a known key; did you mean 'delimiter'.",
        ),
        (
            '[[sites]]\nname = "a"\nfile = "a.csv"\ndelimiter = ";;"\n',
            "sites[0].delimiter is longer than 1 characters; shorten it.",
        ),
        (
            '[[sites]]\nname = "a"\nfile = "a.csv"\ncolumns = "age"\n',
            'sites[0].columns is "age", which is not a list; write a list.',
        ),
        (
            '[[sites]]\nname = "a"\nfile = "a.csv"\n[[sites]]\nname = "a"\nfile = "b.csv"\n',
            "sites have the name 'a' twice; change one of them.",
        ),
        (
            '[[sites]]\nname = "a"\nfile = "a.csv"\n[[sites]]\nname = "b"\nfile = "a.csv"\n',
            "sites have the file 'a.csv' twice; change one of them.",
        ),
        (
            '[defaults.rename]\nagee = "x"\n[[sites]]\nname = "a"\nfile = "a.csv"\n',
            "defaults.rename.agee is not a feature or the target of study 'heart_disease'; "
            "did you mean 'age'.",
        ),
        (
            '[defaults.rename]\nage = 3\n[[sites]]\nname = "a"\nfile = "a.csv"\n',
            "defaults.rename.age is 3, which is not text; write text.",
        ),
        (
            '[[sites]]\nname = "a"\nfile = "a.csv"\nencoding = "utf-16"\n',
            'sites[0].encoding is "utf-16", which is not a known value; '
            'make it "utf-8" or "latin-1" or "cp1252".',
        ),
    ],
)
def test_each_fault_is_one_sentence(tmp_path: Path, study: Study, text: str, sentence: str) -> None:
    assert sentence in refused(tmp_path, study, text)


def test_a_file_that_lacks_a_renamed_column_names_the_local_column(
    tmp_path: Path, study: Study
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("age,sex,cp\n1,2,3\n")
    with pytest.raises(InputError) as caught:
        load_cohort(study, path, FileMapping(rename={"chest_pain": "cp", "cholesterol": "chol"}))
    assert str(caught.value).startswith(
        f"{path}: column 'resting_blood_pressure' is not in the file; use one of 'age', 'sex'"
    )
