"""Four ways to see a study's sums: as bare as sites could send them, up to what fedward releases.

Each is real vaults that answer real queries; they differ in the rules of their sums and in whether
the sums are masked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedward.audits.attacks.local_steps import LinearSteps
from fedward.audits.attacks.result import View
from fedward.audits.coordinator_role import CoordinatorRole, summed
from fedward.client.cohort import Cohort
from fedward.client.vault.policy import SitePolicy
from fedward.client.vault.protection import PlannedProtection, Protection, SumRules
from fedward.common.privacy.random_source import RandomSource
from fedward.common.privacy.sum_plan import SumKind
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions
from fedward.simulations.credentials import Credentials
from fedward.simulations.federation import SimulatedSite
from fedward.simulations.unprotected import NoShare, Unprotected

OF_ONE_SITE: frozenset[View] = frozenset({"raw", "clipped"})
"""Views of a single site's update; the others are of the sum over all sites."""


class ClippedOnly:
    """The planned rules without their noise: every patient is clipped, and nothing is charged."""

    def __init__(self) -> None:
        self._planned = PlannedProtection()

    def minimum_roster(self, study: Study) -> int:
        """The study's own minimum."""
        return self._planned.minimum_roster(study)

    def rules(self, study: Study, kind: SumKind, *, sites: int, colluding: int) -> SumRules:
        """The planned clip, rate and ring; PrivacyRefusal as the plan gives it."""
        planned = self._planned.rules(study, kind, sites=sites, colluding=colluding)
        return replace(planned, share=NoShare(), executed=None)

    def plan(self, study: Study, *, sites: int, colluding: int) -> None:  # noqa: ARG002
        """Nothing is charged."""
        return


@dataclass(frozen=True, kw_only=True, eq=False)
class Sites:
    """Training patients by site, and what the attacked federation is made with.

    ``victim`` is the site whose own update is looked at under "raw" and "clipped". ``noise_seed``
    None takes the operating system's randomness.
    """

    cohorts: Mapping[str, Cohort]
    victim: str
    noise_seed: int | None

    def seen(self, view: View) -> tuple[str, ...]:
        """The sites whose patients are in what is seen."""
        return (self.victim,) if view in OF_ONE_SITE else tuple(sorted(self.cohorts))


class SumsInView:
    """Answers to one attacker's queries for training sums, under one view.

    ``rounds`` is how many sums the study allows; under "noised" the ledgers of the vaults see to
    that. Asking for more raises ``NotAnsweredError``.
    """

    def __init__(self, study: Study, sites: Sites, view: View, *, run_id: str) -> None:
        self.study = study
        self.view = view
        self.rounds = study.training.rounds
        self.asked = 0
        self._of = sites.seen(view)
        randomness = _randomness(sites.noise_seed)
        keys = Credentials.issue(sites.cohorts, run_id=run_id, randomness=randomness)
        protection = _protection(view, sites.cohorts)
        policy = SitePolicy(federation_key=keys.federation_key, known_keys=keys.known_keys)
        vaults = {
            name: SimulatedSite(
                name=name,
                identity=keys.identities[name],
                cohort=cohort,
                held_out=None,
                study=study,
                protection=protection,
                policy=policy,
                insecure_noise_seed=sites.noise_seed,
                masked=view not in OF_ONE_SITE,
            ).vault()
            for name, cohort in sites.cohorts.items()
        }
        self._role = CoordinatorRole(study, vaults, signed_roster=keys.signed_roster, run_id=run_id)
        self._steps = LinearSteps.of(study, sites=len(vaults))
        self._noise = _noise_deviation(study, self._steps, sites=len(vaults), view=view)
        columns = Dimensions.of(study).columns
        self._identity = {"center": np.zeros(columns), "scale": np.ones(columns)}

    @property
    def clip(self) -> float:
        """L2 bound of one patient's gradient; infinite where nothing is clipped."""
        return self.study.privacy.clip if self.view in ("clipped", "noised") else np.inf

    @property
    def noise_deviation(self) -> float:
        """Standard deviation of the noise in each coordinate of a sum; 0 without."""
        return self._noise

    def ask(
        self,
        parameters: NDArray[np.float64],
        *,
        center: NDArray[np.float64] | None = None,
        scale: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """The next round's sum at this model, float64 ``[parameters]``.

        Of local updates, what they do without any patient is taken off. Features are scaled by
        ``center`` and ``scale``, which the asker chooses too; None leaves them as their public
        ranges do, in [-1, 1].
        """
        self.asked += 1
        parts = self._role.ask_training(
            round=self.asked,
            parameters=parameters,
            center=self._identity["center"] if center is None else center,
            scale=self._identity["scale"] if scale is None else scale,
            of=self._of,
        )
        drift = len(parts) * self._steps.drift
        return summed(parts) - drift * parameters if drift else summed(parts)


def _protection(view: View, cohorts: Mapping[str, Cohort]) -> Protection:
    if view == "noised":
        return PlannedProtection()
    if view == "clipped":
        return ClippedOnly()
    return Unprotected(largest_site=max(cohort.patient_count for cohort in cohorts.values()))


def _noise_deviation(study: Study, steps: LinearSteps, *, sites: int, view: View) -> float:
    """Of all sites' shares together; every local step has its own."""
    if view != "noised":
        return 0.0
    planned = PlannedProtection().plan(study, sites=sites, colluding=0).training
    share = planned.share_multiplier * planned.clip * float(np.linalg.norm(steps.gains))
    return share * math.sqrt(sites)


def _randomness(seed: int | None) -> RandomSource:
    return RandomSource.from_os() if seed is None else RandomSource.insecure(seed)
