from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedward.common.errors import InputError
from fedward.common.ledger.heads import KnownHead
from fedward.common.privacy.budget import RunBudget
from fedward.common.privacy.plan import plan_for
from fedward.common.protocol.queries import (
    CloseSessionQuery,
    CountsQuery,
    EvaluationQuery,
    GradientSumQuery,
    LocalUpdateQuery,
    MomentsQuery,
    OpenSessionQuery,
    SiteEvaluationQuery,
    decode_query,
)
from fedward.common.protocol.releases import RefusalReason
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions
from fedward.server.coordinator import CompletedRun, coordinate
from fedward.server.errors import CoordinationError
from fedward.server.head_book import MemoryHeads
from fedward.server.run_options import RunOptions
from fedward.server.training.state import TrainingState
from fedward.simulations.federation import SimulatedSite
from fedward.simulations.unprotected import Unprotected

MakeStudy = Callable[..., Study]
MakeGrid = Callable[..., Any]
MakeSites = Callable[..., list[SimulatedSite]]
MakeOptions = Callable[..., RunOptions]
MakeCheckpoints = Callable[..., Any]
COORDINATOR = SiteIdentity.from_private_bytes(b"c" * 32)


@pytest.fixture
def options(make_options: MakeOptions) -> Callable[..., RunOptions]:
    """Options of a run of a study, within its budget; None for vaults without privacy."""
    return lambda study, **changes: make_options(study=study, timeout=60.0, **changes)


@pytest.fixture
def grid_of(make_grid: MakeGrid, make_sites: MakeSites) -> Callable[..., Any]:
    """A grid whose nodes are true vaults of three sites."""

    def make(study: Study, *, noise_seed: int | None = 1, **options: Any) -> Any:
        sites = make_sites(study, noise_seed=noise_seed, policy={"allow_site_evaluation": True})
        return make_grid([site.vault().answer for site in sites], **options)

    return make


WHOLE: dict[str, Any] = {"statistics": {}, "evaluation": {"per_site": True}}


def test_a_run_scales_trains_evaluates_and_counts(
    make_study: MakeStudy, grid_of: Callable[..., Any], options: Callable[..., RunOptions]
) -> None:
    study = make_study(**WHOLE)
    grid = grid_of(study)
    run = coordinate(grid, study, options=options(study))
    queries = grid.queries

    assert [type(query) for query in queries] == [
        OpenSessionQuery,
        MomentsQuery,
        *[GradientSumQuery] * 4,
        EvaluationQuery,
        SiteEvaluationQuery,
        CountsQuery,
    ]
    assert [query.round for query in queries[1:]] == list(range(8))
    assert {query.attempt for query in queries[1:]} == {1}
    assert {query.roster for query in queries[1:]} == {("site-0", "site-1", "site-2")}
    assert {(query.run_id, query.study_digest) for query in queries} == {("run", study.digest)}
    assert {query.session for query in queries} == {1}
    assert [len(query.offers) for query in queries[1:]] == [3, 0, 0, 0, 0, 0, 0, 0]
    assert len(grid.frames) == 3 * 9

    assert run.state.round == study.training.rounds
    assert run.state.logged == len(run.records) == 3 * 8
    assert (run.state.session, run.state.lost, run.notes) == (1, 0, ())
    assert {(line.kind, line.masked) for line in run.records} == {
        ("moments", True),
        ("training", True),
        ("evaluation", True),
        ("site_evaluation", False),
        ("counts", True),
    }
    assert all(line.summed and line.charged and line.executed for line in run.records)


def test_what_is_not_in_the_study_is_not_asked_for(
    make_study: MakeStudy, grid_of: Callable[..., Any], options: Callable[..., RunOptions]
) -> None:
    study = make_study(scaling={"method": "public_range"}, evaluation={"release": False})
    grid = grid_of(study)
    run = coordinate(grid, study, options=options(study))

    assert {type(query) for query in grid.queries} == {OpenSessionQuery, GradientSumQuery}
    assert run.state.center.tolist() == [0.0] * 3
    assert run.state.scale.tolist() == [1.0] * 3
    assert (run.evaluation, run.site_evaluation, run.counts) == ({}, {}, None)


