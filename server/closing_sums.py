"""Sums after the training: how the model does on held-out patients, and counts of the others.

What cannot be had is a note and no error: the model is there, and asking again would cost more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from fedward.common.errors import InputError
from fedward.common.privacy.sum_plan import COUNTS_CLIP, EVALUATION_CLIP
from fedward.common.protocol.queries import CountsQuery, EvaluationQuery, SiteEvaluationQuery
from fedward.common.protocol.round_numbers import (
    counts_round,
    evaluation_round,
    site_evaluation_round,
)
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions
from fedward.common.study.evaluation_groups import evaluation_groups
from fedward.server.attempt import WantedSum
from fedward.server.errors import CoordinationError
from fedward.server.sum_rounds import SumRounds
from fedward.server.training.rounds import model_arrays
from fedward.server.training.state import KeptSum, TrainingState

Closing = Callable[[SumRounds, Study, TrainingState], TrainingState]
"""Asks for one thing more, and returns the state with what came, or with a note."""


def closing_sums(rounds: SumRounds, study: Study) -> Iterator[tuple[str, Closing]]:
    """All that the study asks for after its training, by name.

    Raises:
        CoordinationError: the study's groups do not fit the roster.
    """
    try:
        groups = evaluation_groups(study, rounds.roster)
    except InputError as error:
        raise CoordinationError(str(error)) from error
    for group, sites in groups.items():
        yield f"evaluation/{group}", partial(_evaluated, group=group, sites=sites)
    if study.evaluation.per_site:
        yield "site_evaluation", _evaluated_by_site
    if study.statistics is not None:
        yield "counts", _counted


def _evaluated(
    rounds: SumRounds, study: Study, state: TrainingState, *, group: str, sites: tuple[str, ...]
) -> TrainingState:
    wanted = WantedSum(
        kind="evaluation",
        query=EvaluationQuery,
        round=evaluation_round(study),
        length=Dimensions.of(study).evaluation,
        arrays=model_arrays(_final(state)),
        group=group,
    )
    return _asked(rounds, state, wanted, clip=EVALUATION_CLIP, name=group, among=sites)


def _counted(rounds: SumRounds, study: Study, state: TrainingState) -> TrainingState:
    wanted = WantedSum(
        kind="counts",
        query=CountsQuery,
        round=counts_round(study),
        length=Dimensions.of(study).counts,
        arrays={},
    )
    return _asked(rounds, state, wanted, clip=COUNTS_CLIP, name="", among=None)


def _asked(
    rounds: SumRounds,
    state: TrainingState,
    wanted: WantedSum,
    *,
    clip: float,
    name: str,
    among: tuple[str, ...] | None,
) -> TrainingState:
    try:
        summed = rounds.ask(wanted, among=among)
    except CoordinationError as error:
        return _noted(state, f"There is no {wanted}: {error}")
    absent = sorted(set(rounds.roster if among is None else among) - set(summed.sites))
    if absent:
        state = _noted(state, f"The {wanted} lacks {', '.join(absent)}")
    kept = KeptSum(
        kind=wanted.kind, name=name, noise_deviation=summed.noise * clip, total=summed.total
    )
    return replace(state, sums=(*state.sums, kept))


def _evaluated_by_site(rounds: SumRounds, study: Study, state: TrainingState) -> TrainingState:
    wanted = WantedSum(
        kind="site_evaluation",
        query=SiteEvaluationQuery,
        round=site_evaluation_round(study),
        length=Dimensions.of(study).evaluation,
        arrays=model_arrays(_final(state)),
    )
    try:
        released, missing = rounds.ask_each(wanted)
    except CoordinationError as error:
        return _noted(state, f"There is no {wanted}: {error}")
    kept = tuple(
        KeptSum(
            kind=wanted.kind,
            name=site,
            noise_deviation=own.noise * EVALUATION_CLIP,
            total=own.total,
        )
        for site, own in sorted(released.items())
    )
    for site, why in sorted(missing.items()):
        state = _noted(state, f"There is no evaluation of {site} by itself: {why}")
    return replace(state, sums=(*state.sums, *kept))


def _noted(state: TrainingState, note: str) -> TrainingState:
    """With one sentence more; reasons that come from elsewhere may end in a full stop or not."""
    return replace(state, notes=(*state.notes, f"{note.rstrip('.')}."))


def _final(state: TrainingState) -> TrainingState:
    """The state with the model's own parameters, which may be a mean of iterates."""
    return replace(state, parameters=state.model_parameters)
