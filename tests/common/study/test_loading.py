from __future__ import annotations

from pathlib import Path

import pytest

from fedward.common.errors import FedwardError, InputError, InputErrors
from fedward.common.study.columns import design_columns
from fedward.common.study.definition import Study
from fedward.common.study.loading import find_study, load_study, parse_study, shipped_studies

GOOD = """
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
name = "stage"
kind = "categorical"
categories = ["1", "2", "3"]
"""


def refused(text: str) -> str:
    with pytest.raises(FedwardError) as caught:
        parse_study(text, source="my/study.toml")
    return str(caught.value)


def test_a_good_study_loads(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(GOOD, encoding="utf-8-sig")
    assert load_study(path) == parse_study(GOOD, source="other")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "epsilon = 1.0",
            "epsilon = 0",
            "my/study.toml: privacy.epsilon is 0, but must be above 0; raise it.",
        ),
        (
            "epsilon = 1.0",
            "epsilon = -1.5",
            "my/study.toml: privacy.epsilon is -1.5, but must be above 0; raise it.",
        ),
        (
            "epsilon = 1.0",
            "epsilon = 1000",
            "my/study.toml: privacy.epsilon is 1000, but must be at most 50; lower it.",
        ),
        (
            "epsilon = 1.0",
            "epsilon = nan",
            "my/study.toml: privacy.epsilon is NaN, which is not finite; write a finite number.",
        ),
        (
            "epsilon = 1.0",
            'epsilon = "1"',
            'my/study.toml: privacy.epsilon is "1", which is not a number; write a number.',
        ),
        (
            "epsilon = 1.0",
            "epsilon = true",
            "my/study.toml: privacy.epsilon is true, which is not a number; write a number.",
        ),
        (
            "epsilon = 1.0\n",
            "",
            "my/study.toml: privacy.epsilon is missing; add it (a number).",
        ),
        (
            "epsilon = 1.0",
            "epsilom = 1.0\nepsilon = 1.0",
            "my/study.toml: privacy.epsilom is not a known key; did you mean 'epsilon'.",
        ),
        (
            "delta = 1e-5",
            "delta = 0.001",
            "my/study.toml: privacy.delta is 0.001, must be below 1/(10 n) = 0.001 for "
            "n = cohort.expected_patients = 100; lower it.",
        ),
        (
            "rounds = 2",
            "rounds = 2.5",
            "my/study.toml: training.rounds is 2.5, which is not a whole number; "
            "write a whole number.",
        ),
        (
            "rounds = 2",
            "rounds = 2\nsampling_rate = 0.5",
            'my/study.toml: training.batch = "full" needs sampling_rate = 1 and '
            'batch = "poisson" one below 1; change one of them.',
        ),
        (
            'method = "distributed"',
            'method = "centralised"',
            'my/study.toml: training has method "centralised", which is not known; '
            'make method "distributed" or "local".',
        ),
        (
            'method = "distributed"\n',
            "",
            'my/study.toml: training has no method; add method ("distributed" or "local").',
        ),
        (
            "range = [0, 120]",
            "range = [120, 0]",
            "my/study.toml: features[0].range is upside down or empty: [120, 0]; "
            "write it as [low, high].",
        ),
        (
            "range = [0, 120]",
            "range = [0]",
            "my/study.toml: features[0].range[1] is missing; add it (a number).",
        ),
        (
            "range = [0, 120]",
            "range = [0, 1, 2]",
            "my/study.toml: features[0].range has 3 entries, but may have at most 2; remove some.",
        ),
        (
            "range = [0, 120]",
            "range = 120",
            "my/study.toml: features[0].range is 120, which is not a list; write a list.",
        ),
        (
            'unit = "years"\n',
            "",
            "my/study.toml: features[0].unit is missing; add it (text).",
        ),
        (
            'unit = "years"\n',
            'unit = "years"\nmissing = "mean"\n',
            'my/study.toml: features[0].missing is "mean", which is not a known value; '
            'make it "refuse" or "drop_row" or "midpoint".',
        ),
        (
            'kind = "numeric"',
            'kind = "number"',
            'my/study.toml: features[0] has kind "number", which is not known; '
            'make kind "numeric" or "categorical".',
        ),
        (
            'name = "age"',
            'name = "Age"',
            'my/study.toml: features[0].name is "Age", which does not match '
            "^[a-z][a-z0-9_]{0,63}$; rename it.",
        ),
        (
            'name = "age"',
            'name = "stage"',
            "my/study.toml: features name 'stage' appears twice; rename one of them.",
        ),
        (
            'name = "age"',
            'name = "outcome"',
            "my/study.toml: target.name 'outcome' is also a feature; remove it there.",
        ),
        (
            'categories = ["1", "2", "3"]',
            'categories = ["1"]',
            "my/study.toml: features[1].categories has 1 entries, but needs at least 2; "
            "add the missing ones.",
        ),
        (
            'categories = ["1", "2", "3"]',
            'categories = ["1", "2", "1"]',
            "my/study.toml: features[1].categories repeat a value; list each once.",
        ),
        (
            'categories = ["1", "2", "3"]',
            'categories = ["1", "2", "1.0"]',
            "my/study.toml: features[1].categories has '1' and '1.0', which are the same value; "
            "keep one of them.",
        ),
        (
            'categories = ["1", "2", "3"]',
            'categories = ["1", " "]',
            "my/study.toml: features[1].categories has the value ' ', which stands for missing "
            "data; remove it, and say what to do in the feature's missing rule.",
        ),
        (
            'positive = ["1"]',
            'positive = ["0.0"]',
            "my/study.toml: target has '0.0' and '0', which are the same value; keep one of them.",
        ),
        (
            'name = "logistic_regression"',
            'name = "random_forest"',
            "my/study.toml: model.name is 'random_forest', which is no known model; "
            "use one of logistic_regression, mlp.",
        ),
        (
            'name = "logistic_regression"',
            'name = "mlp"\noptions = { hiden = [4] }',
            "my/study.toml: model.options.hiden is not an option of mlp; "
            "use one of hidden, activation.",
        ),
        ("[model]", "[modell]", "my/study.toml: model is missing; add it (a table)."),
        (
            "[model]",
            '[evaluation]\ngroups = { a = ["x", "y"], b = ["y", "z"] }\n[model]',
            "my/study.toml: evaluation.groups hold site 'y' twice, in 'a' and in 'b', but a "
            "patient may be summed only once; list it in one group.",
        ),
        (
            "[model]",
            '[evaluation.groups]\nall = ["x", "y"]\n[model]',
            "my/study.toml: evaluation.groups cannot have the name 'all', which is taken; "
            "rename it.",
        ),
        (
            "[model]",
            '[evaluation.groups]\na = ["x"]\n[model]',
            "my/study.toml: evaluation.groups.a has 1 sites, must have at least "
            "cohort.minimum_sites = 2; add sites or join groups.",
        ),
        (
            "[model]",
            '[scaling]\nmethod = "private_moments"\n[statistics]\nbudget_share = 0.9\n[model]',
            "my/study.toml: scaling.budget_share and statistics.budget_share add up to 1.1, must "
            "be below 1 so that training keeps a part; lower one of them.",
        ),
    ],
)
def test_each_fault_is_one_sentence_with_file_field_and_fix(
    old: str, new: str, sentence: str
) -> None:
    assert GOOD.count(old) >= 1
    assert sentence in refused(GOOD.replace(old, new, 1)).splitlines()


