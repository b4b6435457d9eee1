"""Where a vault's time goes: for simulations and benchmarks, and never in an answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

Stage = Literal["computing", "in_noise", "in_masks", "sealing"]


@dataclass(kw_only=True)
class VaultTimings:
    """Wall-clock seconds of all releases so far, by stage.

    Computing ends with the encoded sum; a local update's own noise is part of it.
    """

    releases: int = 0
    seconds_computing: float = 0.0
    seconds_in_noise: float = 0.0
    seconds_in_masks: float = 0.0
    seconds_sealing: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @contextmanager
    def spent(self, stage: Stage) -> Iterator[None]:
        """Add the time within the block to a stage, also if it raises."""
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            name = f"seconds_{stage}"
            with self._lock:
                setattr(self, name, getattr(self, name) + seconds)

    def count_release(self) -> None:
        """One more release has left."""
        with self._lock:
            self.releases += 1
