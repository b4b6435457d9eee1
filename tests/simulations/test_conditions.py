from __future__ import annotations

from fedward.simulations.conditions import Conditions


def test_masks_are_on_and_nobody_fails_unless_it_is_said() -> None:
    usual = Conditions(insecure_noise_seed=None)

    assert (usual.masked, usual.drop_out) == (True, 0.0)
    assert usual.randomness.is_secure


def test_a_seed_of_zero_is_a_seed() -> None:
    assert not Conditions(insecure_noise_seed=0).randomness.is_secure
