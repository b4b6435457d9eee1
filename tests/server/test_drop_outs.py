"""Real vaults that fail: before they answer, while they do, and after they were charged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from fedward.common.privacy.budget import RunBudget
from fedward.common.privacy.plan import PrivacyPlan, plan_for
from fedward.common.protocol.queries import OpenSessionQuery, decode_query
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions
from fedward.server.coordinator import CompletedRun, coordinate
from fedward.server.errors import BudgetSpent, CoordinationError
from fedward.server.release_log import ReleaseRecord
from fedward.server.run_options import RunOptions
from fedward.simulations.federation import SimulatedSite
from fedward.simulations.unprotected import Unprotected

MakeStudy = Callable[..., Study]
MakeSites = Callable[..., list[SimulatedSite]]
MakeOptions = Callable[..., RunOptions]
Place = tuple[str, int, int]
"""Kind of the query, round, attempt."""
FAULTS = ("before", "after", "bad seal", "cut short", "silent")


@dataclass
class Site:
    """A vault behind a connection that fails at some places of the run."""

    site: SimulatedSite
    faults: dict[Place, str]
    down_from: Place | None = None
    asked: list[Place] = field(default_factory=list)
    answered: list[Place] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.vault = self.site.vault()
        self.down = False

    def answer(self, frame: bytes) -> object:
        query = decode_query(frame)[0]
        if isinstance(query, OpenSessionQuery):
            return ConnectionError("down") if self.down else self.vault.answer(frame)
        place = (query.kind, query.round, query.attempt)
        self.asked.append(place)
        fault = self.faults.get(place, "")
        self.down = self.down or place == self.down_from
        if fault == "before" or self.down:
            return ConnectionError("down")
        sealed = self.vault.answer(frame)
        self.answered.append(place)
        said: dict[str, object] = {
            "after": ConnectionError("went down after it had answered"),
            "bad seal": sealed[:-1] + bytes([sealed[-1] ^ 1]),
            "cut short": sealed[:-80],
            "silent": None,
        }
        return said.get(fault, sealed)


@dataclass
class Outcome:
    run: CompletedRun
    grid: Any
    sites: list[Site]
    plan: PrivacyPlan

    def of(self, kind: str) -> list[tuple[int, int, int]]:
        """Round, attempt and number of sites of each query of a kind."""
        return [
            (query.round, query.attempt, len(query.roster))
            for query in self.grid.sums
            if query.kind == kind
        ]


@pytest.fixture
def ran(
    make_sites: MakeSites, make_options: MakeOptions, make_grid: Any, impatient: Any
) -> Callable[..., Outcome]:
    """A run over some vaults, by default four, within the study's budget; ``checked`` after it."""

    def run(
        study: Study,
        faults: dict[int, dict[Place, str]] | None = None,
        *,
        down_from: dict[int, Place] | None = None,
        count: int = 4,
        checkpoints: Any = None,
        **options: Any,
    ) -> Outcome:
        recipes = make_sites(study, count=count, noise_seed=1)
        sites = [
            Site(
                recipe,
                (faults or {}).get(number, {}),
                down_from=(down_from or {}).get(number),
            )
            for number, recipe in enumerate(recipes)
        ]
        plan = plan_for(study, sites=count, coordinates=Dimensions.of(study).longest)
        options.setdefault("budget", RunBudget(plan))
        grid = make_grid([site.answer for site in sites])
        if any("silent" in site.faults.values() for site in sites):
            grid = impatient(grid)
        completed = coordinate(
            grid,
            study,
            options=make_options(count, timeout=60.0, **options),
            checkpoints=checkpoints,
        )
        outcome = Outcome(completed, grid, sites, plan)
        checked(outcome)
        return outcome

    return run


