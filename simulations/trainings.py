"""The trainings of an arm: who takes part in each, under which study and with which protection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fedward.client.cohort import Cohort
from fedward.client.vault.policy import SitePolicy
from fedward.client.vault.protection import PlannedProtection, Protection
from fedward.common.privacy.budget import RunBudget
from fedward.common.privacy.plan import PrivacyPlan, plan_for
from fedward.common.secure_sum.signatures import SiteIdentity
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions
from fedward.server.run_options import RunOptions
from fedward.simulations.arms import Arm, changed
from fedward.simulations.conditions import Conditions
from fedward.simulations.credentials import Credentials
from fedward.simulations.drop_outs import DropOuts
from fedward.simulations.federation import SimulatedSite
from fedward.simulations.hospitals.holdout import concatenate, split_holdout
from fedward.simulations.hospitals.hospital import Hospitals
from fedward.simulations.unprotected import Unprotected

EVERYONE = "all"
"""Name of the one training of an arm whose hospitals train together."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitHospitals:
    """All hospitals at one seed: training and held-out patients by site name."""

    training: Mapping[str, Cohort]
    held_out: Mapping[str, Cohort]

    @classmethod
    def of(cls, hospitals: Hospitals, study: Study, *, seed: int) -> SplitHospitals:
        """Split every hospital by patient."""
        splits = {
            hospital.name: split_holdout(
                hospital.cohort, holdout=study.evaluation.holdout, seed=seed, site=hospital.name
            )
            for hospital in hospitals.sites
        }
        return cls(
            training={name: split[0] for name, split in splits.items()},
            held_out={name: split[1] for name, split in splits.items()},
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """One training of an arm: a federation of some hospitals, or of one.

    ``cohorts`` are the training patients by site; ``held_out`` those over whom the model is summed
    up afterwards, none where one site holds everybody.
    """

    part: str
    study: Study
    cohorts: Mapping[str, Cohort]
    held_out: Mapping[str, Cohort]
    plan: PrivacyPlan | None


def trainings_of(arm: Arm, split: SplitHospitals) -> list[Training]:
    """The federations that an arm trains, each under the study as it holds for it."""
    if arm.grouping == "alone":
        # A hospital on its own knows how many patients it has.
        return [
            Training(
                part=site,
                study=_sized_for(arm.study, max(2, cohort.patient_count)),
                cohorts={site: cohort},
                held_out={},
                plan=None,
            )
            for site, cohort in split.training.items()
        ]
    study, cohorts, held_out = arm.study, dict(split.training), dict(split.held_out)
    if arm.grouping == "pooled":
        everyone = concatenate(list(cohorts.values()))
        cohorts, held_out = {"pooled": everyone}, {}
        # The study's bound is for one hospital, and this one holds them all.
        bound = max(study.cohort.max_patients_per_site, everyone.patient_count)
        study = changed(study, {"cohort": {"max_patients_per_site": bound}})
    return [
        Training(
            part=EVERYONE,
            study=study,
            cohorts=cohorts,
            held_out=held_out,
            plan=plan_of(arm, sites=len(cohorts)) if arm.protected else None,
        )
    ]


def _sized_for(study: Study, patients: int) -> Study:
    """Declare so many patients; delta goes with them, though nothing is charged here."""
    delta = min(study.privacy.delta, 1 / (20 * patients))
    return changed(study, {"cohort": {"expected_patients": patients}, "privacy": {"delta": delta}})


def plan_of(arm: Arm, *, sites: int) -> PrivacyPlan:
    """The calibrated plan of a protected arm; PrivacyRefusal where none exists."""
    return plan_for(
        arm.study,
        sites=1 if arm.grouping == "pooled" else sites,
        coordinates=Dimensions.of(arm.study).longest,
        pooled=arm.grouping == "pooled",
    )


def run_options(
    arm: Arm, training: Training, credentials: Credentials, *, run_id: str, seed: int
) -> RunOptions:
    """What the coordinator of a training is told beside its study."""
    return RunOptions(
        run_id=run_id,
        signed_roster=credentials.signed_roster,
        federation_key=credentials.federation_key,
        minimum_sites=None if arm.grouping == "federated" else 1,
        budget=None if training.plan is None else RunBudget(training.plan),
        model_seed=seed,
        # Messages cost next to nothing here, so a hospital that failed is asked back at once.
        rejoin_after=1,
        coordinator=SiteIdentity.from_private_bytes(credentials.coordinator),
    )


def simulated_sites(
    arm: Arm,
    training: Training,
    credentials: Credentials,
    *,
    conditions: Conditions,
    seed: int,
) -> list[SimulatedSite]:
    """The recipes of the vaults that take part. Only a federation's hospitals ever fail."""
    largest = max(
        cohort.patient_count for cohort in (*training.cohorts.values(), *training.held_out.values())
    )
    protection: Protection = Unprotected(largest_site=largest)
    if arm.protected:
        protection = PlannedProtection(pooled=arm.grouping == "pooled")
    policy = SitePolicy(
        federation_key=credentials.federation_key,
        known_keys=credentials.known_keys,
        # Simulated hospitals allow what their study asks for.
        allow_site_evaluation=training.study.evaluation.per_site,
    )
    drop_outs = None
    if conditions.drop_out and arm.grouping == "federated":
        drop_outs = DropOuts(rate=conditions.drop_out, seed=seed)
    return [
        SimulatedSite(
            name=name,
            identity=credentials.identities[name],
            cohort=cohort,
            held_out=training.held_out.get(name),
            study=training.study,
            protection=protection,
            policy=policy,
            insecure_noise_seed=conditions.insecure_noise_seed,
            masked=conditions.masked,
            drop_outs=drop_outs,
        )
        for name, cohort in training.cohorts.items()
    ]