def test_several_faults_are_told_together() -> None:
    text = GOOD.replace("epsilon = 1.0", "epsilon = 0").replace("[0, 120]", "[120, 0]")
    with pytest.raises(InputErrors) as caught:
        parse_study(text, source="study.toml")
    assert [error.field for error in caught.value.errors] == [
        "features[0].range",
        "privacy.epsilon",
    ]


def test_many_faults_are_cut_off() -> None:
    text = GOOD + '[[features]]\nname = "X"\nkind = "numeric"\n' * 20
    lines = refused(text).splitlines()
    assert len(lines) == 21
    assert "40 more problems" in lines[-1]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[about\n", "(expected ']' at the end of a table declaration); mend line 1, column 7."),
        ("[about]\nname = \n", "(invalid value); mend line 2, column 8."),
        ("a = 1\na = 2\n", "(cannot overwrite a value); mend line 2, column 6."),
        ('a = "', "mend the end of the file."),
        (f"a = {'9' * 5000}", "is not valid TOML (exceeds the limit"),
        (f"a = {'[' * 20_000}", "is nested too deeply; flatten its arrays."),
    ],
)
def test_what_is_not_toml(text: str, part: str) -> None:
    message = refused(text)
    assert message.startswith("my/study.toml: is n")
    assert part in message


def test_a_date_is_no_number() -> None:
    message = refused(GOOD.replace("epsilon = 1.0", "epsilon = 2024-01-01"))
    assert message.startswith("my/study.toml: privacy.epsilon is")
    assert message.endswith("which is not a number; write a number.")


def test_an_empty_file_names_what_is_missing() -> None:
    assert "my/study.toml: about is missing; add it (a table)." in refused("").splitlines()


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"\xff\xfe[\0", "is not UTF-8 text (line 1); save it as UTF-8."),
        (b"# x\n\xe4\n", "is not UTF-8 text (line 2); save it as UTF-8."),
        (b"#" * 10_000_001, "is larger than 10 MB; give the path of a study file (.toml)."),
    ],
)
def test_files_that_cannot_be_text(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_study(path)
    assert str(caught.value) == f"{path}: {part}"


def test_no_such_file_suggests_a_near_name(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(GOOD)
    with pytest.raises(InputError, match=r"there is no such file; did you mean 'study\.toml'\.$"):
        load_study(tmp_path / "studi.toml")
    with pytest.raises(InputError, match=r"there is no such file; give the path of a study file"):
        load_study(tmp_path / "absent" / "x")


def test_a_folder_or_an_impossible_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder; name the study file"):
        load_study(tmp_path)
    with pytest.raises(InputError, match=r"no such file|cannot be read"):
        load_study(Path("a\0b"))
    with pytest.raises(InputError, match=r"is not a regular file|no such file"):
        load_study(Path("/dev/zero"))


def test_all_shipped_studies_are_valid_and_named_like_their_files() -> None:
    studies = {name: load_study(path) for name, path in shipped_studies().items()}
    assert set(studies) >= {"breast_cancer", "heart_disease"}
    for name, study in studies.items():
        assert study.about.name == name
    assert len(design_columns(studies["breast_cancer"])) == 30
    assert len(design_columns(studies["heart_disease"])) == 15
    assert len({study.digest for study in studies.values()}) == len(studies)


def test_find_study_by_name_by_path_and_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_study(find_study("heart_disease")).about.name == "heart_disease"
    assert find_study("dir/other.toml") == Path("dir/other.toml")
    with pytest.raises(InputError, match="nor a sample study of that name; did you mean 'heart_d"):
        find_study("hart_disease")
    # A file of that name in the current folder wins over the sample.
    monkeypatch.chdir(tmp_path)
    Path("heart_disease").write_text(GOOD)
    assert load_study(find_study("heart_disease")).about.name == "small"


def test_strict_reading_changes_no_digest() -> None:
    for path in shipped_studies().values():
        study = load_study(path)
        assert Study.model_validate(study.model_dump()).digest == study.digest
