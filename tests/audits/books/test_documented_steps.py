"""Epsilons of documented training, of which one example is real and published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fedward.audits.books.documented_steps import (
    DocumentedSteps,
    StepsAudit,
    audit_steps,
    load_steps,
    shipped_examples,
)
from fedward.common.errors import InputError, InputErrors
from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.events import GaussianEvent

DOCUMENT: dict[str, Any] = {
    "about": {"name": "a", "title": "A", "sources": ("here",)},
    "claim": {"epsilon": 2.0, "delta": 1e-5},
    "training": {"rounds": 10, "steps_per_round": 5, "sampler": "poisson"},
    "noise": {"noise_multiplier": 4.0},
    "sites": ({"name": "north", "patients": 100, "batch_size": 10},),
}


def audited(**tables: Any) -> StepsAudit:
    return audit_steps(DocumentedSteps.model_validate(DOCUMENT | tables))


def test_flambys_epsilon_1_on_heart_disease_is_not_1() -> None:
    audit = audit_steps(load_steps("flamby_heart_disease"))

    found = {cost.site: cost.poisson for cost in audit.sites}
    assert {site: round(one.epsilon or 0, 2) for site, one in found.items()} == {
        "Cleveland": 1.47,
        "Hungary": 1.60,
        "Switzerland": 4.21,
        "Long Beach": 2.33,
    }
    assert (audit.claimed_epsilon, audit.delta) == (1.0, 1e-4)
    for one in found.values():
        assert one.epsilon is not None
        assert one.prv_low is not None
        assert one.prv_high is not None
        assert one.rdp is not None
        assert one.prv_low <= one.epsilon <= one.prv_high < one.rdp
    assert not audit.passed


def test_over_the_passes_that_it_was_calibrated_for_flambys_claim_holds() -> None:
    """What is wrong is the number of steps, not the calibration."""
    steps = load_steps("flamby_heart_disease")
    training = steps.training.model_copy(update={"rounds": 1, "steps_per_round": 1})
    passes = tuple(site.model_copy(update={"steps": 15 * site.batches}) for site in steps.sites)

    audit = audit_steps(steps.model_copy(update={"training": training, "sites": passes}))

    assert [cost.poisson.epsilon for cost in audit.sites] == pytest.approx([1.0] * 4, abs=2e-4)
    assert audit.passed


def test_the_cost_is_that_of_the_steps_at_their_rate() -> None:
    (cost,) = audited().sites

    event = GaussianEvent(noise_multiplier=4.0, sampling_rate=0.1, count=50)
    assert cost.poisson.epsilon == epsilon_of([event], delta=1e-5)
    everyone = GaussianEvent(noise_multiplier=4.0, count=5)
    assert cost.unsampled.epsilon == epsilon_of([everyone], delta=1e-5)


def test_a_site_may_have_noise_and_steps_of_its_own() -> None:
    site = {"name": "n", "patients": 100, "batch_size": 10, "noise_multiplier": 8.0, "steps": 20}

    (cost,) = audited(sites=(site,)).sites

    event = GaussianEvent(noise_multiplier=8.0, sampling_rate=0.1, count=20)
    assert cost.poisson.epsilon == epsilon_of([event], delta=1e-5)


def test_shuffled_batches_get_no_credit_for_sampling() -> None:
    shuffled = DOCUMENT["training"] | {"sampler": "shuffled"}
    poisson, unknown = audited(), audited(training=shuffled)
    enough = audited(training=shuffled, noise={"noise_multiplier": 40.0})

    assert poisson.passed
    assert unknown.holds(unknown.sites[0]) is None
    assert not unknown.passed
    assert enough.passed


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"noise": {}}, "noise must be told in one way"),
        (
            {"noise": {"noise_multiplier": 1.0, "calibrated_for_epochs": 2}},
            "noise must be told in one way",
        ),
        ({"sites": ({"name": "n", "patients": 3, "batch_size": 4},)}, "batch_size is above"),
        ({"claim": {"epsilon": 0.0, "delta": 1e-5}}, "greater than or equal"),
    ],
)
def test_what_cannot_be_is_refused(tables: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        audited(**tables)


def test_an_unknown_example_names_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="flamby_heart_disease"):
        load_steps("flamby_heart")
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[about]\nname = 'a'\n")
    with pytest.raises(InputErrors, match=r"wrong\.toml: claim is missing"):
        load_steps(str(wrong))


@pytest.mark.parametrize("name", shipped_examples())
def test_every_shipped_example_says_where_it_is_documented(name: str) -> None:
    sources = load_steps(name).about.sources

    assert sources
    assert all(source.startswith("https://") for source in sources)
