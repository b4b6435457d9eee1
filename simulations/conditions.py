"""How the hospitals of an experiment are run, in all of its arms alike."""

from __future__ import annotations

from dataclasses import dataclass

from fedward.common.privacy.random_source import RandomSource


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What a simulation may change about a federation beside its study.

    ``insecure_noise_seed`` makes noise, batches and keys reproducible, and every guarantee void.
    ``masked`` False leaves out the masks. ``drop_out`` is the chance with which a hospital fails
    one exchange of a federated arm.
    """

    insecure_noise_seed: int | None
    masked: bool = True
    drop_out: float = 0.0

    @property
    def randomness(self) -> RandomSource:
        """Where keys and noise come from."""
        seed = self.insecure_noise_seed
        return RandomSource.from_os() if seed is None else RandomSource.insecure(seed)
