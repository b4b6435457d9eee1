"""Small studies of every kind of training, as an audit rehearses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fedward.common.study.definition import Study

POISSON: dict[str, Any] = {
    "method": "distributed",
    "rounds": 6,
    "learning_rate": 1.0,
    "batch": "poisson",
    "sampling_rate": 0.3,
}
MLP: dict[str, Any] = {"name": "mlp", "options": {"hidden": [4]}}


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Models of this size lose more to thread hand-over than they gain."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def audited(make_study: Callable[..., Study]) -> Callable[[str], Study]:
    """The small study with "full" or "poisson" batches or "local" training; "_mlp" behind it."""

    def chosen(name: str) -> Study:
        training, _, model = name.partition("_")
        tables: dict[str, Any] = {"statistics": {}, "evaluation": {"per_site": True}}
        if model:
            tables["model"] = MLP
        if training == "poisson":
            tables["training"] = POISSON
        return make_study(local=training == "local", **tables)

    return chosen
