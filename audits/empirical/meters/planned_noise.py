"""Noise read off releases, in units of what the plan says that it should be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedward.audits.empirical.audit_study import AuditStudy
from fedward.audits.empirical.canaries import canary_columns, canary_moments
from fedward.audits.empirical.local_steps import LocalSteps
from fedward.audits.empirical.meters.noise import SharedNoise
from fedward.audits.empirical.rehearsal import Rehearsal
from fedward.audits.empirical.rehearsed_sites import RehearsedSites
from fedward.common.privacy.plan import PrivacyPlan
from fedward.common.privacy.sum_plan import SumKind, honest_sites

Read = Callable[[str, NDArray[np.float64]], NDArray[np.float64]]
"""Leaves the noise alone, ``[releases, coordinates]``, of a site's ``[releases, length]``."""


def share_deviation(audit: AuditStudy, plan: PrivacyPlan, kind: SumKind) -> float:
    """Planned standard deviation of one site's share, in the units of its release.

    The ring adds to it what it charges for rounding, a part in 10^5: a meter does not see it.
    """
    planned = plan.of(kind)
    if planned is None:
        raise ValueError(f"the study plans no {kind} sum")
    deviation = planned.share_multiplier * planned.clip
    if kind == "training" and audit.is_local:
        steps = LocalSteps.of(audit.study, sites=plan.sites)
        return deviation * abs(steps.unit) * steps.length
    return deviation


def noise_of(
    asked: Sequence[RehearsedSites],
    kind: SumKind,
    *,
    audit: AuditStudy,
    plan: PrivacyPlan,
    sites: Sequence[str],
    read: Read,
) -> SharedNoise:
    """The noise of all releases of a kind, by ``sites``.

    The sum is taken over as many of them as make up the planned noise; None where each adds all.
    """
    unit = share_deviation(audit, plan, kind)
    by_site = {
        site: np.concatenate([read(site, one.values(kind, site)) for one in asked]) / unit
        for site in sites
    }
    honest = honest_sites(kind, trust=plan.trust, sites=plan.sites, colluding=plan.colluding)
    of_sum = None
    if 1 < honest <= len(sites):
        of_sum = np.sum([by_site[site] for site in sites[:honest]], axis=0) / np.sqrt(honest)
    return SharedNoise(kind=kind, by_site=by_site, of_sum=of_sum)


def rehearsed_noise(rehearsal: Rehearsal) -> SharedNoise:
    """The noise of the training sums, in the columns of canaries that are nowhere."""
    audit, absent = rehearsal.audit, np.flatnonzero(~rehearsal.canaries.included)

    def read(site: str, values: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ARG001
        # The auditor's weights are 0 there, so that local steps carry nothing along.
        return canary_columns(values, audit=audit)[..., absent].reshape(len(values), -1)

    return noise_of(
        [rehearsal.sites],
        "training",
        audit=audit,
        plan=rehearsal.plan,
        sites=rehearsal.sites.roster,
        read=read,
    )


def of_real_patients(
    kind: Literal["moments", "training"], audit: AuditStudy, *, length: int
) -> NDArray[np.bool_]:
    """Which coordinates ``[length]`` are not of a canary's column: real columns, later layers."""
    marked = np.ones(length)
    columns = canary_moments if kind == "moments" else canary_columns
    columns(marked, audit=audit)[...] = 0.0
    return marked > 0


def beside_nothing(audit: AuditStudy, parameters: NDArray[np.float64], *, sites: int) -> Read:
    """Reads noise in all coordinates of training sums that no gradient is in.

    So it is where all outcomes are negative and ``parameters`` are certain of it.
    """
    carried = LocalSteps.of(audit.study, sites=sites).carried if audit.is_local else 0.0

    def read(site: str, values: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ARG001
        return np.asarray(values - carried * parameters)

    return read


def difference_to(bare: RehearsedSites, kind: SumKind) -> Read:
    """Reads noise as the difference to the same sum of the same patients without it."""

    def read(site: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(values - bare.values(kind, site)[0])

    return read