def test_a_local_study_asks_for_updates(
    local_study: Study, grid_of: Callable[..., Any], options: Callable[..., RunOptions]
) -> None:
    grid = grid_of(local_study)
    coordinate(grid, local_study, options=options(local_study))

    assert {type(query) for query in grid.sums} == {MomentsQuery, LocalUpdateQuery, EvaluationQuery}


def test_each_round_asks_at_the_parameters_of_the_last(
    study: Study, grid_of: Callable[..., Any], options: Callable[..., RunOptions]
) -> None:
    grid = grid_of(study)
    states: list[TrainingState] = []
    coordinate(grid, study, options=options(study), on_round=states.append)
    asked = [decode_query(frame)[1] for frame in grid.frames[6::3]]

    assert [state.round for state in states] == list(range(study.training.rounds + 1))
    # The evaluation is asked for at the last.
    for state, arrays in zip(states, asked, strict=True):
        assert arrays["parameters"].tolist() == state.parameters.tolist()
        assert arrays["center"].tolist() == states[0].center.tolist()
        assert arrays["scale"].tolist() == states[0].scale.tolist()
    assert len({state.parameters.tobytes() for state in states}) == len(states)


def test_the_order_of_replies_does_not_change_the_model(
    study: Study, grid_of: Callable[..., Any], options: Callable[..., RunOptions]
) -> None:
    plain, shuffled = (
        coordinate(grid_of(study, order=order), study, options=options(study))
        for order in (None, (2, 0, 1))
    )

    assert shuffled.state.to_frame() == plain.state.to_frame()
    assert shuffled.records == plain.records


def test_the_model_seed_chooses_where_a_model_begins(
    make_study: MakeStudy, grid_of: Callable[..., Any], options: Callable[..., RunOptions]
) -> None:
    study = make_study(model={"name": "mlp", "options": {"hidden": [4]}})
    starts = []
    for seed in (0, 0, 1):
        states: list[TrainingState] = []
        coordinate(
            grid_of(study),
            study,
            options=options(study, model_seed=seed),
            on_round=states.append,
        )
        starts.append(states[0].parameters.tobytes())

    assert starts[0] == starts[1] != starts[2]


def test_every_sum_is_kept_with_its_own_log_lines(
    make_study: MakeStudy,
    grid_of: Callable[..., Any],
    make_checkpoints: MakeCheckpoints,
    options: Callable[..., RunOptions],
) -> None:
    study = make_study(**WHOLE)
    checkpoints = make_checkpoints()
    run = coordinate(grid_of(study), study, options=options(study), checkpoints=checkpoints)

    assert [state.round for state, _ in checkpoints.saved] == [0, 1, 2, 3, 4, 4, 4, 4]
    assert [{line.round for line in new} for _, new in checkpoints.saved] == [
        {number} for number in range(8)
    ]
    assert tuple(checkpoints.kept[1]) == run.records
    assert [state.finished for state, _ in checkpoints.saved][-3:] == [
        ("evaluation/all",),
        ("evaluation/all", "site_evaluation"),
        ("evaluation/all", "site_evaluation", "counts"),
    ]


def told(run: CompletedRun) -> Any:
    """A run in a form that can be compared."""
    scores = [
        {name: (one.positives.tolist(), one.squared_error) for name, one in found.items()}
        for found in (run.evaluation, run.site_evaluation)
    ]
    return run.state.to_frame(), run.records, scores, run.counts, run.notes


def test_a_finished_run_is_resumed_without_asking_for_anything(
    make_study: MakeStudy,
    grid_of: Callable[..., Any],
    make_checkpoints: MakeCheckpoints,
    options: Callable[..., RunOptions],
) -> None:
    study = make_study(**WHOLE)
    checkpoints = make_checkpoints()
    run = coordinate(grid_of(study), study, options=options(study), checkpoints=checkpoints)
    grid = grid_of(study)
    states: list[TrainingState] = []
    again = coordinate(
        grid, study, options=options(study), checkpoints=checkpoints, on_round=states.append
    )

    assert told(again) == told(run)
    assert grid.frames == []
    assert [state.round for state in states] == [study.training.rounds]


