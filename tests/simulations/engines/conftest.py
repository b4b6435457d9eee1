"""One Ray for all tests that need it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fedward.simulations.engines.ray_engine import RayEngine


@pytest.fixture(scope="session")
def ray_engine() -> Iterator[RayEngine]:
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    from fedward.simulations.engines.ray_engine import RayEngine

    engine = RayEngine(actors=2)
    yield engine
    engine.close()
