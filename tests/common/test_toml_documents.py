from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from fedward.common.errors import FedwardError, InputError, InputErrors
from fedward.common.study.definition import Study
from fedward.common.study.loading import find_study
from fedward.common.toml_documents import MAX_PROBLEMS, parse_toml, raise_all, read_toml_text


class Small(BaseModel):
    number: float
    names: tuple[str, ...] = ()


def problem(field: str) -> InputError:
    return InputError(source="a.toml", field=field, problem="is bad", fix="mend it")


def test_a_document_is_validated_strictly() -> None:
    found = parse_toml('number = 1\nnames = ["a"]', source="a.toml", model=Small)
    assert found == Small(number=1.0, names=("a",))
    with pytest.raises(InputError, match=r'^a\.toml: number is "1", which is not a number; write'):
        parse_toml('number = "1"', source="a.toml", model=Small)


def test_text_is_read_with_or_without_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbfnumber = 1")
    assert read_toml_text(path, kind="file") == "number = 1"


def test_one_problem_several_and_too_many() -> None:
    with pytest.raises(InputError):
        raise_all([problem("x")])
    with pytest.raises(InputErrors) as caught:
        raise_all([problem("x"), problem("y")])
    assert str(caught.value).count("\n") == 1
    with pytest.raises(InputErrors) as caught:
        raise_all([problem(str(number)) for number in range(MAX_PROBLEMS + 5)])
    assert len(caught.value.errors) == MAX_PROBLEMS + 1
    assert str(caught.value.errors[-1]) == (
        "a.toml: has 5 more problems; mend the first ones and check again."
    )


LINES = find_study("heart_disease").read_text(encoding="utf-8").splitlines()
VALUES = st.sampled_from(
    [
        *("0", "-1", "1e400", "nan", '""', '"x"', "[]", "[[]]", "{}", "{ a = 1 }", "true"),
        *("2024-01-01", "12:30:00", "[1, 'a', {}]", "9223372036854775808", "'''\n\n'''"),
        *("[nan]", '"\\u0000"'),
    ]
)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_spoilt_study_is_a_study_or_a_list_of_sentences(data: st.DataObject) -> None:
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(lines) - 1))
        key, sign, _ = lines[place].partition(" = ")
        match data.draw(st.integers(0, 3)):
            case 0:
                lines[place] = f"{key} = {data.draw(VALUES)}" if sign else ""
            case 1:
                del lines[place]
            case 2:
                lines.insert(place, f"{data.draw(st.sampled_from(['a', 'range', 'kind']))} = 1")
            case _:
                lines[place] = lines[place][: len(lines[place]) // 2]
    try:
        parse_toml("\n".join(lines), source="a.toml", model=Study)
    except FedwardError as error:
        for line in str(error).splitlines():
            assert line.startswith("a.toml: ")
            assert "; " in line
            assert line.endswith(".")
            assert "Value error" not in line


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=60))
def test_any_text_is_refused_in_one_sentence_or_read(text: str) -> None:
    with pytest.raises(FedwardError) as caught:
        parse_toml(text, source="a.toml", model=Study)
    assert all(line.startswith("a.toml: ") for line in str(caught.value).split("\n"))
