"""Meters of the sampler: every patient by a coin of its own, in every batch anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.audits.empirical.audit_study import CERTAIN, AuditStudy
from fedward.audits.empirical.canaries import CanaryShape, amounts, canary_columns
from fedward.audits.empirical.local_steps import LocalSteps
from fedward.audits.empirical.meters.bare_rehearsal import (
    SMALL_SITE,
    TAGGED,
    BareRehearsal,
    bare_rounds,
    empty_chance,
    small_size,
)
from fedward.audits.empirical.meters.levels import (
    binomial_p,
    judged,
    not_applicable,
    smallest,
)
from fedward.audits.empirical.meters.tails import CoinSums, coin_sum_p, spread_p
from fedward.audits.empirical.rehearsed_sites import RehearsedSites
from fedward.audits.empirical.result import MeterResult
from fedward.client.cohort import Cohort
from fedward.common.study.definition import Model, Study

_LOCAL_ROUNDS = 30
NAMES = ("sampling_rate", "sampling_by_patient", "batch_sizes", "empty_batches")


@dataclass(frozen=True, kw_only=True, eq=False)
class Doses:
    """How often each patient was in, by site ``[releases, patients]``.

    A release holds steps of known ``weights``, one of weight 1 but in local training; a dose is the
    sum of the weights of the steps that the patient was in.
    """

    by_site: Mapping[str, NDArray[np.float64]]
    weights: NDArray[np.float64]
    rate: float

    @property
    def mean(self) -> float:
        """Of one dose."""
        return float(self.rate * self.weights.sum())

    def sums(self, *, groups: int, terms: int) -> CoinSums:
        """What so many sums of ``terms`` doses each are, if every coin is independent."""
        return CoinSums(groups=groups, terms=terms, weights=self.weights, rate=self.rate)

    @classmethod
    def seen(cls, bare: BareRehearsal) -> Doses:
        """Those of distributed training, where a release holds one batch."""
        return cls(
            by_site={site: one.astype(np.float64) for site, one in bare.sampled.items()},
            weights=np.ones(1),
            rate=bare.rate,
        )


def sampling_meters(doses: Doses) -> Iterator[MeterResult]:
    """All meters of a sampled study; empty batches only where a release is one batch."""
    yield _rate(doses)
    large = [dose for site, dose in doses.by_site.items() if site != SMALL_SITE]
    yield _spread(
        "sampling_by_patient",
        "How often each patient is sampled varies as independent coins do.",
        [dose.sum(axis=0) for dose in large],
        doses=doses,
        terms=[len(dose) for dose in large],
    )
    yield _spread(
        "batch_sizes",
        "The sizes of batches vary as independent coins have it, neither fixed nor in groups.",
        [dose.sum(axis=1) for dose in large],
        doses=doses,
        terms=[dose.shape[1] for dose in large],
    )
    yield _empty(doses)


def nothing_sampled() -> Iterator[MeterResult]:
    """What the meters say where every sum is over everyone."""
    for name in NAMES:
        yield not_applicable(name, "Every sum is over all patients, so nothing is sampled.")


def local_doses(
    study: Study, *, seed: int | None
) -> tuple[Doses | None, tuple[RehearsedSites, ...]]:
    """Rehearse the sampler of local training; None if steps are too long to be read apart.

    The sampler does not look at the model, so canaries train a logistic regression, at which their
    residual stays 1 through all steps.
    """
    bound = max(study.cohort.max_patients_per_site, TAGGED + 1)
    audit = AuditStudy.of(
        study,
        canaries=TAGGED,
        model=Model(name="logistic_regression"),
        cohort=study.cohort.model_copy(update={"max_patients_per_site": bound}),
    )
    cohorts, patients = _canary_cohorts(audit)
    steps = LocalSteps.of(audit.study, sites=len(cohorts))
    clip = study.privacy.clip
    longest = abs(steps.unit) * clip * float(np.abs(steps.weights).sum())
    # A canary's own steps move its weight, everybody's move the bias a little.
    if longest * (audit.amplitude + TAGGED / audit.amplitude) > 0.7 * CERTAIN:
        return None, ()
    parameters = audit.parameters()
    shape = CanaryShape.of(audit, parameters)
    asked = bare_rounds(
        audit, cohorts, parameters, rounds=_LOCAL_ROUNDS, seed=seed, run_id="audit-sampler"
    )
    by_site = {}
    for site, count in patients.items():
        updates = np.concatenate([one.values("training", site) for one in asked])
        columns = canary_columns(updates, audit=audit)[..., :count] / steps.unit
        by_site[site] = amounts(columns, shape, np.ones(count, dtype=np.bool_), clip=clip)
    rate = study.training.sampling_rate
    return Doses(by_site=by_site, weights=steps.weights, rate=rate), tuple(asked)


def _canary_cohorts(audit: AuditStudy) -> tuple[dict[str, Cohort], dict[str, int]]:
    count = max(2, audit.study.cohort.minimum_sites, audit.study.privacy.colluding + 1)
    patients = {f"site-{number}": TAGGED for number in range(1, count + 1)}
    patients[SMALL_SITE] = small_size(audit.study.training.sampling_rate)
    nobody = Cohort(
        features=np.zeros((0, audit.real_columns)),
        target=np.zeros(0),
        offsets=np.zeros(1, dtype=np.int64),
    )
    return {
        site: audit.with_canaries(
            nobody, canaries=np.arange(size), positive=np.ones(size, dtype=np.bool_)
        )
        for site, size in patients.items()
    }, patients


def _rate(doses: Doses) -> MeterResult:
    expected = doses.mean
    whole = np.concatenate([dose.ravel() for dose in doses.by_site.values()])
    p_values = [_mean_p(whole, doses)]
    p_values += [_mean_p(dose.ravel(), doses) for dose in doses.by_site.values()]
    worst = int(np.argmin(p_values))
    return judged(
        "sampling_rate",
        "Patients are sampled at the study's rate.",
        p_value=smallest(np.array(p_values)),
        observed=float(whole.mean()) / float(doses.weights.sum()),
        expected=expected / float(doses.weights.sum()),
        unit="of all steps",
        where=["all sites", *doses.by_site][worst],
    )


def _mean_p(dose: NDArray[np.float64], doses: Doses) -> float:
    if len(doses.weights) == 1:
        return binomial_p(round(float(dose.sum())), dose.size, doses.rate)
    return coin_sum_p(float(dose.sum()), [doses.sums(groups=1, terms=dose.size)])


def _spread(
    name: str,
    sentence: str,
    sums: list[NDArray[np.float64]],
    *,
    doses: Doses,
    terms: list[int],
) -> MeterResult:
    """Sums of ``terms`` doses each, against the squares of as many independent ones."""
    statistic, planned = 0.0, []
    for group, count in zip(sums, terms, strict=True):
        one = doses.sums(groups=group.size, terms=count)
        statistic += float(np.sum((group - one.mean) ** 2)) / one.variance
        planned.append(one)
    groups = sum(one.groups for one in planned)
    return judged(
        name,
        sentence,
        p_value=spread_p(statistic, planned),
        observed=statistic / groups,
        expected=1.0,
        unit="planned variances",
    )


def _empty(doses: Doses) -> MeterResult:
    name = "empty_batches"
    chance = empty_chance(doses.rate)
    if len(doses.weights) > 1:
        return not_applicable(
            name,
            "A local update holds several batches, so that a single one is not seen to be empty; "
            "the noise of every release is measured at a site with empty batches.",
        )
    if chance < 0.05:
        return not_applicable(name, "At this rate no batch is ever likely to be empty.")
    sizes = doses.by_site[SMALL_SITE].sum(axis=1)
    empty = int(np.count_nonzero(sizes == 0))
    return judged(
        name,
        "Empty batches come as often as they must, and are released like any other.",
        p_value=binomial_p(empty, len(sizes), chance),
        observed=empty / len(sizes),
        expected=chance,
        unit=f"of the batches of a site with {small_size(doses.rate)} patients",
        where=SMALL_SITE,
    )
