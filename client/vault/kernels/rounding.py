"""What adding up in float64 can change: a bound to be charged as extra sensitivity."""

from __future__ import annotations

import math

from fedward.client.vault.kernels.mlp_norms import CANCELLATION, UNIT_ROUNDOFF


def relative_rounding(*, max_patients: int, block_rows: int = 512) -> float:
    """Worst-case L2 change by rounding, in clips, between the sums of two neighbouring cohorts.

    A patient's term is fixed to the bit by its own rows, so the exact sum of the terms moves by at
    most ``clip (1 + 1e-9)`` with one patient. The computed sum differs from the exact one by at
    most ``gamma * K * max_patients * clip``, where

    - ``gamma = n u / (1 - n u)`` with ``u = 2^-53`` and ``n = block_rows + 16`` bounds a matrix
      product over a block, in any order of addition, and the few products before it (Higham 2002,
      lemma 3.1 and section 3.5); blocks are added with compensation, which ``+ 16`` covers up to
      2^24 blocks;
    - ``K = CANCELLATION^-1/2`` bounds the rows of a patient added within the product over the norm
      of their sum (patients who cancel more are written out first).

    Both cohorts round, hence the factor 2. For 2^20 patients: 4e-6. ``max_patients`` must be the
    study's public bound, not the true number.
    """
    if max_patients < 0 or block_rows < 1:
        raise ValueError("max_patients must not be negative and block_rows at least 1")
    terms = (block_rows + 16) * UNIT_ROUNDOFF
    gamma = terms / (1 - terms)
    return 2 * gamma * max_patients / math.sqrt(CANCELLATION)