@pytest.mark.parametrize("stop", range(1, 9))
def test_a_run_that_was_stopped_goes_on_to_the_same_end(
    make_study: MakeStudy,
    grid_of: Callable[..., Any],
    make_checkpoints: MakeCheckpoints,
    options: Callable[..., RunOptions],
    stop: int,
) -> None:
    study = make_study(**WHOLE)
    whole = coordinate(grid_of(study), study, options=options(study))
    first = make_checkpoints()
    coordinate(grid_of(study), study, options=options(study), checkpoints=first)
    state = first.saved[stop - 1][0]
    cut = make_checkpoints((state, first.kept[1][: state.logged]))
    grid = grid_of(study)
    again = coordinate(grid, study, options=options(study), checkpoints=cut)

    # A session is new, and with it the masks; the sums under them are the same to the last bit.
    assert again.state.parameters.tobytes() == whole.state.parameters.tobytes()
    assert told(again)[2:] == told(whole)[2:]
    assert len(again.records) == len(whole.records)
    if stop < 8:
        assert {query.session for query in grid.queries} == {2}
        assert again.state.session == 2


@pytest.mark.parametrize("change", [{"run_id": "other"}, {"study_digest": "f" * 64}])
def test_a_checkpoint_of_another_run_or_study_is_not_continued(
    study: Study,
    grid_of: Callable[..., Any],
    make_checkpoints: MakeCheckpoints,
    options: Callable[..., RunOptions],
    change: dict[str, str],
) -> None:
    checkpoints = make_checkpoints()
    coordinate(grid_of(study), study, options=options(study), checkpoints=checkpoints)
    state, records = checkpoints.saved[2][0], checkpoints.kept[1][:9]
    foreign = make_checkpoints((replace(state, **change), records))
    grid = grid_of(study)

    with pytest.raises(CoordinationError, match="checkpoint is of another run"):
        coordinate(grid, study, options=options(study), checkpoints=foreign)
    assert foreign.saved == []
    assert grid.frames == []


def test_groups_that_do_not_fit_the_roster_are_told_before_anything_is_asked(
    make_study: MakeStudy, grid_of: Callable[..., Any], options: Callable[..., RunOptions]
) -> None:
    study = make_study(evaluation={"groups": {"north": ("site-0", "elsewhere")}})
    grid = grid_of(study)

    with pytest.raises(CoordinationError, match="name the site 'elsewhere', which is not in the"):
        coordinate(grid, study, options=options(study))
    assert grid.frames == []


def test_without_noise_it_is_gradient_descent_on_all_patients_together(
    make_study: MakeStudy,
    make_grid: MakeGrid,
    make_sites: MakeSites,
    options: Callable[..., RunOptions],
) -> None:
    study = make_study(
        scaling={"method": "public_range"},
        training={"method": "distributed", "rounds": 12, "learning_rate": 2.0, "momentum": 0.6},
    )
    sites = make_sites(study, protection=Unprotected(largest_site=100))
    run = coordinate(
        make_grid([site.vault().answer for site in sites]), study, options=options(None)
    )

    weights, velocity = np.zeros(4), np.zeros(4)
    for _ in range(12):
        total = np.zeros(4)
        for cohort in (site.cohort for site in sites):
            rows = np.hstack([cohort.features, np.ones((len(cohort.features), 1))])
            by_row = (1 / (1 + np.exp(-rows @ weights)) - cohort.target)[:, None] * rows
            counts = np.diff(cohort.offsets)
            total += (np.add.reduceat(by_row, cohort.offsets[:-1]) / counts[:, None]).sum(axis=0)
        velocity = 0.6 * velocity + total / study.cohort.expected_patients
        weights = weights - 2.0 * velocity

    np.testing.assert_allclose(run.state.parameters, weights, atol=1e-7)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("average_last", [1, 2])
def test_a_model_that_diverges_is_told_and_the_round_before_it_kept(
    make_study: MakeStudy,
    grid_of: Callable[..., Any],
    make_checkpoints: MakeCheckpoints,
    options: Callable[..., RunOptions],
    average_last: int,
) -> None:
    study = make_study(
        training={
            "method": "distributed",
            "rounds": 9,
            "learning_rate": 1e60,
            "l2": 1e60,
            "average_last": average_last,
        }
    )
    checkpoints = make_checkpoints()

    with pytest.raises(CoordinationError, match=r"diverged in round 4; lower training\."):
        coordinate(grid_of(study), study, options=options(study), checkpoints=checkpoints)
    assert checkpoints.kept[0].round == 3
    assert np.isfinite(checkpoints.kept[0].parameters).all()
    # The round was answered and charged, so the log has it.
    assert {line.round for line in checkpoints.kept[1]} == {0, 1, 2, 3, 4}