def checked(outcome: Outcome) -> None:
    """No vault was charged for more than the log says, nor anybody for more than is planned."""
    budget = RunBudget(outcome.plan)
    for site in outcome.sites:
        lines = [line for line in outcome.run.records if line.site == site.site.name]
        places = [(line.round, line.attempt) for line in lines if line.charged]
        assert len(set(places)) == len(places)
        assert {place[1:] for place in site.answered} <= set(places)
        charged: Counter[Any] = Counter()
        for line in lines:
            if line.charged:
                assert line.executed is not None
                assert budget.allows(charged, line.kind, line.executed.count)
                charged[line.kind] += line.executed.count


def lost_of(records: Sequence[ReleaseRecord]) -> list[tuple[str, int, int, str]]:
    return [(line.kind, line.round, line.attempt, line.site) for line in records if line.failure]


@pytest.mark.parametrize("fault", FAULTS)
def test_training_goes_on_without_a_site_that_fails(
    study: Study, ran: Callable[..., Outcome], fault: str
) -> None:
    outcome = ran(study, {1: {("gradient_sum", 2, 1): fault}})

    # Four rounds are paid for, and one of them was lost.
    assert outcome.of("gradient_sum") == [(1, 1, 4), (2, 1, 4), (2, 2, 3), (3, 1, 3)]
    assert outcome.run.state.round == 3
    assert outcome.run.state.lost == 1
    assert lost_of(outcome.run.records) == [("training", 2, 1, "site-1")]
    # Its vault computed unless it failed before; the log does not rely on it.
    assert (("gradient_sum", 2, 1) in outcome.sites[1].answered) == (fault != "before")
    assert outcome.run.notes == (
        "The training ended after 3 of 4 rounds: lost attempts used up the rest of its budget.",
        "The evaluation of group all lacks site-1.",
    )


def test_an_attempt_has_its_own_noise_and_masks(study: Study, ran: Callable[..., Outcome]) -> None:
    """The survivors' two answers to one round share nothing that could be subtracted."""
    outcome = ran(study, {1: {("gradient_sum", 2, 1): "before"}})
    digests = [line.release_digest for line in outcome.run.records if line.release_digest]

    assert len(set(digests)) == len(digests)


def test_spare_attempts_leave_the_training_whole(
    make_study: MakeStudy, ran: Callable[..., Outcome]
) -> None:
    study = make_study(privacy={"spare_attempts": 2})
    outcome = ran(
        study, {1: {("gradient_sum", 2, 1): "after"}, 2: {("gradient_sum", 3, 1): "before"}}
    )

    assert outcome.of("gradient_sum") == [
        (1, 1, 4),
        (2, 1, 4),
        (2, 2, 3),
        (3, 1, 3),
        (3, 2, 2),
        (4, 1, 2),
    ]
    assert (outcome.run.state.round, outcome.run.state.lost) == (4, 2)
    # After five sums they are asked back, in time for the evaluation.
    assert outcome.of("evaluation") == [(5, 1, 4)]
    assert outcome.run.notes == ()


def test_a_lost_scaler_is_asked_again_at_the_cost_of_later_rounds(
    study: Study, ran: Callable[..., Outcome]
) -> None:
    outcome = ran(study, {0: {("moments", 0, 1): "after"}})

    assert outcome.of("moments") == [(0, 1, 4), (0, 2, 3)]
    # The scaler's fifth of the budget is worth a whole round here, and a little more.
    assert outcome.of("gradient_sum") == [(1, 1, 3), (2, 1, 3), (3, 1, 3)]
    assert outcome.run.state.lost == 0
    assert len(outcome.run.notes) == 2


def test_with_sampled_batches_a_lost_scaler_ends_the_run(
    make_study: MakeStudy, ran: Callable[..., Outcome]
) -> None:
    sampled = {
        "method": "distributed",
        "rounds": 3,
        "learning_rate": 1.0,
        "batch": "poisson",
        "sampling_rate": 0.5,
    }
    study = make_study(training=sampled)
    faults = {1: {("moments", 0, 1): "before"}}

    with pytest.raises(BudgetSpent, match="pays for no other attempt at the sum for the scaler"):
        ran(study, faults)
    spare = ran(make_study(training=sampled, privacy={"spare_attempts": 1}), faults)
    assert spare.run.state.round == 3


