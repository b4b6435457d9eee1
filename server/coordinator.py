"""The coordinator: drives one study from its first query to the evaluated model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from flwr.serverapp import Grid

from fedward.common.ledger.heads import KnownHead
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.study.class_counts import ClassCounts
from fedward.common.study.definition import Study
from fedward.common.study.score_sums import ScoreSums
from fedward.server.closing_sums import closing_sums
from fedward.server.errors import BudgetSpent, CoordinationError
from fedward.server.release_log import ReleaseRecord
from fedward.server.run_options import RunOptions
from fedward.server.sum_rounds import SumRounds
from fedward.server.training.checkpoints import Checkpoints
from fedward.server.training.rounds import first_state, next_state
from fedward.server.training.state import TrainingState

OnRound = Callable[[TrainingState], None]

_TRAINING = "training"
"""In a state's ``finished``: the training has ended before its last round."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CompletedRun:
    """The last state of a run, the log of all that was asked, and what came after the training.

    ``evaluation`` is by group of sites, ``site_evaluation`` by site. ``notes`` are sentences on
    what was lost. ``heads`` are the newest heads of the sites' ledgers, sorted by site; none of
    sites whose ledgers have no chain.
    """

    state: TrainingState
    records: tuple[ReleaseRecord, ...]
    evaluation: dict[str, ScoreSums]
    site_evaluation: dict[str, ScoreSums]
    counts: ClassCounts | None
    notes: tuple[str, ...]
    heads: tuple[KnownHead, ...] = ()


def coordinate(
    grid: Grid,
    study: Study,
    *,
    options: RunOptions,
    checkpoints: Checkpoints | None = None,
    on_round: OnRound | None = None,
) -> CompletedRun:
    """Run the study over ``grid`` and return the trained model, resuming where a checkpoint is.

    ``on_round`` is called after every completed round, and once with the state resumed from.
    Lost attempts are repeated without the sites that failed, and charged; the training ends early
    where the budget is spent.

    Raises:
        CoordinationError: too few sites are there or left, or no attempt at the scaler or the first
            round was complete within the budget; the checkpoint is of another run or study; or the
            model diverged.
    """
    return _Run(grid, study, options, checkpoints).completed(on_round or _nothing)


class _Run:
    """One run: its state, and where it is kept."""

    def __init__(
        self, grid: Grid, study: Study, options: RunOptions, checkpoints: Checkpoints | None
    ) -> None:
        self._study = study
        self._options = options
        self._checkpoints = checkpoints
        resumed = checkpoints.load() if checkpoints else None
        records: list[ReleaseRecord] = []
        self._state: TrainingState | None = None
        if resumed:
            self._state, records = resumed
        if self._state and (self._state.run_id, self._state.study_digest) != (
            options.run_id,
            study.digest,
        ):
            raise CoordinationError(
                "the checkpoint is of another run or another study; keep each run in its own folder"
            )
        self._saved = len(records)
        self._rounds = SumRounds(
            grid,
            study,
            options,
            records=records,
            last_session=self._state.session if self._state else 0,
            on_lost=self._keep_log,
        )
        self._closing = dict(closing_sums(self._rounds, study))

    def completed(self, on_round: OnRound) -> CompletedRun:
        """Do what is left to do."""
        try:
            state = self._state
            if state is None or not self._finished(state):
                self._rounds.begin()
            if state is None:
                state = self._kept(
                    first_state(
                        self._rounds,
                        self._study,
                        run_id=self._options.run_id,
                        model_seed=self._options.model_seed,
                    )
                )
            on_round(state)
            state = self._trained(state, on_round)
            for name, ask in self._closing.items():
                if name not in state.finished:
                    after = ask(self._rounds, self._study, state)
                    state = self._kept(replace(after, finished=(*after.finished, name)))
        except CoordinationError:
            self._keep_log()
            self._rounds.close()
            raise
        notes = self._rounds.close()
        return _completed(state, self._study, self._rounds, notes=notes)

    def _finished(self, state: TrainingState) -> bool:
        return self._is_trained(state) and self._closing.keys() <= set(state.finished)

    def _is_trained(self, state: TrainingState) -> bool:
        return state.round == self._study.training.rounds or _TRAINING in state.finished

    def _trained(self, state: TrainingState, on_round: OnRound) -> TrainingState:
        while not self._is_trained(state):
            try:
                state = self._kept(next_state(self._rounds, self._study, state))
            except BudgetSpent:
                if state.round == 0:
                    raise
                note = (
                    f"The training ended after {state.round} of {self._study.training.rounds} "
                    "rounds: lost attempts used up the rest of its budget."
                )
                return self._kept(
                    replace(
                        state,
                        notes=(*state.notes, note),
                        finished=(*state.finished, _TRAINING),
                    )
                )
            on_round(state)
        return state

    def _kept(self, state: TrainingState) -> TrainingState:
        """The state with all that the log says so far, saved."""
        log = self._rounds.log
        self._state = replace(
            state,
            logged=len(log),
            session=self._rounds.last_session,
            lost=log.lost("training"),
        )
        if self._checkpoints:
            self._checkpoints.save(self._state, log.since(self._saved))
        self._saved = len(log)
        return self._state

    def _keep_log(self) -> None:
        """Save what was asked and lost; before there is a state, a vault alone remembers it."""
        if self._state is not None and len(self._rounds.log) > self._saved:
            self._kept(self._state)


def _completed(
    state: TrainingState, study: Study, rounds: SumRounds, *, notes: tuple[str, ...]
) -> CompletedRun:
    bins = study.evaluation.score_bins

    def scores(kind: SumKind) -> dict[str, ScoreSums]:
        return {
            one.name: ScoreSums.of(one.total, bins=bins, noise_deviation=one.noise_deviation)
            for one in state.sums
            if one.kind == kind
        }

    counts = [
        ClassCounts.of(one.total, noise_deviation=one.noise_deviation)
        for one in state.sums
        if one.kind == "counts"
    ]
    return CompletedRun(
        state=state,
        records=rounds.log.records,
        evaluation=scores("evaluation"),
        site_evaluation=scores("site_evaluation"),
        counts=counts[0] if counts else None,
        notes=(*state.notes, *notes),
        heads=rounds.heads,
    )


def _nothing(_: TrainingState) -> None:
    """Nobody watches."""