def exact(make_sites: MakeSites, study: Study) -> list[SimulatedSite]:
    """Sites whose sums are exact."""
    return make_sites(
        study,
        protection=Unprotected(largest_site=100),
        policy={"allow_site_evaluation": True},
    )


def test_without_noise_evaluation_and_counts_are_the_true_ones(
    make_study: MakeStudy,
    make_grid: MakeGrid,
    make_sites: MakeSites,
    options: Callable[..., RunOptions],
) -> None:
    study = make_study(**WHOLE)
    sites = exact(make_sites, study)
    run = coordinate(
        make_grid([site.vault().answer for site in sites]), study, options=options(None)
    )
    assert run.counts is not None
    positive = {}
    for site in sites:
        for part, cohort in (("training", site.cohort), ("held out", site.held_out)):
            assert cohort is not None
            rows = np.diff(cohort.offsets)
            share = np.add.reduceat(cohort.target, cohort.offsets[:-1]) / rows
            positive[site.name, part] = (int((share >= 0.5).sum()), len(rows))
    trained = [positive[site.name, "training"] for site in sites]

    assert run.counts.positive == pytest.approx(sum(found[0] for found in trained))
    assert run.counts.negative == pytest.approx(sum(found[1] - found[0] for found in trained))
    assert run.counts.noise == 0.0
    everyone = run.evaluation["all"]
    for name, own in run.site_evaluation.items():
        ill, patients = positive[name, "held out"]
        assert own.positives.sum() == pytest.approx(ill)
        assert own.negatives.sum() == pytest.approx(patients - ill)
    summed = sum(own.positives for own in run.site_evaluation.values())
    np.testing.assert_allclose(everyone.positives, summed, atol=1e-6)
    assert everyone.true_positive + everyone.false_negative == pytest.approx(summed.sum())
    assert everyone.confusion_noise == 0.0


def test_the_noise_of_what_is_released_is_told(
    make_study: MakeStudy, grid_of: Callable[..., Any], options: Callable[..., RunOptions]
) -> None:
    study = make_study(**WHOLE)
    run = coordinate(grid_of(study), study, options=options(study))
    plan = plan_for(study, sites=3, coordinates=Dimensions.of(study).longest)
    assert plan.evaluation is not None
    assert plan.site_evaluation is not None
    assert plan.counts is not None
    assert run.counts is not None

    # One of three sites may cheat, so three shares are more noise than what is guaranteed.
    assert run.counts.noise == pytest.approx(plan.counts.noise_multiplier * (3 / 2) ** 0.5)
    weight = 0.5**0.5
    assert run.evaluation["all"].confusion_noise == pytest.approx(
        plan.evaluation.noise_multiplier * (3 / 2) ** 0.5 / weight
    )
    own_noise = plan.site_evaluation.noise_multiplier / weight
    assert [own.confusion_noise for own in run.site_evaluation.values()] == pytest.approx(
        [own_noise] * 3
    )


def test_each_group_is_evaluated_over_its_own_sites(
    make_study: MakeStudy, make_grid: MakeGrid, make_sites: MakeSites, make_options: MakeOptions
) -> None:
    study = make_study(evaluation={"groups": {"north": ("site-0", "site-3")}})
    sites = make_sites(study, protection=Unprotected(largest_site=100), count=5)
    grid = make_grid([site.vault().answer for site in sites])
    run = coordinate(grid, study, options=make_options(5))
    asked = [query for query in grid.queries if isinstance(query, EvaluationQuery)]

    assert [(query.group, query.roster) for query in asked] == [
        ("north", ("site-0", "site-3")),
        ("others", ("site-1", "site-2", "site-4")),
    ]
    patients = {
        name: one.positives.sum() + one.negatives.sum() for name, one in run.evaluation.items()
    }
    assert patients == {"north": pytest.approx(6 + 9), "others": pytest.approx(7 + 8 + 10)}


