from __future__ import annotations

import numpy as np

from fedward.common.secure_sum.masks import MaskSource, NoMasks


def test_no_masks_are_zeros_and_say_so() -> None:
    source: MaskSource = NoMasks()
    mask = source.mask(run_id="run", round=1, attempt=0, length=7)
    assert mask.dtype == np.uint64
    assert mask.tolist() == [0] * 7
    assert not source.masking
