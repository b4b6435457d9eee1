from __future__ import annotations

import pickle

import pytest

from fedward.common.errors import FedwardError, InputError, InputErrors, PrivacyRefusal


def problem(number: int = 1) -> InputError:
    return InputError(
        source="study.toml", field=f"privacy.x{number}", problem="is wrong", fix="change it"
    )


def test_an_input_error_is_one_sentence_with_file_field_and_fix() -> None:
    assert str(problem()) == "study.toml: privacy.x1 is wrong; change it."


def test_without_a_field_the_sentence_has_no_gap() -> None:
    error = InputError(source="data.csv", field="", problem="is empty", fix="fill it")

    assert str(error) == "data.csv: is empty; fill it."


def test_several_errors_are_a_line_each() -> None:
    errors = InputErrors([problem(1), problem(2)])

    assert str(errors).splitlines() == [str(problem(1)), str(problem(2))]
    assert len(errors.errors) == 2


def test_input_errors_need_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        InputErrors([])


@pytest.mark.parametrize("error", [problem(), InputErrors([problem(1), problem(2)])])
def test_errors_come_back_whole_from_another_process(error: FedwardError) -> None:
    # Ray pickles what a site raises; an error that cannot be read back hides its own reason.
    back = pickle.loads(pickle.dumps(error))  # noqa: S301

    assert type(back) is type(error)
    assert str(back) == str(error)
    fields = [name for name in vars(error) if name != "errors"]
    assert {name: getattr(back, name) for name in fields} == {
        name: getattr(error, name) for name in fields
    }
    assert [str(one) for one in getattr(back, "errors", ())] == [
        str(one) for one in getattr(error, "errors", ())
    ]


def test_a_privacy_refusal_is_an_error_of_ours() -> None:
    assert issubclass(PrivacyRefusal, FedwardError)
