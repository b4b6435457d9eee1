"""One training through the project's real pipeline, and how well its model does.

Real keys, sessions, masks, vaults, gate, ledger, plan, ring and coordinator over the in-process
engine. Noise comes from the operating system: no seed reaches it, so private figures differ a
little from run to run. Held-out patients are judged here, in the clear; the sums over them that a
study releases, for which they pay themselves, are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from fedward.client.cohort import Cohort
from fedward.client.vault.policy import SitePolicy
from fedward.client.vault.protection import PlannedProtection, Protection
from fedward.common.metrics import auroc, confusion
from fedward.common.privacy.budget import RunBudget
from fedward.common.privacy.plan import PrivacyPlan, plan_for
from fedward.common.privacy.random_source import RandomSource
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions
from fedward.server.coordinator import OnRound
from fedward.server.run_options import RunOptions
from fedward.simulations.arms import NOT_EVALUATED, changed
from fedward.simulations.credentials import Credentials
from fedward.simulations.engines.in_process_engine import InProcessEngine
from fedward.simulations.evaluation import joined, predict_patients
from fedward.simulations.federation import Engine, SimulatedRun, SimulatedSite, train
from fedward.simulations.spending import spent_by
from fedward.simulations.unprotected import Unprotected

RUN_ID = "benchmark"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One model on held-out patients, all together and site by site.

    Both epsilons follow from what the run executed; None without privacy.
    """

    accuracy: float
    auroc: float
    by_site: tuple[float, ...]
    epsilon: float | None
    epsilon_alone: float | None

    @property
    def site_mean(self) -> float:
        """Mean accuracy of the sites, each counting alike."""
        return sum(self.by_site) / len(self.by_site)


def trained(
    study: Study,
    cohorts: Mapping[str, Cohort],
    *,
    private: bool,
    engine: Engine | None = None,
    insecure_noise_seed: int | None = None,
    masked: bool = True,
    on_round: OnRound | None = None,
) -> SimulatedRun:
    """Train over ``cohorts`` by site name; one cohort alone is the pooled baseline.

    ``masked`` False leaves out the masks, and nothing else.
    """
    pooled = len(cohorts) == 1
    study = _as_trained(study, pooled=pooled)
    largest = max(cohort.patient_count for cohort in cohorts.values())
    protection: Protection = Unprotected(largest_site=largest)
    if private:
        protection = PlannedProtection(pooled=pooled)
    seed = insecure_noise_seed
    credentials = Credentials.issue(
        cohorts,
        run_id=RUN_ID,
        randomness=RandomSource.from_os() if seed is None else RandomSource.insecure(seed),
    )
    sites = [
        SimulatedSite(
            name=name,
            identity=credentials.identities[name],
            cohort=cohort,
            held_out=None,
            study=study,
            protection=protection,
            policy=SitePolicy(
                federation_key=credentials.federation_key, known_keys=credentials.known_keys
            ),
            insecure_noise_seed=seed,
            masked=masked,
        )
        for name, cohort in cohorts.items()
    ]
    options = RunOptions(
        run_id=RUN_ID,
        signed_roster=credentials.signed_roster,
        federation_key=credentials.federation_key,
        coordinator=SiteIdentity.from_private_bytes(credentials.coordinator),
        minimum_sites=1 if pooled else None,
        budget=RunBudget(_plan(study, sites=len(sites))) if private else None,
    )
    return train(
        study, sites, engine=engine or InProcessEngine(), options=options, on_round=on_round
    )


def outcome_of(run: SimulatedRun, study: Study, held_out: Mapping[str, Cohort]) -> Outcome:
    """Judge the run's model on held-out patients and account for what it executed."""
    by_site = {
        name: predict_patients(run.state, study, cohort)
        for name, cohort in held_out.items()
        if cohort.patient_count
    }
    threshold = study.evaluation.threshold
    everyone = joined(by_site)
    accuracies = [
        confusion(p.target, p.probability, threshold=threshold).accuracy
        for p in (everyone, *by_site.values())
    ]
    ranked = auroc(everyone.target, everyone.probability)
    whole, alone = _epsilons(run, study)
    return Outcome(
        accuracy=accuracies[0] or 0.0,
        auroc=float("nan") if ranked is None else ranked,
        by_site=tuple(accuracy or 0.0 for accuracy in accuracies[1:]),
        epsilon=whole,
        epsilon_alone=alone,
    )


def _epsilons(run: SimulatedRun, study: Study) -> tuple[float | None, float | None]:
    """Both epsilons of the worst site; the accountants' caches make all but the first call free."""
    sites = {record.site for record in run.records}
    if not any(record.executed for record in run.records):
        return None, None
    plan = _plan(_as_trained(study, pooled=len(sites) == 1), sites=len(sites))
    spent = spent_by(run.records, sites=sites, delta=plan.accounting_delta)
    return spent.epsilon.epsilon, spent.epsilon_alone


@lru_cache(maxsize=256)
def _as_trained(study: Study, *, pooled: bool) -> Study:
    changes = {"evaluation": NOT_EVALUATED}
    # Nobody can collude where one site holds all patients.
    return changed(study, changes | {"privacy": {"colluding": 0}} if pooled else changes)


def _plan(study: Study, *, sites: int) -> PrivacyPlan:
    return plan_for(study, sites=sites, pooled=sites == 1, coordinates=Dimensions.of(study).longest)