@pytest.mark.parametrize("local", [False, True])
def test_sampled_and_local_training_end_sooner_by_what_was_lost(
    make_study: MakeStudy, ran: Callable[..., Outcome], local: bool
) -> None:
    sampled = {
        "method": "distributed",
        "rounds": 3,
        "learning_rate": 1.0,
        "batch": "poisson",
        "sampling_rate": 0.5,
    }
    study = make_study(local=True) if local else make_study(training=sampled)
    kind = "local_update" if local else "gradient_sum"
    outcome = ran(study, {1: {(kind, 1, 1): "after"}})

    assert outcome.of(kind) == [(1, 1, 4), (1, 2, 3), (2, 1, 3)]
    assert outcome.run.state.round == 2


def test_a_lost_evaluation_is_a_note(study: Study, ran: Callable[..., Outcome]) -> None:
    outcome = ran(study, {2: {("evaluation", 5, 1): "after"}})

    assert outcome.run.state.round == 4
    assert outcome.run.evaluation == {}
    assert outcome.of("evaluation") == [(5, 1, 4)]
    assert outcome.run.notes == (
        "There is no evaluation of group all: the study's budget pays for no other attempt at the "
        "evaluation of group all; privacy.spare_attempts pays for more in advance.",
    )


def test_a_spare_attempt_saves_the_evaluation(
    make_study: MakeStudy, ran: Callable[..., Outcome]
) -> None:
    study = make_study(privacy={"spare_attempts": 1})
    outcome = ran(study, {2: {("evaluation", 5, 1): "after"}})

    assert set(outcome.run.evaluation) == {"all"}
    assert outcome.of("evaluation") == [(5, 1, 4), (5, 2, 3)]
    assert outcome.run.notes == ("The evaluation of group all lacks site-2.",)


def test_a_group_that_falls_below_the_minimum_costs_the_others_nothing(
    make_study: MakeStudy, ran: Callable[..., Outcome]
) -> None:
    study = make_study(
        privacy={"spare_attempts": 1}, evaluation={"groups": {"north": ("site-0", "site-1")}}
    )
    asked_back = ran(study, {1: {("evaluation", 5, 1): "after"}})
    assert set(asked_back.run.evaluation) == {"north", "others"}
    assert asked_back.of("evaluation") == [(5, 1, 2), (5, 2, 2), (5, 1, 2)]
    gone = ran(study, down_from={1: ("evaluation", 5, 1)})
    assert set(gone.run.evaluation) == {"others"}
    (note,) = gone.run.notes
    assert note == (
        "There is no evaluation of group north: 1 of 2 sites are left for the evaluation of group "
        "north, and 2 are needed: site-1 in the evaluation of group north, attempt 1: down."
    )


def test_the_counts_keep_their_share_of_the_budget(
    make_study: MakeStudy, ran: Callable[..., Outcome]
) -> None:
    study = make_study(statistics={})
    outcome = ran(study, {1: {("gradient_sum", 2, 1): "before", ("gradient_sum", 3, 1): "before"}})

    assert outcome.run.counts is not None
    assert outcome.of("counts") == [(7, 1, 4)]
    assert outcome.run.state.round == 3


def test_two_sites_at_once_cost_one_attempt(study: Study, ran: Callable[..., Outcome]) -> None:
    outcome = ran(
        study, {1: {("gradient_sum", 2, 1): "before"}, 3: {("gradient_sum", 2, 1): "after"}}
    )

    assert outcome.of("gradient_sum") == [(1, 1, 4), (2, 1, 4), (2, 2, 2), (3, 1, 2)]
    assert lost_of(outcome.run.records) == [
        ("training", 2, 1, "site-1"),
        ("training", 2, 1, "site-3"),
    ]


