from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fedward.common.privacy.plan import plan_for
from fedward.common.protocol.queries import EvaluationQuery, decode_query
from fedward.common.protocol.releases import RefusalReason
from fedward.common.study.definition import Study
from fedward.common.study.score_sums import score_sums_length
from fedward.server.closing_sums import closing_sums
from fedward.server.errors import CoordinationError
from fedward.server.sum_rounds import SumRounds
from fedward.server.training.state import TrainingState

MakeStudy = Callable[..., Study]
UNIT = 2.0**-24
BINS = 2


def state_of(study: Study) -> TrainingState:
    return TrainingState(
        run_id="run",
        study_digest=study.digest,
        round=4,
        logged=0,
        tail_count=2,
        parameters=np.array([9.0, 9.0, 9.0, 9.0]),
        first=np.zeros(4),
        second=np.zeros(4),
        tail=np.array([2.0, 4.0, 6.0, 8.0]),
        center=np.full(3, 0.5),
        scale=np.full(3, 2.0),
    )


@pytest.fixture
def closed(
    make_study: MakeStudy, federate: Callable[..., Any]
) -> Callable[..., tuple[TrainingState, Any, SumRounds]]:
    """The state after all closing sums over four sites, the grid, and the rounds."""

    def close(
        *,
        faults: dict[str, dict[int, Callable[[bytes], object]]] | None = None,
        evaluation: dict[str, Any] | None = None,
        **tables: Any,
    ) -> tuple[TrainingState, Any, SumRounds]:
        study = make_study(evaluation={"score_bins": BINS} | (evaluation or {}), **tables)
        federation = federate("abcd", study)
        for name, site in federation.sites.items():
            site.summand = lambda query: (
                (5, 2) if query.kind == "counts" else range(score_sums_length(BINS))
            )
            site.faults = {
                number: lambda frame, fault=fault, site=site: fault(site, frame)
                for number, fault in (faults or {}).get(name, {}).items()
            }
        grid = federation.grid()
        rounds = SumRounds(grid, study, federation.options())
        rounds.begin()
        state = state_of(study)
        for _, ask in closing_sums(rounds, study):
            state = ask(rounds, study, state)
        return state, grid, rounds

    return close


def names_of(study: Study, federation: Any) -> list[str]:
    rounds = SumRounds(federation.grid(), study, federation.options())
    return [name for name, _ in closing_sums(rounds, study)]


def test_what_is_asked_for_follows_from_the_study(
    make_study: MakeStudy, federate: Callable[..., Any]
) -> None:
    federation = federate("abcd")
    groups = {"groups": {"north": ("b", "d")}, "per_site": True}

    assert names_of(make_study(), federation) == ["evaluation/all"]
    assert names_of(make_study(evaluation={"release": False}), federation) == []
    assert names_of(make_study(evaluation=groups, statistics={}), federation) == [
        "evaluation/north",
        "evaluation/others",
        "site_evaluation",
        "counts",
    ]


def test_groups_that_do_not_fit_the_roster_are_an_error(
    make_study: MakeStudy, federate: Callable[..., Any]
) -> None:
    study = make_study(evaluation={"groups": {"north": ("a", "b", "c")}})

    with pytest.raises(CoordinationError, match="leave 1 of the roster's sites"):
        names_of(study, federate("abcd"))


def test_the_model_that_is_evaluated_is_the_mean_of_its_tail(closed: Callable[..., Any]) -> None:
    state, grid, _ = closed(evaluation={"per_site": True})
    frames = list(dict.fromkeys(grid.frames))[1:]

    assert len(frames) == 2
    for frame in frames:
        _, arrays = decode_query(frame)
        assert arrays["parameters"].tolist() == [1.0, 2.0, 3.0, 4.0]
        assert arrays["center"].tolist() == [0.5] * 3
        assert arrays["scale"].tolist() == [2.0] * 3
    # The training's own parameters stay.
    assert state.parameters.tolist() == [9.0] * 4


def test_sums_are_kept_with_their_noise(closed: Callable[..., Any], make_study: MakeStudy) -> None:
    tables: dict[str, Any] = {"evaluation": {"per_site": True}, "statistics": {}}
    state, _, _ = closed(**tables)
    scores = [UNIT * value for value in range(9)]

    assert [(one.kind, one.name) for one in state.sums] == [
        ("evaluation", "all"),
        *[("site_evaluation", site) for site in "abcd"],
        ("counts", ""),
    ]
    assert state.sums[0].total.tolist() == [4 * value for value in scores]
    assert state.sums[1].total.tolist() == scores
    assert state.sums[-1].total.tolist() == [20 * UNIT, 8 * UNIT]
    # Any three of four shares make up what is planned; each site's own has all of it.
    plan = plan_for(make_study(**tables), sites=4)
    assert plan.evaluation is not None
    assert plan.site_evaluation is not None
    assert plan.counts is not None
    more = (4 / 3) ** 0.5
    assert [one.noise_deviation for one in state.sums] == pytest.approx(
        [
            plan.evaluation.noise_multiplier * more,
            *[plan.site_evaluation.noise_multiplier] * 4,
            plan.counts.noise_multiplier * more,
        ]
    )
    assert state.notes == ()


def failing(site: Any, frame: bytes) -> RuntimeError:
    return RuntimeError("down")


def refusing(site: Any, frame: bytes) -> object:
    return site.refused(frame, RefusalReason.NOT_ALLOWED)


def test_what_is_missing_is_a_note(closed: Callable[..., Any]) -> None:
    groups = {"groups": {"north": ("a", "b")}, "per_site": True}
    state, grid, _ = closed(
        evaluation=groups,
        statistics={},
        faults={
            "a": {1: failing, 2: failing, 3: failing},
            "c": {2: refusing},
            "d": {2: failing, 3: failing},
        },
    )

    assert [(one.kind, one.name) for one in state.sums] == [
        ("evaluation", "others"),
        ("site_evaluation", "b"),
        ("counts", ""),
    ]
    assert [query.group for query in grid.sums if isinstance(query, EvaluationQuery)] == [
        "north",
        "others",
    ]
    assert state.notes == (
        "There is no evaluation of group north: 1 of 2 sites are left for the evaluation of group "
        "north, and 2 are needed: a in the evaluation of group north, attempt 1: down.",
        "There is no evaluation of a by itself: does not take part.",
        "There is no evaluation of c by itself: refused (not_allowed): It does not want to.",
        "There is no evaluation of d by itself: down.",
        "The count of outcomes lacks a, d.",
    )


def test_below_the_minimum_nothing_is_asked_and_each_is_a_note(closed: Callable[..., Any]) -> None:
    down = dict.fromkeys(range(1, 9), failing)
    state, grid, _ = closed(
        evaluation={"per_site": True},
        statistics={},
        faults={"a": down, "b": down, "c": down},
    )

    assert state.sums == ()
    assert len(grid.sums) == 1
    assert [note.split(":")[0] for note in state.notes] == [
        "There is no evaluation of group all",
        "There is no evaluation of each site",
        "There is no count of outcomes",
    ]
