from __future__ import annotations

from typing import Any

import pytest

from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.plan import plan_for
from fedward.common.study.definition import Study
from fedward.server.release_log import ReleaseRecord
from fedward.simulations.spending import spent_after, spent_by


@pytest.mark.parametrize("local", [False, True])
def test_it_grows_round_by_round_to_what_was_planned(
    study: Study, local_study: Study, local: bool
) -> None:
    chosen = local_study if local else study
    plan = plan_for(chosen, sites=3)
    spent = [
        spent_after(plan, chosen, rounds=number) for number in range(chosen.training.rounds + 1)
    ]

    assert all(value is not None for value in spent)
    assert spent == sorted(spent)
    assert len(set(spent)) == len(spent)
    assert plan.scaler is not None
    assert spent[0] == pytest.approx(
        epsilon_of([plan.scaler.event()], delta=plan.accounting_delta), abs=0.01
    )
    assert spent[-1] == pytest.approx(plan.epsilon, abs=0.02)


def record(site: str, kind: str, noise: float, **changes: Any) -> ReleaseRecord:
    fields: dict[str, Any] = {
        "site": site,
        "kind": kind,
        "session": 1,
        "round": 1,
        "attempt": 1,
        "query_digest": "0" * 64,
        "release_digest": None,
        "executed": {
            "noise_multiplier": noise,
            "share_multiplier": noise / 2,
            "sampling_rate": 1.0,
            "count": 1,
        },
        "masked": True,
        "bytes": 0,
        "query_bytes": 0,
        "summed": False,
        "charged": True,
        "failure": None,
    }
    return ReleaseRecord.model_validate(fields | changes)


def epsilon(noise: float, count: int = 1) -> float:
    event = GaussianEvent(noise_multiplier=noise, sampling_rate=1.0, count=count)
    return epsilon_of([event], delta=1e-5)


def test_the_worse_part_of_the_worst_site_counts() -> None:
    records = [
        record("a", "training", 8.0),
        record("a", "training", 8.0, attempt=2),
        record("a", "evaluation", 4.0),
        record("b", "training", 8.0),
    ]
    spent = spent_by(records, sites=("a", "b"), delta=1e-5)

    # Two sums of training patients cost less than one of held-out patients with half the noise.
    assert spent.epsilon.epsilon == epsilon(4.0) > epsilon(8.0, 2)
    assert spent.epsilon_alone == epsilon(2.0)
    assert spent_by(records, sites=("b",), delta=1e-5).epsilon.epsilon == epsilon(8.0)


def test_a_lost_attempt_costs_what_a_complete_one_does_and_a_refusal_nothing() -> None:
    lost = record("a", "training", 5.0, failure="is down")
    refused = record("a", "training", 5.0, failure="refused", charged=False, executed=None)

    assert spent_by([lost, refused], sites=("a",), delta=1e-5).epsilon.epsilon == epsilon(5.0)


def test_lost_attempts_are_spent_as_they_go(study: Study) -> None:
    plan = plan_for(study, sites=3)
    assert spent_after(plan, study, rounds=1, lost=2) == spent_after(plan, study, rounds=3)


def test_nothing_is_spent_without_privacy(study: Study) -> None:
    assert spent_after(None, study, rounds=3) is None
