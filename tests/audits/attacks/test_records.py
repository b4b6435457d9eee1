from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fedward.audits.attacks.records import RecordSpace, nearest
from fedward.common.study.definition import Study

MakeStudy = Callable[..., Study]


def numeric(name: str, low: float, high: float) -> dict[str, object]:
    return {"kind": "numeric", "name": name, "unit": "u", "range": (low, high)}


@pytest.fixture
def mixed(make_study: MakeStudy) -> RecordSpace:
    ward = {"kind": "categorical", "name": "ward", "categories": ("a", "b", "c")}
    return RecordSpace.of(make_study(features=[numeric("age", 20, 120), ward]))


def test_records_are_told_in_the_units_of_the_study(mixed: RecordSpace) -> None:
    assert mixed.names == ("age", "ward=a", "ward=b", "ward=c")
    assert mixed.in_units(np.array([0.5, 0.0, 1.0, 0.0])) == pytest.approx((95, 0, 1, 0))
    assert mixed.in_units(np.array([-1.0, 1.0, 0.0, 0.0])) == pytest.approx((20, 1, 0, 0))
    assert mixed.picture is None


def test_a_record_is_read_if_every_value_is_within_a_hundredth_of_its_range(
    mixed: RecordSpace,
) -> None:
    records = np.array([[0.5, 0, 1, 0], [0.1, 1, 0, 0]])
    near = np.array([[0.5 + 0.019, 0.009, 0.991, 0]])
    assert mixed.read(near, records).tolist() == [True, False]
    assert not mixed.read(near + np.array([0.002, 0, 0, 0]), records).any()
    assert not mixed.read(near + np.array([0, 0.002, 0, 0]), records).any()
    assert not mixed.read(np.empty((0, 4)), records).any()


def test_guesses_are_cut_off_at_the_public_ranges(mixed: RecordSpace) -> None:
    wild = np.array([[np.nan, -5.0, np.inf, 0.4], [-9.0, 2.0, 0.5, -0.1]])
    assert mixed.bounded(wild).tolist() == [[0, 0, 1, 0.4], [-1, 1, 0.5, 0]]


def test_the_nearest_guess_is_the_best_shot() -> None:
    guesses = np.array([[0.0, 0.0], [1.0, 1.0]])
    assert nearest(guesses, np.array([0.9, 0.6])).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("places", "picture"),
    [
        ([(r, c) for r in range(2) for c in range(3)], (2, 3)),
        ([(r, c) for r in (1, 2) for c in (1, 2)], (2, 2)),
        ([(r, c) for c in range(3) for r in range(2)], None),
        ([(0, 0), (0, 1), (1, 0)], None),
        ([(0, 0)], None),
    ],
)
def test_pictures_are_known_by_their_names(
    make_study: MakeStudy, places: list[tuple[int, int]], picture: tuple[int, int] | None
) -> None:
    features = [numeric(f"pixel_{row}_{column}", 0, 255) for row, column in places]
    assert RecordSpace.of(make_study(features=features)).picture == picture


def test_a_picture_with_an_age_is_no_picture(make_study: MakeStudy) -> None:
    names = ["pixel_0_0", "pixel_0_1", "pixel_1_0", "pixel_1_1", "age"]
    study = make_study(features=[numeric(name, 0, 255) for name in names])
    assert RecordSpace.of(study).picture is None
