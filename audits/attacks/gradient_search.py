"""The search of gradient inversion: patients whose gradients point the way that was observed.

Geiping et al. 2020, section 4: minimise one minus the cosine between the observed gradient and that
of the guess, within the bounds of the data, by Adam; of several starts the best is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fedward.audits.attacks.patient_gradients import row_gradient
from fedward.audits.attacks.records import RecordSpace
from fedward.common.models.registry import ModelFamily

if TYPE_CHECKING:
    import torch

STARTS: Final = 2
ITERATIONS: Final = 300
LEARNING_RATE: Final = 0.1


def search_patients(
    model: ModelFamily,
    parameters: NDArray[np.float64],
    observed: NDArray[np.float64],
    outcomes: NDArray[np.float64],
    *,
    clip: float,
    space: RecordSpace,
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """Search for the patients of all sums side by side; the best start of each.

    ``observed`` are gradient sums ``[sums, parameters]`` of patients with the known ``outcomes``
    ``[sums, patients]``, each clipped to ``clip``. Returns ``[sums, patients, columns]``.
    """
    import torch

    sums, seen = outcomes.shape
    gradient = torch.func.vmap(row_gradient(model, parameters))
    start = generator.standard_normal((STARTS * sums, seen, len(space.names)))
    free = torch.tensor(0.1 * start, requires_grad=True)
    wanted = torch.tensor(np.tile(observed, (STARTS, 1)))
    labels = torch.tensor(np.tile(outcomes, (STARTS, 1)).reshape(-1))
    low = torch.tensor(space.lowest)

    def rows() -> torch.Tensor:
        # Within the public ranges whatever the search does.
        return low + (1.0 - low) * torch.sigmoid(2.0 * free)

    def losses() -> torch.Tensor:
        parts = gradient(rows().reshape(-1, len(space.names)), labels)
        if np.isfinite(clip):
            norms = parts.norm(dim=1, keepdim=True).clamp_min(1e-12)
            parts = parts * (clip / norms).clamp_max(1.0)
        total = parts.reshape(len(wanted), seen, -1).sum(dim=1)
        return 1.0 - torch.nn.functional.cosine_similarity(total, wanted, dim=1)

    search = torch.optim.Adam([free], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(search, ITERATIONS)
    for _ in range(ITERATIONS):
        search.zero_grad()
        losses().sum().backward()  # type: ignore[no-untyped-call]
        search.step()
        schedule.step()
    with torch.no_grad():
        final = losses().numpy().reshape(STARTS, sums)
        guesses = rows().numpy().reshape(STARTS, sums, seen, -1)
    best: NDArray[np.float64] = guesses[final.argmin(axis=0), np.arange(sums)]
    return best
