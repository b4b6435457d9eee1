"""The empirical audit of a study: rehearse it, measure it, attack it, and hold it to its claims."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib.metadata import version

from fedward.audits.empirical.claims import CONFIDENCE, audited_claims, beyond_refuting
from fedward.audits.empirical.meters.all_meters import measure
from fedward.audits.empirical.rehearsal import rehearse
from fedward.audits.empirical.result import EmpiricalAudit
from fedward.client.cohort import Cohort
from fedward.common.study.definition import Study

DEFAULT_SITES = 4
DEFAULT_CANARIES = 5000
INVENTED = "Invented patients, drawn uniformly from the study's public ranges."

OnStage = Callable[[str, int, int], None]
"""Called with the name of a stage, how much of it is done, and of how much."""

_LIBRARIES = ("fedward", "dp-accounting", "numpy", "scipy", "torch", "cryptography")
_NOTES = (
    "Canaries are invented patients whose gradients cannot be mistaken for another's, each in the "
    "study by the toss of a coin; the auditor plays a malicious coordinator, and what a canary "
    "loses is what the worst-placed patient could.",
    f"Each lower bound by itself is above the truth with probability at most {1 - CONFIDENCE:.2g}. "
    "How many guesses it rests on was fixed by simulating the claim, before looking.",
    "Bounds by Steinke, Nasr and Jagielski hold for any mechanism. Those by Mahloujifar, Melis and "
    "Chaudhuri hold for the claimed family of mechanisms at any noise.",
    "A lower bound far below the claim does not show that the claim is too careful: one run shows "
    "only so much. Small faults of the noise are found by the meters, not by the bounds.",
    "The bounds are about training patients. The noise of evaluations is of the same making, and "
    "is measured, not attacked.",
)


def audit_study(
    study: Study,
    *,
    cohorts: Mapping[str, Cohort] | None = None,
    data_description: str = INVENTED,
    sites: int = DEFAULT_SITES,
    canaries: int = DEFAULT_CANARIES,
    seed: int | None = None,
    on_stage: OnStage = lambda stage, done, total: None,  # noqa: ARG005
) -> EmpiricalAudit:
    """Audit a study on the vaults' own training path; takes some seconds to a minute.

    ``cohorts`` are training patients by site; None invents some at ``sites`` sites. A ``seed``
    makes the rehearsal repeatable, so that its noise is not a secret: patients of ``cohorts`` are
    in no danger, as no release of them leaves this process.

    Raises:
        PrivacyRefusal: the study has no plan for so many sites.
        FedwardError: a vault refused what the study plans.
        ValueError: a model for which there are no canaries.
    """
    started = time.monotonic()
    rehearsal = rehearse(
        study,
        cohorts=cohorts,
        sites=sites,
        canaries=canaries,
        seed=seed,
        on_progress=lambda done, total: on_stage("sums from all vaults", done, total),
    )
    claims = []
    for claim in audited_claims(rehearsal):
        claims.append(claim)
        on_stage("lower bounds", len(claims), len(rehearsal.views))
    meters = measure(rehearsal, on_progress=lambda done, total: on_stage("meters", done, total))
    return EmpiricalAudit(
        study_name=study.about.name,
        study_digest=study.digest,
        sites=len(rehearsal.sites.roster),
        canaries=canaries,
        data_description=data_description,
        seed=seed,
        meters=meters,
        claims=tuple(claims),
        notes=(*_NOTES, *rehearsal.notes, *beyond_refuting(rehearsal)),
        seconds=time.monotonic() - started,
        versions={library: version(library) for library in _LIBRARIES},
    )
