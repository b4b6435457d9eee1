from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fedward.common.errors import InputError
from fedward.simulations.request import SimulationRequest, check_request


def request_of(**changes: Any) -> SimulationRequest:
    fields: dict[str, Any] = dict.fromkeys(
        ("study", "data", "sites", "epsilons", "seeds", "ray_address", "runs", "name", "resume")
    )
    fields |= {
        "engine": "in-process",
        "insecure_noise_seed": None,
        "command": "fedward simulate",
        "now": datetime(2026, 1, 2, tzinfo=UTC),
    }
    return SimulationRequest(**(fields | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"epsilons": (0.01, 1.0, 50.0)},
        {"insecure_noise_seed": 0},
        {"insecure_noise_seed": 2**64 - 1},
        {"drop_out": 0.0},
        {"drop_out": 0.5, "no_masks": True, "transcript": True},
        {"engine": "ray", "ray_address": "auto"},
        {"resume": Path("run")},
        {"resume": Path("run"), "engine": "ray", "ray_address": "host:1"},
    ],
)
def test_what_can_be_meant_passes(changes: dict[str, Any]) -> None:
    check_request(request_of(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epsilons": (1.0, 0.0)}, "--epsilon: 0 is not"),
        ({"epsilons": (50.1,)}, r"--epsilon: 50\.1 is not"),
        ({"epsilons": (float("nan"),)}, "--epsilon: nan is not"),
        ({"insecure_noise_seed": -1}, "--insecure-noise-seed: -1 is not"),
        ({"insecure_noise_seed": 2**64}, "--insecure-noise-seed: 18446744073709551616 is not"),
        ({"drop_out": -0.01}, r"--drop-out: -0\.01 is not from 0 to 0\.5"),
        ({"drop_out": 0.51}, r"--drop-out: 0\.51 is not"),
        ({"drop_out": float("nan")}, "--drop-out: nan is not"),
        ({"ray_address": "auto"}, "--ray-address: auto does not go with --engine in-process"),
        ({"ray_address": "auto", "engine": "flower"}, "does not go with --engine flower"),
        ({"resume": Path("run"), "name": "one"}, "--resume: --name was given"),
        ({"resume": Path("run"), "seeds": 1}, "--resume: --seeds was given"),
        ({"resume": Path("run"), "drop_out": 0.0}, "--resume: --drop-out was given"),
        ({"resume": Path("run"), "no_masks": True}, "--resume: --no-masks was given"),
        ({"resume": Path("run"), "transcript": True}, "--resume: --transcript was given"),
    ],
)
def test_what_cannot_is_an_input_error_naming_the_option(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check_request(request_of(**changes))
