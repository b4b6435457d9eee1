"""One training through the project's real pipeline, and how well its model does.

Real vaults, gate, ledger, plan, ring and coordinator over the in-process engine. Noise comes from
the operating system: no seed reaches it, so private figures differ a little from run to run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fedward.client.cohort import Cohort
from fedward.client.vault.gate import SitePolicy
from fedward.client.vault.protection import PlannedProtection, Protection
from fedward.common.metrics import auroc, confusion
from fedward.common.privacy.accounting import cross_checked_epsilon, epsilon_of
from fedward.common.privacy.plan import plan_for
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions
from fedward.server.coordinator import CompletedRun, RunOptions
from fedward.simulations.engines.in_process_engine import InProcessEngine
from fedward.simulations.evaluation import joined, predict_patients
from fedward.simulations.federation import Engine, SimulatedSite, executed_events, train
from fedward.simulations.unprotected import Unprotected


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
) -> CompletedRun:
    """Train over ``cohorts`` by site name; one cohort alone is the pooled baseline."""
    pooled = len(cohorts) == 1
    protection: Protection = PlannedProtection(pooled=pooled)
    if not private:
        largest = max(cohort.patient_count for cohort in cohorts.values())
        protection = Unprotected(largest_site=largest)
    sites = [
        SimulatedSite(
            name=name,
            cohort=cohort,
            study=study,
            protection=protection,
            policy=SitePolicy(known_sites=frozenset(cohorts)),
            insecure_noise_seed=insecure_noise_seed,
        )
        for name, cohort in cohorts.items()
    ]
    options = RunOptions(run_id="benchmark", expected_sites=len(sites))
    return train(study, sites, engine=engine or InProcessEngine(), options=options)


def outcome_of(run: CompletedRun, study: Study, held_out: Mapping[str, Cohort]) -> Outcome:
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


def _epsilons(run: CompletedRun, study: Study) -> tuple[float | None, float | None]:
    """Both epsilons of the worst site; the accountants' caches make all but the first call free."""
    sites = sorted({record.site for record in run.records})
    events = [executed_events(run.records, site=site) for site in sites]
    if not any(whole for whole, _ in events):
        return None, None
    plan = plan_for(
        study,
        sites=len(sites),
        pooled=len(sites) == 1,
        coordinates=Dimensions.of(study).longest,
    )
    delta = plan.accounting_delta
    return (
        max(cross_checked_epsilon(whole, delta=delta).epsilon for whole, _ in events),
        max(epsilon_of(alone, delta=delta) for _, alone in events),
    )
