from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator

from fedward.common.validation_messages import explain, suggestion


class Cat(BaseModel):
    model_config = {"extra": "forbid"}

    kind: Literal["cat"]
    lives: int = Field(default=9, ge=1, lt=10)

    @model_validator(mode="after")
    def _lives(self) -> Self:
        if self.lives == 3:
            raise ValueError("lives may not be three; take four")
        if self.lives == 4:
            raise ValueError("four is bad")
        return self


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str | None = None


class House(BaseModel):
    model_config = {"extra": "forbid"}

    pets: tuple[Annotated[Cat | Dog, Field(discriminator="kind")], ...]
    rooms: dict[str, int] = Field(default_factory=dict)
    heated: bool = True


def sentences(document: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        House.model_validate(document, strict=False)
    details = caught.value.errors(include_url=False)
    return [str(explain(detail, source="h", model=House)) for detail in details]


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"pets": [{"kind": "cat", "lives": 0}]}, "pets[0].lives is 0, but must be at least 1; r"),
        ({"pets": [{"kind": "cat", "lives": 12}]}, "pets[0].lives is 12, but must be below 10; l"),
        ({"pets": [{"kind": "cat", "lives": "x"}]}, 'pets[0].lives is "x", which is not a whole'),
        ({"pets": [{"kind": "cat", "lives": 3}]}, "pets[0].lives may not be three; take four."),
        ({"pets": [{"kind": "cat", "lives": 4}]}, "pets[0] four is bad; change it."),
        (
            {"pets": [{"kind": "cat", "live": 4}]},
            "pets[0].live is not a known key; did you mean 'lives'.",
        ),
        (
            {"pets": [{"kind": "dog"}, {"kind": "cow"}]},
            'pets[1] has kind "cow", which is not known; make kind "cat" or "dog".',
        ),
        ({"pets": [{}]}, 'pets[0] has no kind; add kind ("cat" or "dog").'),
        ({"pets": [{"kind": "dog", "name": 3}]}, "pets[0].name is 3, which is not text; write te"),
        ({"pets": 3}, "pets is 3, which is not a list; write a list."),
        ({"pets": [], "rooms": {"hall": "x"}}, 'rooms.hall is "x", which is not a whole number;'),
        ({"pets": [], "heated": "x"}, 'heated is "x", which is not true or false; write true or'),
        ({}, "pets is missing; add it (a list)."),
    ],
)
def test_the_field_is_as_written_and_the_fix_is_there(
    document: dict[str, Any], sentence: str
) -> None:
    (found,) = sentences(document)
    assert found.startswith(f"h: {sentence}")
    assert found.endswith(".")


def test_a_long_value_is_cut() -> None:
    (found,) = sentences({"pets": [{"kind": "dog", "name": [1] * 1000}]})
    assert len(found) < 200


def test_suggestions() -> None:
    assert suggestion("colour", ["color", "size"]) == "did you mean 'color'"
    assert suggestion("x", ["color", "size"]) == "use one of 'color', 'size'"
    assert suggestion("x", [f"name{number}" for number in range(20)]).endswith("'name11', ...")
