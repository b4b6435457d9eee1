from __future__ import annotations

import threading

import numpy as np

from fedward.client.vault.kernels.scratch import Scratch


def test_arrays_are_reused_by_name_and_grow() -> None:
    scratch = Scratch()
    small = scratch.array("a", (2, 3), "float32")
    assert small.shape == (2, 3)
    assert small.dtype == np.float32
    assert np.shares_memory(small, scratch.array("a", (3, 2), np.float32))
    assert not np.shares_memory(small, scratch.array("b", (2, 3), np.float32))
    assert scratch.float64("a", (10, 10)).shape == (10, 10)


def test_threads_do_not_share() -> None:
    scratch = Scratch()
    mine = scratch.float64("a", (4, 4))
    theirs: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: theirs.append(scratch.float64("a", (4, 4))))
    thread.start()
    thread.join()
    assert not np.shares_memory(mine, theirs[0])