def test_below_the_minimum_the_run_ends_with_names_places_and_reasons(
    study: Study, ran: Callable[..., Outcome], make_checkpoints: Any
) -> None:
    kept = make_checkpoints()
    with pytest.raises(CoordinationError) as caught:
        ran(
            study,
            down_from={0: ("gradient_sum", 1, 1), 2: ("gradient_sum", 2, 1)},
            count=3,
            checkpoints=kept,
        )

    assert str(caught.value) == (
        "1 of 3 sites are left for the training sum of round 2, and 2 are needed: "
        "site-0 in the training sum of round 1, attempt 1: down; "
        "site-2 in the training sum of round 2, attempt 1: down"
    )
    # What was lost is in the log that a later run goes on from.
    state, records = kept.kept
    assert (state.round, state.lost) == (1, 2)
    assert lost_of(records) == [("training", 1, 1, "site-0"), ("training", 2, 1, "site-2")]


def test_a_site_comes_back_with_the_next_session(
    make_study: MakeStudy, ran: Callable[..., Outcome]
) -> None:
    study = make_study(
        training={"method": "distributed", "rounds": 7, "learning_rate": 1.0},
        privacy={"spare_attempts": 1},
    )
    outcome = ran(study, {1: {("gradient_sum", 1, 1): "before"}}, rejoin_after=3)

    # The scaler's sum and two rounds are the first three.
    assert outcome.of("gradient_sum") == [
        (1, 1, 4),
        (1, 2, 3),
        (2, 1, 3),
        *[(number, 1, 4) for number in range(3, 8)],
    ]
    assert [query.session for query in outcome.grid.sums] == [1, 1, 1, 1, 2, 2, 2, 2, 2, 2]
    assert outcome.run.notes == ()
    assert outcome.run.state.session == 2


def test_a_vault_that_is_restarted_comes_back_too(
    make_study: MakeStudy, make_sites: MakeSites, make_options: MakeOptions, make_grid: Any
) -> None:
    study = make_study(privacy={"spare_attempts": 1})
    sites = make_sites(study)
    vaults = [site.vault() for site in sites]
    grid = make_grid([lambda frame, n=n: vaults[n].answer(frame) for n in range(3)])

    def restart(state: Any) -> None:
        if state.round == 1:
            vaults[1] = sites[1].vault()

    run = coordinate(
        grid,
        study,
        options=make_options(study=study, timeout=60.0, rejoin_after=1),
        on_round=restart,
    )
    (lost,) = [line for line in run.records if line.failure]

    assert lost.failure is not None
    assert lost.failure.startswith("refused (unknown_session)")
    assert (lost.site, lost.round, lost.charged) == ("site-1", 2, False)
    assert [line.site for line in run.records][-3:] == ["site-0", "site-1", "site-2"]
    assert run.state.round == 4


def test_a_site_with_a_cap_of_its_own_is_left_out_when_it_is_reached(
    study: Study, make_sites: MakeSites, make_options: MakeOptions, make_grid: Any
) -> None:
    plan = plan_for(study, sites=4, coordinates=Dimensions.of(study).longest)
    sites = make_sites(study, count=4)
    sites[2] = make_sites(study, count=4, policy={"epsilon_cap": 0.75 * plan.training_epsilon})[2]
    grid = make_grid([site.vault().answer for site in sites])
    run = coordinate(
        grid, study, options=make_options(4, timeout=60.0, budget=RunBudget(plan), rejoin_after=99)
    )
    (refused,) = [line for line in run.records if line.failure]

    assert refused.site == "site-2"
    assert refused.failure is not None
    assert refused.failure.startswith("refused (budget_exceeded)")
    assert not refused.charged
    assert refused.executed is None
    assert 1 <= run.state.round < 4


