from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from opacus.validators.errors import UnsupportedModuleError

from fedward.client.vault.kernels import per_sample
from fedward.common.models import registry
from fedward.common.models.binary import BinaryClassifier, load_flat


class _WithBatchNorm(BinaryClassifier):
    columns = 3
    parameter_count = 10

    def module(self, parameters: Any) -> torch.nn.Module:
        nn = torch.nn
        stack = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1), nn.Flatten(0))
        return load_flat(stack, parameters)


def _run(model: Any, cohort: Any) -> Any:
    parameters = np.zeros(model.parameter_count)
    return per_sample.clipped_sum(
        model, parameters, cohort, None, clip=1.0, block_rows=4, dtype="float64"
    )


def test_a_model_from_elsewhere_is_refused(make_cohort: Any) -> None:
    with pytest.raises(ValueError, match="registry"):
        _run(_WithBatchNorm(), make_cohort([1, 2], 3))


def test_a_registered_module_still_passes_the_validator(
    make_cohort: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.registered_names()
    monkeypatch.setitem(registry._families, "batch_norm", _WithBatchNorm)
    with pytest.raises(UnsupportedModuleError):
        _run(_WithBatchNorm(), make_cohort([1, 2], 3))
