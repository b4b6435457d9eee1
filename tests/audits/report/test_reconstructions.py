from __future__ import annotations

import base64
import io
import re
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread

from fedward.audits.attacks.result import AttackAudit, AttackResult, Reconstruction
from fedward.audits.report.reconstructions import (
    MOST_SHOWN,
    check_records,
    short_value,
    shown_records,
)


def decoded(markup: str) -> np.ndarray:
    """The grey values of an image of the page, by another library's decoder."""
    found = re.search(r'src="data:image/png;base64,([^"]+)"', markup)
    assert found is not None
    pixels = imread(io.BytesIO(base64.b64decode(found.group(1))), format="png")
    return np.round(255 * pixels)


def with_records(attack: AttackResult, *records: Reconstruction) -> AttackResult:
    return attack.model_copy(update={"reconstructions": records})


def test_a_picture_shows_its_values(attacks: AttackAudit) -> None:
    (shown,) = shown_records(attacks.attacks[1])
    captions = [caption for caption, _ in shown.pictures]
    assert captions == ["The record", "Raw update", "What fedward releases"]
    images = [image for _, image in shown.pictures]
    assert all(image is not None for image in images)
    true, raw, noised = (decoded(str(image)) for image in images)
    assert true.tolist() == [[0, 51, 102], [153, 204, 255]]
    # Beyond the record's own range there is only black and white.
    assert raw.tolist() == true.tolist()
    assert noised.tolist() == [[0, 0, 0], [0, 0, 0]]


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_pictures_of_any_shape_are_read_by_others(
    attacks: AttackAudit, rows: int, columns: int, seed: int
) -> None:
    values = np.random.default_rng(seed).integers(0, 256, (rows, columns)).astype(float)
    values.flat[0], values.flat[-1] = 0.0, 255.0
    record = Reconstruction(
        names=tuple(map(str, range(rows * columns))),
        true=tuple(values.ravel().tolist()),
        found={},
        picture=(rows, columns),
    )
    (shown,) = shown_records(with_records(attacks.attacks[1], record))
    if rows * columns > 1:
        assert decoded(str(shown.pictures[0][1])).tolist() == values.tolist()


def test_a_large_picture_takes_several_blocks(attacks: AttackAudit) -> None:
    values = np.tile(np.arange(256.0), 300)
    record = Reconstruction(
        names=tuple(map(str, range(values.size))),
        true=tuple(values.tolist()),
        found={},
        picture=(300, 256),
    )
    (shown,) = shown_records(with_records(attacks.attacks[1], record))
    assert decoded(str(shown.pictures[0][1])).ravel().tolist() == values.tolist()


def test_what_is_not_finite_is_black(attacks: AttackAudit) -> None:
    record = attacks.attacks[1].reconstructions[0]
    broken = (float("nan"), float("inf"), 102.0, 153.0, 204.0, 255.0)
    record = record.model_copy(update={"found": {"raw": broken}})
    (shown,) = shown_records(with_records(attacks.attacks[1], record))
    assert decoded(str(shown.pictures[1][1])).ravel().tolist()[:3] == [0, 0, 102]


def test_a_table_has_each_view_side_by_side(attacks: AttackAudit) -> None:
    (shown,) = shown_records(attacks.attacks[0])
    assert shown.views == ("Raw update", "Clipped only", "Masked only", "What fedward releases")
    row = shown.rows[1]
    assert (row.name, row.actual, row.found) == ("x1", -0.5, (-0.5, -0.4, None, 9.0))
    assert [row.is_close(value) for value in row.found] == [True, False, False, False]
    assert shown.left_out == 0


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), (0.1118234, "0.1118"), (1123.4, "1123"), (20345.6, "20,346"), (-0.5, "-0.5")],
)
def test_values_are_short(value: float | None, shown: str) -> None:
    assert short_value(value) == shown


def test_few_records_are_shown(attacks: AttackAudit) -> None:
    record = attacks.attacks[0].reconstructions[0]
    assert len(shown_records(with_records(attacks.attacks[0], *[record] * 9))) == MOST_SHOWN


def test_records_that_fit_pass_and_others_are_named(attacks: AttackAudit) -> None:
    for attack in attacks.attacks:
        check_records(attack)
    record = attacks.attacks[1].reconstructions[0]
    for change in (
        {"true": (1.0,)},
        {"found": {"raw": (1.0,)}},
        {"picture": (3, 3)},
        {"picture": (-2, -3)},
    ):
        bad = with_records(attacks.attacks[1], record, record.model_copy(update=change))
        with pytest.raises(ValueError, match="record 2"):
            check_records(bad)


def test_an_image_is_a_png_of_the_right_size(attacks: AttackAudit) -> None:
    (shown,) = shown_records(attacks.attacks[1])
    found = re.search(r"base64,([^\"]+)", str(shown.pictures[0][1]))
    assert found is not None
    content = base64.b64decode(found.group(1))
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", content[16:24]) == (3, 2)
