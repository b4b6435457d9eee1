from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fedward.common.protocol.frame import FrameError, decode_frame, encode_frame
from fedward.server.training.state import KeptSum, TrainingState

TEXT = st.characters(exclude_categories=["Cs"])
FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64)


def vectors(length: int) -> st.SearchStrategy[Any]:
    return npst.arrays(np.float64, length, elements=FINITE)


@st.composite
def kept_sums(draw: st.DrawFn) -> KeptSum:
    return KeptSum(
        kind=draw(st.sampled_from(["evaluation", "site_evaluation", "counts"])),
        name=draw(st.text(TEXT, max_size=5)),
        noise_deviation=draw(st.floats(0, 1e300)),
        total=draw(vectors(draw(st.integers(1, 5)))),
    )


@st.composite
def states(draw: st.DrawFn) -> TrainingState:
    length, columns = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    return TrainingState(
        run_id=draw(st.text(TEXT, max_size=20)),
        study_digest=draw(st.from_regex(r"[0-9a-f]{64}", fullmatch=True)),
        round=draw(st.integers(0, 10**6)),
        logged=draw(st.integers(0, 10**6)),
        tail_count=draw(st.integers(0, 100)),
        parameters=draw(vectors(length)),
        first=draw(vectors(length)),
        second=draw(vectors(length)),
        tail=draw(vectors(length)),
        center=draw(vectors(columns)),
        scale=draw(vectors(columns)),
        session=draw(st.integers(0, 10**6)),
        lost=draw(st.integers(0, 10**6)),
        finished=tuple(draw(st.lists(st.text(TEXT, max_size=5), max_size=3))),
        notes=tuple(draw(st.lists(st.text(TEXT, max_size=5), max_size=3))),
        sums=tuple(draw(st.lists(kept_sums(), max_size=3))),
    )


def one() -> TrainingState:
    return TrainingState(
        run_id="run",
        study_digest="0" * 64,
        round=3,
        logged=9,
        tail_count=2,
        parameters=np.arange(4.0),
        first=np.ones(4),
        second=np.zeros(4),
        tail=np.arange(4.0) * 2,
        center=np.zeros(3),
        scale=np.ones(3),
        session=2,
        lost=1,
        finished=("evaluation/all",),
        notes=("The training ended early.",),
        sums=(
            KeptSum(kind="evaluation", name="all", noise_deviation=1.5, total=np.arange(5.0)),
            KeptSum(kind="counts", name="", noise_deviation=2.0, total=np.ones(2)),
        ),
    )


@given(states())
def test_a_state_comes_back_to_the_last_bit(state: TrainingState) -> None:
    back = TrainingState.from_frame(state.to_frame())

    for field in fields(TrainingState):
        before, after = getattr(state, field.name), getattr(back, field.name)
        if isinstance(before, np.ndarray):
            assert after.tobytes() == before.tobytes()
        elif field.name == "sums":
            assert [told(one) for one in after] == [told(one) for one in before]
        else:
            assert after == before
    assert back.to_frame() == state.to_frame()


def told(one: KeptSum) -> tuple[Any, ...]:
    return (one.kind, one.name, one.noise_deviation, one.total.tobytes())


def test_the_model_is_the_mean_of_the_tail_or_the_last_iterate() -> None:
    assert one().model_parameters.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert replace(one(), tail_count=0).model_parameters.tolist() == one().parameters.tolist()


@given(st.data())
def test_a_state_cut_short_is_refused(data: st.DataObject) -> None:
    frame = one().to_frame()

    with pytest.raises(FrameError):
        TrainingState.from_frame(frame[: data.draw(st.integers(0, len(frame) - 1))])


@pytest.mark.parametrize(
    "change",
    [
        {"format": "fedward-training-state-1"},
        {"format": None},
        {"more": 1},
        {"round": "3"},
        {"round": -1},
        {"round": 1.5},
        {"round": True},
        {"logged": None},
        {"tail_count": [2]},
        {"run_id": 1},
        {"study_digest": None},
        {"session": -1},
        {"lost": "1"},
        {"finished": [1]},
        {"notes": "none"},
        {"sums": []},
        {"sums": [{"kind": "evaluation", "name": "all", "noise_deviation": 1.5, "length": 7}] * 2},
        {"sums": [{"kind": "loss", "name": "all", "noise_deviation": 1.5, "length": 7}]},
        {"sums": [{"kind": "counts", "name": "", "noise_deviation": -1.0, "length": 7}]},
        {"sums": [{"kind": "counts", "name": "", "noise_deviation": 1.0, "length": 0}]},
    ],
    ids=str,
)
def test_a_state_with_a_wrong_field_is_refused(change: dict[str, Any]) -> None:
    body, arrays = decode_frame(one().to_frame())

    with pytest.raises(FrameError):
        TrainingState.from_frame(encode_frame(body | change, arrays))


@pytest.mark.parametrize(
    "field",
    [
        "format",
        "run_id",
        "study_digest",
        "round",
        "logged",
        "tail_count",
        "session",
        "lost",
        "finished",
        "notes",
        "sums",
    ],
)
def test_a_state_with_a_missing_field_is_refused(field: str) -> None:
    body, arrays = decode_frame(one().to_frame())
    del body[field]

    with pytest.raises(FrameError):
        TrainingState.from_frame(encode_frame(body, arrays))


@pytest.mark.parametrize(
    "array", ["parameters", "first", "second", "tail", "center", "scale", "sums"]
)
def test_a_state_with_a_missing_or_misshapen_array_is_refused(array: str) -> None:
    body, arrays = decode_frame(one().to_frame())
    others = {name: value for name, value in arrays.items() if name != array}

    for wrong in (
        others,
        others | {array: np.zeros((2, 2))},
        others | {array: np.zeros(9)},
        others | {array: np.zeros(len(arrays[array]), dtype=np.int64)},
        arrays | {"more": np.zeros(1, dtype=np.int64)},
    ):
        with pytest.raises(FrameError):
            TrainingState.from_frame(encode_frame(body, wrong))


def test_other_frames_are_no_states() -> None:
    for frame in (b"", b"garbage", encode_frame({}, {}), encode_frame({"format": 1}, {})):
        with pytest.raises(FrameError):
            TrainingState.from_frame(frame)
