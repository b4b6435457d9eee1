"""Who takes part in a run: the present session, and when missing sites are asked back."""

from __future__ import annotations

from collections.abc import Collection

from fedward.common.secure_sum.roster import Roster, RosterError, checked_roster
from fedward.server.errors import CoordinationError
from fedward.server.exchange import Exchange
from fedward.server.head_book import MemoryHeads
from fedward.server.run_options import RunOptions
from fedward.server.seen_heads import SeenHeads
from fedward.server.session_closing import close_session
from fedward.server.sessions import OpenedSession, SessionOpener
from fedward.server.site_failure import told


class Attendance:
    """The sites of one run, of which some come and go.

    ``last_session`` is the largest number of a session that the run has used, ``heads`` what the
    coordinator knows of the sites' ledgers. Raises
    :class:`CoordinationError` if the roster is not signed by the federation's key, or names another
    coordinator.
    """

    def __init__(
        self,
        exchange: Exchange,
        options: RunOptions,
        *,
        study_digest: str,
        minimum_sites: int,
        last_session: int = 0,
    ) -> None:
        self.roster = _checked(options)
        self.heads = SeenHeads(
            MemoryHeads() if options.heads is None else options.heads,
            run_id=options.run_id,
            roster=self.roster,
            coordinator=options.coordinator,
        )
        self.last_session = last_session
        self._exchange = exchange
        self._options = options
        self._minimum = minimum_sites
        self._study_digest = study_digest
        self._opener = SessionOpener(
            exchange,
            run_id=options.run_id,
            study_digest=study_digest,
            signed_roster=options.signed_roster,
            heads=self.heads,
        )
        self._session: OpenedSession | None = None
        self._asked_back_at = 0

    @property
    def session(self) -> OpenedSession:
        """The session in use; :meth:`begin` opens the first one."""
        if self._session is None:
            raise RuntimeError("no session is open")
        return self._session

    def begin(self) -> None:
        """Open the first session.

        Raises:
            CoordinationError: fewer sites than expected are connected or give their key.
            InputError: the heads of their ledgers cannot be kept.
        """
        expected = self._options.expected_sites
        needed = max(len(self.roster.sites) if expected is None else expected, self._minimum)
        if needed > len(self.roster.sites):
            raise CoordinationError(
                f"the roster has {len(self.roster.sites)} sites, and {needed} are needed"
            )
        nodes = self._exchange.wait_for_nodes(needed)
        if len(nodes) < needed:
            raise CoordinationError(
                f"{len(nodes)} of {needed} sites are connected; start the others"
            )
        session = self._opened(nodes)
        if len(session.sites) < needed:
            raise CoordinationError(
                f"{len(session.sites)} of {needed} sites opened the session"
                + told(session.failures)
            )
        # Later on it is a note at the end: what was released by then is worth more.
        if self.heads.unsaved is not None:
            raise self.heads.unsaved
        self._session = session

    def close(self) -> tuple[str, ...]:
        """End the session in use, if there is one; returns a sentence for each thing that failed.

        Nothing may be asked for afterwards.
        """
        session, self._session = self._session, None
        if session is None:
            return ()
        failures = close_session(
            session,
            self._exchange,
            run_id=self._options.run_id,
            study_digest=self._study_digest,
            roster=self.roster,
            heads=self.heads,
        )
        notes = [
            f"The end of the ledger of {site} is not known: {failure.why.rstrip('.')}."
            for site, failure in sorted(failures.items())
        ]
        if self.heads.unsaved is not None:
            notes.append(f"The newest heads of the ledgers were not kept: {self.heads.unsaved}")
        return tuple(notes)

    def ask_back_if_due(self) -> None:
        """Ask missing sites back, once enough sums were completed since that was done last."""
        if self.session.completed - self._asked_back_at >= self._options.rejoin_after:
            self._ask_back()

    def roster_for(self, what: str, *, among: Collection[str] | None) -> tuple[str, ...]:
        """The sites to ask, of ``among`` (None: of all).

        Where they are too few, those that were lost are asked back first, unless this was done
        since the last sum was completed, or all of them refused for good.

        Raises:
            CoordinationError: they are still too few; says who failed, when and why.
        """
        if len(sites := self._present(among)) >= self._minimum:
            return sites
        failures = self.session.failures.values()
        if self.session.completed and any(failure.may_pass for failure in failures):
            self._ask_back()
            if len(sites := self._present(among)) >= self._minimum:
                return sites
        total = len(self.roster.sites if among is None else among)
        raise CoordinationError(
            f"{len(sites)} of {total} sites are left for the {what}, and {self._minimum} are "
            "needed" + told(self.session.failures)
        )

    def _present(self, among: Collection[str] | None) -> tuple[str, ...]:
        return tuple(site for site in self.session.sites if among is None or site in among)

    def _ask_back(self) -> None:
        """Open a new session where sites are missing; keep it if more of them are there."""
        old = self.session
        self._asked_back_at = old.completed
        names = set(self.roster.names)
        if names <= {*old.sites, *old.refused}:
            return
        nodes = self._exchange.node_ids()
        if set(nodes) <= {old.nodes[site] for site in old.sites}:
            return
        new = self._opened(nodes)
        for site, failure in old.refused.items():
            new.leave(site, failure)
        if len(new.sites) <= len(old.sites):
            for site in names.intersection(new.failures).difference(old.sites):
                if not new.failures[site].may_pass:
                    old.leave(site, new.failures[site])
            return
        for site in names.difference(new.sites, new.failures).intersection(old.failures):
            new.failures[site] = old.failures[site]
        self._session, self._asked_back_at = new, 0

    def _opened(self, nodes: Collection[int]) -> OpenedSession:
        self.last_session += 1
        return self._opener.open(self.last_session, nodes)


def _checked(options: RunOptions) -> Roster:
    if options.federation_key is None:
        return options.signed_roster.roster
    try:
        return checked_roster(options.signed_roster, federation_key=options.federation_key)
    except RosterError as error:
        raise CoordinationError(str(error)) from error
