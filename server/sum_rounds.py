"""Sums over the sites that are there: what a drop-out loses is asked again without it.

An answer is hidden by masks that cancel only if every site of the query answers, so a lost answer
loses the attempt: nothing can be read, all that were asked are charged, and the next attempt goes
to the sites that are left, with fresh batches, noise and masks. Ring addition is exact and
commutative, so a sum does not depend on the order in which answers arrive.

Whoever fails is left out, so no site can use up the budget of the others by failing again and
again. A site that has answered the attempt before stays, once: a coordinator that goes on after a
crash does not know what it asked last. What a site says about its noise is held against the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import numpy as np
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedward.common.ledger.heads import KnownHead
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.secure_sum.running_sum import RunningSum
from fedward.common.study.definition import LocalTraining, Study
from fedward.server.attempt import Accept, Attempt, WantedSum
from fedward.server.attendance import Attendance
from fedward.server.errors import BudgetSpent, CoordinationError
from fedward.server.exchange import Exchange
from fedward.server.release_log import ReleaseLog, ReleaseRecord
from fedward.server.run_options import RunOptions
from fedward.server.spending import Spending
from fedward.server.summed_round import SummedRound, summed_round

MAX_ATTEMPTS = 1000


class SumRounds:
    """Asks the sites of one run for sums, in sessions; keeps the log.

    ``records`` and ``last_session`` are of a run that goes on. ``on_lost`` is called after every
    attempt that was lost. Raises :class:`CoordinationError` for a roster of a foreign signature.
    """

    def __init__(
        self,
        grid: Grid,
        study: Study,
        options: RunOptions,
        *,
        records: Iterable[ReleaseRecord] = (),
        last_session: int = 0,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        training = study.training
        steps = training.steps_per_round if isinstance(training, LocalTraining) else 1
        self.log = ReleaseLog(records, local_steps=steps)
        self._spending = Spending(self.log, options.budget)
        self._study_digest = study.digest
        self._options = options
        self._on_lost = on_lost
        self._excused: set[str] = set()
        self._exchange = Exchange(grid, timeout=options.timeout, poll_seconds=options.poll_seconds)
        minimum = options.minimum_sites
        self._attendance = Attendance(
            self._exchange,
            options,
            study_digest=study.digest,
            minimum_sites=study.cohort.minimum_sites if minimum is None else minimum,
            last_session=last_session,
        )

    @property
    def roster(self) -> tuple[str, ...]:
        """All sites of the signed roster, sorted."""
        return self._attendance.roster.names

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites that take part at present, sorted."""
        return self._attendance.session.sites

    @property
    def last_session(self) -> int:
        """The largest number of a session so far."""
        return self._attendance.last_session

    def begin(self) -> None:
        """Open the first session; :class:`CoordinationError` if too few sites do."""
        self._attendance.begin()

    @property
    def heads(self) -> tuple[KnownHead, ...]:
        """The newest heads of the sites' ledgers, sorted by site."""
        return self._attendance.heads.known

    def close(self) -> tuple[str, ...]:
        """Ask for nothing more: see :meth:`Attendance.close`."""
        return self._attendance.close()

    def left(
        self,
        kind: SumKind,
        *,
        sites: Collection[str] | None = None,
        set_aside: Mapping[SumKind, int] | None = None,
    ) -> int:
        """How many attempts at a sum the budget still pays for at each of ``sites``.

        None are the present ones. ``set_aside`` are sums that must be paid for afterwards.
        """
        chosen = self.sites if sites is None else sites
        return self._spending.left(kind, sites=chosen, set_aside=set_aside)

    def ask(
        self,
        wanted: WantedSum,
        *,
        among: Collection[str] | None = None,
        set_aside: Mapping[SumKind, int] | None = None,
    ) -> SummedRound:
        """Ask for a sum until an attempt is complete; ``among`` limits it to some sites.

        Raises:
            BudgetSpent: no attempt is left that the budget pays for.
            CoordinationError: too few sites are left, or what they sent is no sum.
        """
        self._attendance.ask_back_if_due()
        for _ in range(MAX_ATTEMPTS):
            roster = self._affordable_roster(wanted, among, set_aside)
            if (summed := self._attempted(wanted, roster)) is not None:
                return summed
        raise CoordinationError(f"{MAX_ATTEMPTS} attempts at the {wanted} were lost")

    def ask_each(self, wanted: WantedSum) -> tuple[dict[str, SummedRound], dict[str, str]]:
        """Ask every site once for a release of its own, which no mask hides.

        Returns the releases, and why other sites of the roster gave none.

        Raises:
            BudgetSpent: the budget does not pay for it.
            CoordinationError: too few sites are left.
        """
        self._attendance.ask_back_if_due()
        roster = self._affordable_roster(wanted, None, None)
        totals: dict[str, NDArray[np.uint64]] = {}

        def keep(site: str, elements: NDArray[np.uint64]) -> None:
            totals[site] = elements.copy()

        attempt = self._attempt(wanted, roster, keep)
        released: dict[str, SummedRound] = {}
        missing = dict.fromkeys(self.roster, "does not take part")
        missing |= {site: failure.why for site, failure in attempt.failures.items()}
        for site in attempt.releases.keys() - attempt.failures.keys():
            own = summed_round(totals[site], {site: attempt.releases[site]})
            if own is None:
                missing[site] = "sent what is no sum"
            else:
                released[site] = own
                del missing[site]
        return released, missing

    def _attempted(self, wanted: WantedSum, roster: tuple[str, ...]) -> SummedRound | None:
        """One attempt's sum; None if it was lost."""
        running = RunningSum(wanted.length)
        attempt = self._attempt(wanted, roster, lambda _, elements: running.add(elements))
        if attempt.failures:
            return None
        summed = summed_round(running.total, attempt.releases)
        if summed is None:
            raise CoordinationError(
                f"what the sites sent for the {wanted} does not add up: their masks are of "
                "different queries or keys"
            )
        return summed

    def _affordable_roster(
        self,
        wanted: WantedSum,
        among: Collection[str] | None,
        set_aside: Mapping[SumKind, int] | None,
    ) -> tuple[str, ...]:
        roster = self._attendance.roster_for(str(wanted), among=among)
        if self.left(wanted.kind, sites=roster, set_aside=set_aside) < 1:
            raise BudgetSpent(
                f"the study's budget pays for no other attempt at the {wanted}; "
                "privacy.spare_attempts pays for more in advance"
            )
        return roster

    def _attempt(self, wanted: WantedSum, roster: tuple[str, ...], accept: Accept) -> Attempt:
        """Ask once, note what came in the log, and take out who failed."""
        session = self._attendance.session
        query, frame = wanted.framed(
            run_id=self._options.run_id,
            study_digest=self._study_digest,
            session=session.number,
            roster=roster,
            attempt=self.log.next_attempt(wanted.round, roster),
            offers=session.offers_for(roster),
        )
        attempt = Attempt(
            query,
            frame,
            wanted=wanted,
            roster=self._attendance.roster,
            planned=self._spending.planned(wanted.kind, sites=len(roster)),
            heads=self._attendance.heads,
        )
        try:
            attempt.ask(self._exchange, session.nodes, accept)
        finally:
            # Also if this process is about to end: the next one must know of these releases.
            self._attendance.heads.save()
        session.joined(attempt.releases)
        alone = wanted.kind == "site_evaluation"
        complete = bool(attempt.releases) if alone else not attempt.failures
        # Nowhere is a share smaller; one that was drawn before a crash may be of all sites.
        unknown = self._spending.planned(wanted.kind, sites=len(self.roster))
        self.log.add(attempt.records(summed=complete, unknown=unknown))
        for site, failure in attempt.failures.items():
            excused = failure.stays and site not in self._excused
            if excused:
                self._excused.add(site)
            elif not (alone and not failure.charged):
                session.leave(site, failure.at(f"the {wanted}, attempt {query.attempt}"))
        if complete:
            session.completed += 1
        elif self._on_lost:
            self._on_lost()
        return attempt
