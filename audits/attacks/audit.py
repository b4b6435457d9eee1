"""All attacks on one study, through queries to real vaults."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np

from fedward.audits.attacks.gradient_inversion import inversion_caps, invert_gradients
from fedward.audits.attacks.membership_inference import infer_membership, membership_caps
from fedward.audits.attacks.result import AttackAudit
from fedward.audits.attacks.trap_weights import trap_caps, trap_weights
from fedward.audits.attacks.views import Sites
from fedward.common.privacy.plan import plan_for
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import Dimensions
from fedward.simulations.hospitals.holdout import concatenate
from fedward.simulations.hospitals.hospital import Hospitals
from fedward.simulations.trainings import SplitHospitals

LIBRARIES = ("fedward", "numpy", "scipy", "torch")
SEED = 0
"""Of the attacker's own choices if none is given; the noise then comes from the system."""

OnStep = Callable[[str], None]
"""Is called with what comes next, for a line on the terminal."""


def audit_attacks(
    study: Study,
    hospitals: Hospitals,
    *,
    seed: int | None = None,
    notes: tuple[str, ...] = (),
    on_step: OnStep = lambda _: None,
) -> AttackAudit:
    """Try every attack under every view.

    ``seed`` makes all of it reproducible, the noise too; for tests. None takes the noise from the
    operating system. The attacked site is the one with most patients. Raises
    :class:`~fedward.common.errors.PrivacyRefusal` where no noise meets the study's epsilon.
    """
    started = time.perf_counter()
    # Before anything is attacked: it may refuse.
    plan_for(study, sites=len(hospitals.sites), coordinates=Dimensions.of(study).longest)
    generator = np.random.Generator(np.random.PCG64(SEED if seed is None else seed))
    split = SplitHospitals.of(hospitals, study, seed=SEED)
    reference = concatenate(list(split.held_out.values()))
    patients = concatenate(list(split.training.values()))
    victim = max(split.training, key=lambda site: split.training[site].patient_count)
    sites = Sites(cohorts=split.training, victim=victim, noise_seed=seed)
    on_step("Trap weights")
    trap = trap_weights(study, sites, reference=reference, generator=generator)
    on_step("Gradient inversion")
    known = reference if reference.patient_count else patients
    inversion = invert_gradients(
        study,
        patients,
        reference=known.features,
        sites=len(split.training),
        noise_seed=seed,
        generator=generator,
    )
    on_step("Membership inference")
    membership = infer_membership(
        study,
        {hospital.name: hospital.cohort for hospital in hospitals.sites},
        noise_seed=seed,
        generator=generator,
    )
    return AttackAudit(
        study_name=study.about.name,
        study_digest=study.digest,
        sites=len(hospitals.sites),
        data_description=hospitals.description,
        seed=seed,
        epsilon=study.privacy.epsilon,
        delta=study.privacy.delta,
        attacks=(trap, inversion, *membership),
        notes=(
            f"The raw and the clipped update are those of {victim}, the hospital with most "
            "patients; under the other two views it is the sum of all hospitals.",
            "Each attack under each view has the whole budget of the study's training to itself.",
            "Attacks that fail prove nothing: better ones may come. The study's epsilon holds "
            "against all of them.",
            *trap_caps(study),
            *inversion_caps(study, sites=len(hospitals.sites)),
            *membership_caps(
                study, patients=sum(one.cohort.patient_count for one in hospitals.sites)
            ),
            *notes,
        ),
        seconds=time.perf_counter() - started,
        versions={name: version(name) for name in LIBRARIES},
    )