def test_a_site_that_allows_no_figures_of_its_own_is_a_note(
    make_study: MakeStudy,
    make_grid: MakeGrid,
    make_sites: MakeSites,
    options: Callable[..., RunOptions],
) -> None:
    study = make_study(**WHOLE)
    sites = make_sites(study, policy={"allow_site_evaluation": True})
    sites[1] = make_sites(study)[1]
    run = coordinate(
        make_grid([site.vault().answer for site in sites]), study, options=options(study)
    )

    assert set(run.site_evaluation) == {"site-0", "site-2"}
    assert run.counts is not None
    assert run.notes == (
        "There is no evaluation of site-1 by itself: refused (not_allowed): "
        "site-1 allows no evaluation of its own patients.",
    )


@pytest.mark.parametrize("local", [False, True])
def test_a_run_without_losses_spends_its_budget_and_no_more(
    make_study: MakeStudy,
    grid_of: Callable[..., Any],
    make_options: MakeOptions,
    local: bool,
) -> None:
    study = make_study(local=local, **WHOLE)
    plan = plan_for(study, sites=3, coordinates=Dimensions.of(study).longest)
    budget = RunBudget(plan)
    run = coordinate(grid_of(study), study, options=make_options(budget=budget))
    charged: dict[Any, int] = {}
    for line in run.records:
        if line.site == "site-0":
            assert line.executed is not None
            charged[line.kind] = charged.get(line.kind, 0) + line.executed.count

    assert charged == {kind: planned.count for kind, planned in plan.sums.items()}
    assert run.notes == ()
    for kind in plan.sums:
        assert not budget.allows(charged, kind, 1)


@pytest.fixture
def with_ledgers(federate: Callable[..., Any], study: Study) -> Any:
    """Stand-ins a, b and c whose ledgers have 10 entries, and a coordinator with a key."""
    federation = federate(study=study, coordinator=COORDINATOR)
    for site in federation.sites.values():
        site.entries = 10
        site.summand = lambda query: [0] * length_of(query, study)
    return federation


def length_of(query: Any, study: Study) -> int:
    dimensions = Dimensions.of(study)
    return {"moments": dimensions.moments, "evaluation": dimensions.evaluation}.get(
        query.kind, dimensions.parameters
    )


def test_a_run_ends_with_the_heads_of_all_ledgers(with_ledgers: Any, study: Study) -> None:
    grid, book = with_ledgers.grid(), MemoryHeads()
    run = coordinate(grid, study, options=with_ledgers.options(heads=book))
    sums = study.training.rounds + 2

    assert [type(query) for query in grid.queries[-2:]] == [EvaluationQuery, CloseSessionQuery]
    assert grid.queries[0].heads == ()
    # The last release has shown its reservation.
    assert [known.head.sequence for known in grid.queries[-1].heads] == [8 + 2 * sums] * 3
    assert [known.head.site for known in run.heads] == ["a", "b", "c"]
    assert [known.head.sequence for known in run.heads] == [10 + 2 * sums] * 3
    assert run.heads == book.known()
    assert all(known.is_countersigned_by(COORDINATOR.public_key) for known in run.heads)
    assert [record.ledger.sequence for record in run.records if record.ledger] == [
        10 + 2 * number for number in range(sums) for _ in "abc"
    ]
    assert run.notes == ()


def test_the_next_run_shows_them_and_a_ledger_that_went_back_takes_no_part(
    with_ledgers: Any, study: Study
) -> None:
    book = MemoryHeads()
    first = coordinate(with_ledgers.grid(), study, options=with_ledgers.options(heads=book))
    grid = with_ledgers.grid()
    options = with_ledgers.options(heads=book, run_id="second")
    second = coordinate(grid, study, options=options)
    assert grid.queries[0].heads == first.heads
    with_ledgers.sites["b"].entries = 10

    with pytest.raises(CoordinationError, match="b in session 1: shows a ledger that went back"):
        coordinate(
            with_ledgers.grid(), study, options=with_ledgers.options(heads=book, run_id="third")
        )
    # What was seen before still counts, for the sites that are in order too.
    assert book.known()[1] == second.heads[1]


def test_a_site_that_refuses_as_rolled_back_is_told(with_ledgers: Any, study: Study) -> None:
    site = with_ledgers.sites["b"]
    site.answer = lambda frame: site.refused(frame, RefusalReason.LEDGER_ROLLED_BACK)

    with pytest.raises(CoordinationError, match=r"b in session 1: refused \(ledger_rolled_back\)"):
        coordinate(with_ledgers.grid(), study, options=with_ledgers.options())


