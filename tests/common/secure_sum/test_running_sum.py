from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from fedward.common.secure_sum.running_sum import RunningSum
from fedward.common.secure_sum.signatures import SecureSumError

VECTORS = st.lists(npst.arrays(np.uint64, 3), min_size=1, max_size=6)


@given(VECTORS, st.booleans())
def test_it_adds_modulo_two_to_the_64(vectors: list[NDArray[np.uint64]], known: bool) -> None:
    running = RunningSum(3 if known else None)
    for vector in vectors:
        running.add(vector)

    exact = [sum(int(vector[place]) for vector in vectors) % 2**64 for place in range(3)]
    assert running.total.tolist() == exact
    assert running.total.dtype == np.uint64
    assert running.count == len(vectors)


def test_what_was_added_is_left_alone() -> None:
    first = np.array([1, 2], dtype=np.uint64)
    first.flags.writeable = False
    running = RunningSum()
    running.add(first)
    running.add(first)

    assert running.total.tolist() == [2, 4]
    assert first.tolist() == [1, 2]


def test_elements_that_lie_on_no_word_add_up_too() -> None:
    shifted = np.frombuffer(b"x" + np.arange(4, dtype="<u8").tobytes(), "<u8", offset=1)
    assert not shifted.flags.aligned
    running = RunningSum(4)
    running.add(shifted)

    assert running.total.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(3),
        np.zeros(3, dtype=np.int64),
        np.zeros(3, dtype=np.uint32),
        np.zeros(2, dtype=np.uint64),
        np.zeros(4, dtype=np.uint64),
        np.zeros(1, dtype=np.uint64),
        np.zeros(0, dtype=np.uint64),
        np.zeros((1, 3), dtype=np.uint64),
        np.zeros((), dtype=np.uint64),
    ],
    ids=lambda wrong: f"{wrong.dtype}{wrong.shape}",
)
@pytest.mark.parametrize("length", [3, None])
def test_other_elements_are_refused_and_change_nothing(
    wrong: NDArray[Any], length: int | None
) -> None:
    running = RunningSum(length)
    running.add(np.array([1, 2, 3], dtype=np.uint64))
    with pytest.raises(SecureSumError, match="ring elements"):
        running.add(wrong)

    assert running.total.tolist() == [1, 2, 3]
    assert running.count == 1


@pytest.mark.parametrize("wrong", [np.zeros(3), np.zeros((1, 3), dtype=np.uint64)])
def test_the_first_elements_are_checked_too(wrong: NDArray[Any]) -> None:
    with pytest.raises(SecureSumError, match="ring elements"):
        RunningSum().add(wrong)


def test_a_sum_of_nothing() -> None:
    assert RunningSum(2).total.tolist() == [0, 0]
    assert RunningSum(2).count == 0
    with pytest.raises(SecureSumError, match="nothing was added"):
        _ = RunningSum().total
    with pytest.raises(ValueError, match="length"):
        RunningSum(0)


@pytest.mark.parametrize("length", [2**17, None])
def test_memory_does_not_grow_with_the_number_of_sites(length: int | None) -> None:
    elements = np.ones(2**17, dtype=np.uint64)
    tracemalloc.start()
    try:
        running = RunningSum(length)
        for _ in range(20):
            running.add(elements)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert running.total[0] == 20
    assert elements.nbytes <= peak < 1.5 * elements.nbytes