def test_a_coordinator_that_was_killed_goes_on_where_its_log_ends(
    make_study: MakeStudy,
    make_sites: MakeSites,
    make_options: MakeOptions,
    make_grid: Any,
    make_checkpoints: Any,
) -> None:
    """It had asked for round 3 when it was killed; every vault remembers, the log does not."""
    study = make_study(privacy={"spare_attempts": 1})
    vaults = [site.vault() for site in make_sites(study)]
    kept = make_checkpoints()
    budget = RunBudget(plan_for(study, sites=3, coordinates=Dimensions.of(study).longest))
    options = make_options(timeout=60.0, budget=budget)

    class Killed(BaseException):
        pass

    def third(frame: bytes) -> bytes:
        query = decode_query(frame)[0]
        answer = vaults[2].answer(frame)
        if not isinstance(query, OpenSessionQuery) and query.round == 3:
            raise Killed
        return answer

    with pytest.raises(Killed):
        coordinate(
            make_grid([vaults[0].answer, vaults[1].answer, third]),
            study,
            options=options,
            checkpoints=kept,
        )
    assert kept.kept[0].round == 2
    grid = make_grid([vault.answer for vault in vaults])
    run = coordinate(grid, study, options=options, checkpoints=kept)

    assert [(q.session, q.round, q.attempt, len(q.offers)) for q in grid.sums] == [
        (2, 3, 1, 3),
        (2, 3, 2, 3),
        (2, 4, 1, 0),
        (2, 5, 1, 0),
    ]
    assert [line.failure and line.failure[:26] for line in run.records[9:12]] == [
        "refused (already_answered)"
    ] * 3
    assert all(line.charged and line.executed for line in run.records)
    assert run.state.round == 4
    assert run.notes == ()


def test_the_model_of_the_survivors_is_that_of_their_patients(
    make_study: MakeStudy, make_sites: MakeSites, make_options: MakeOptions, make_grid: Any
) -> None:
    """Without noise: a step over three of four sites is the mean over their declared patients."""
    study = make_study(
        scaling={"method": "public_range"},
        training={"method": "distributed", "rounds": 1, "learning_rate": 2.0},
        evaluation={"release": False},
    )
    recipes = make_sites(study, protection=Unprotected(largest_site=100), count=4)
    sites = [Site(recipe, {}) for recipe in recipes]
    sites[1].faults[("gradient_sum", 1, 1)] = "after"
    grid = make_grid([site.answer for site in sites])
    run = coordinate(grid, study, options=make_options(4, timeout=60.0))
    total = np.zeros(4)
    for number in (0, 2, 3):
        cohort = recipes[number].cohort
        rows = np.hstack([cohort.features, np.ones((len(cohort.features), 1))])
        by_row = (0.5 - cohort.target)[:, None] * rows
        means = np.add.reduceat(by_row, cohort.offsets[:-1]) / np.diff(cohort.offsets)[:, None]
        total += means.sum(axis=0)

    np.testing.assert_allclose(
        run.state.parameters, -2.0 * total / (study.cohort.expected_patients * 3 / 4), atol=1e-7
    )


def test_the_scaler_of_the_survivors_stands_for_all_sites(
    make_study: MakeStudy, make_sites: MakeSites, make_options: MakeOptions, make_grid: Any
) -> None:
    training = {"method": "distributed", "rounds": 1, "learning_rate": 1.0}
    recipes = make_sites(make_study(training=training), count=4)
    patients = [recipe.cohort.patient_count for recipe in recipes]
    # Declared so that the three sites have exactly their part of what is declared for four.
    declared = sum(patients[:3]) * 4 // 3
    study = make_study(training=training, cohort={"expected_patients": declared})
    recipes = make_sites(study, protection=Unprotected(largest_site=100), count=4)
    sites = [Site(recipe, {}) for recipe in recipes]
    sites[3].faults[("moments", 0, 1)] = "before"
    run = coordinate(
        make_grid([site.answer for site in sites]), study, options=make_options(4, timeout=60.0)
    )
    means = []
    for recipe in recipes[:3]:
        cohort = recipe.cohort
        rows = np.diff(cohort.offsets)[:, None]
        means.append(np.add.reduceat(cohort.features, cohort.offsets[:-1]) / rows)

    np.testing.assert_allclose(run.state.center, np.vstack(means).mean(axis=0), atol=1e-6)