def test_a_run_that_fails_is_closed_too(with_ledgers: Any, study: Study) -> None:
    site = with_ledgers.sites["b"]
    site.faults = {
        number: lambda frame: site.refused(frame, RefusalReason.BUDGET_EXCEEDED)
        for number in (2, 3)
    }
    grid, book = with_ledgers.grid(), MemoryHeads()
    with pytest.raises(CoordinationError):
        coordinate(grid, study, options=with_ledgers.options(heads=book, minimum_sites=3))

    assert isinstance(grid.queries[-1], CloseSessionQuery)
    # Site b left the session, so it is not asked.
    assert grid.frames.count(grid.frames[-1]) == 2
    ends = {known.head.site: known.head.sequence for known in book.known()}
    # What it released before is known all the same.
    assert ends["b"] == 10
    assert ends["a"] == ends["c"] > 10


def test_who_does_not_close_is_a_note(with_ledgers: Any, study: Study) -> None:
    site = with_ledgers.sites["b"]
    close = site.closed
    site.closed = lambda frame: close(frame) and RuntimeError("its disk is full")
    grid = with_ledgers.grid()
    run = coordinate(grid, study, options=with_ledgers.options())

    assert run.notes == ("The end of the ledger of b is not known: its disk is full.",)
    assert run.state.notes == ()
    assert run.heads[1].head.position == last_of("b", run).ledger


def last_of(site: str, run: CompletedRun) -> Any:
    return [record for record in run.records if record.site == site][-1]


class FullDisk(MemoryHeads):
    """Keeps heads so many times, then its disk is full."""

    def __init__(self, *, times: int) -> None:
        super().__init__()
        self.left = times

    def keep(self, heads: Iterable[KnownHead]) -> None:
        self.left -= 1
        if self.left < 0:
            raise InputError(source="heads.json", field="", problem="is full", fix="make room")
        super().keep(heads)


def test_heads_that_cannot_be_kept_stop_a_run_before_it_asks_for_anything(
    with_ledgers: Any, study: Study
) -> None:
    grid = with_ledgers.grid()
    with pytest.raises(InputError, match=r"heads\.json: is full; make room"):
        coordinate(grid, study, options=with_ledgers.options(heads=FullDisk(times=0)))
    assert grid.sums == []


@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_run_is_not_lost_because_heads_cannot_be_kept_any_more(
    with_ledgers: Any, study: Study, times: int
) -> None:
    run = coordinate(
        with_ledgers.grid(), study, options=with_ledgers.options(heads=FullDisk(times=times))
    )

    assert run.state.round == study.training.rounds
    assert run.notes == (
        "The newest heads of the ledgers were not kept: heads.json: is full; make room.",
    )
    # In memory they are known, up to the end.
    sums = study.training.rounds + 2
    assert [known.head.sequence for known in run.heads] == [10 + 2 * sums] * 3


def test_why_a_run_failed_is_not_hidden_by_heads_that_cannot_be_kept(
    with_ledgers: Any, study: Study
) -> None:
    site = with_ledgers.sites["b"]
    site.faults = {2: lambda frame: site.refused(frame, RefusalReason.BUDGET_EXCEEDED)}

    with pytest.raises(CoordinationError, match="budget_exceeded"):
        coordinate(
            with_ledgers.grid(),
            study,
            options=with_ledgers.options(heads=FullDisk(times=1), minimum_sites=3),
        )


def test_a_roster_of_another_coordinator_is_told_before_anything_is_asked(
    with_ledgers: Any, study: Study
) -> None:
    grid = with_ledgers.grid()
    for key in (None, SiteIdentity.generate()):
        with pytest.raises(CoordinationError, match="another coordinator's key"):
            coordinate(grid, study, options=with_ledgers.options(coordinator=key))
    assert grid.frames == []


def test_a_completed_run_is_a_state_and_its_log(
    study: Study, grid_of: Callable[..., Any], options: Callable[..., RunOptions]
) -> None:
    run = coordinate(grid_of(study), study, options=options(study))

    assert isinstance(run, CompletedRun)
    assert {line.site for line in run.records} == {"site-0", "site-1", "site-2"}
    assert [line.site for line in run.records] == ["site-0", "site-1", "site-2"] * 6
