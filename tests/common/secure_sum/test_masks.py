from __future__ import annotations

import numpy as np

from fedward.common.secure_sum.masks import MaskedSum, MaskSource, NoMasks


def test_no_masks_are_zeros_and_say_so() -> None:
    source: MaskSource = NoMasks()
    masked = MaskedSum(
        run_id="run", study_digest="0" * 64, roster=("a", "b"), round=1, attempt=1, length=7
    )
    mask = source.mask(masked)
    assert mask.dtype == np.uint64
    assert mask.tolist() == [0] * 7
    assert not source.masking
