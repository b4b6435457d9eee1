from __future__ import annotations

import pytest

from fedward.common.privacy.accounting import epsilon_of
from fedward.common.privacy.plan import plan_for
from fedward.common.study.definition import Study
from fedward.simulations.spending import spent_after


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


def test_nothing_is_spent_without_privacy(study: Study) -> None:
    assert spent_after(None, study, rounds=3) is None
