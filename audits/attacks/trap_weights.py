"""Trap weights: models by which a malicious coordinator reads single records off a sum."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import poisson

from fedward.audits.attacks.error_trap import read_by_errors
from fedward.audits.attacks.neuron_trap import read_by_neurons
from fedward.audits.attacks.records import TOLERANCE, RecordSpace, nearest
from fedward.audits.attacks.result import (
    VIEWS,
    AttackFigure,
    AttackResult,
    Reconstruction,
    View,
)
from fedward.audits.attacks.threshold_trap import read_by_thresholds
from fedward.audits.attacks.views import Sites, SumsInView
from fedward.client.cohort import Cohort
from fedward.common.models.mlp import Mlp
from fedward.common.study.definition import LocalTraining, Study
from fedward.common.study.dimensions import study_model

MOST_ROUNDS = 100
FEWEST_ROUNDS = 3
SHOWN = 4
LUCK = 0.01
"""Records that guessing is granted when it found none; one more is then beyond it."""
SIGNIFICANCE = 0.01


def trap_weights(
    study: Study,
    sites: Sites,
    *,
    reference: Cohort,
    generator: np.random.Generator,
) -> AttackResult:
    """Attack the federation of ``sites`` with models chosen to single patients out.

    ``reference`` are other patients, whom the attacker knows: they tell it where records lie, and
    their records are what it would guess without any release.
    """
    space = RecordSpace.of(study)
    why = _not_applicable(study, reference)
    if why is not None:
        return _result(
            study, [AttackFigure(view=v, value=None, chance=0.0, why=why) for v in VIEWS]
        )
    guesses: dict[View, NDArray[np.float64]] = {}
    read: dict[View, NDArray[np.bool_]] = {}
    figures: list[AttackFigure] = []
    worked = False
    seed = int(generator.integers(2**32))
    for view in VIEWS:
        records = np.concatenate([sites.cohorts[site].features for site in sites.seen(view)])
        sums = SumsInView(study, sites, view, run_id=f"trap/{view}")
        # The same models under each view, as far as they do not depend on the answers.
        same = np.random.Generator(np.random.PCG64(seed))
        share = len(sites.seen(view)) / len(sites.cohorts)
        found = space.bounded(_guesses(study, sums, reference, same, share=share))
        guesses[view] = found
        read[view] = space.read(found, records)
        blind = int(space.read(reference.features[: len(found)], records).sum())
        figures.append(
            AttackFigure(view=view, value=float(read[view].mean()), chance=blind / len(records))
        )
        if view == "noised":
            worked = bool(poisson.sf(int(read[view].sum()) - 1, blind + LUCK) < SIGNIFICANCE)
    shown = _shown(sites, guesses, read, space=space)
    return _result(study, figures, worked=worked, reconstructions=shown)


def trap_caps(study: Study) -> tuple[str, ...]:
    """Where less is tried than the study would allow, a sentence each."""
    if study.training.rounds <= MOST_ROUNDS:
        return ()
    return (f"Trap weights are sent in {MOST_ROUNDS} of {study.training.rounds} rounds.",)


def _not_applicable(study: Study, reference: Cohort) -> str | None:
    if study.training.rounds < FEWEST_ROUNDS:
        return f"needs {FEWEST_ROUNDS} rounds, and the study has {study.training.rounds}"
    if not reference.patient_count or len(np.unique(reference.target)) < 2:
        return "needs a few patients of both outcomes outside the training"
    return None


def _guesses(
    study: Study,
    sums: SumsInView,
    reference: Cohort,
    generator: np.random.Generator,
    *,
    share: float,
) -> NDArray[np.float64]:
    """Run the trap that suits the study's model and batches; ``share`` of the sites are seen."""
    model = study_model(study)
    rounds = min(sums.rounds, MOST_ROUNDS)
    patients = study.cohort.expected_patients * share
    rate = study.training.sampling_rate
    if isinstance(model, Mlp):
        return read_by_neurons(
            sums.ask,
            model,
            rounds=rounds,
            reference=reference.features,
            patients=max(1.0, patients * rate),
            generator=generator,
        )
    if rate == 1.0:
        return read_by_thresholds(
            sums.ask,
            rounds=rounds,
            clip=sums.clip,
            reference=reference.features,
            patients=patients,
            generator=generator,
        )
    return read_by_errors(
        sums.ask,
        rounds=rounds,
        reference=reference.features,
        outcomes=reference.target,
        generator=generator,
    )


def _shown(
    sites: Sites,
    guesses: Mapping[View, NDArray[np.float64]],
    read: Mapping[View, NDArray[np.bool_]],
    *,
    space: RecordSpace,
) -> tuple[Reconstruction, ...]:
    """Records of the attacked site, those first that most views gave away."""
    names = sites.seen("masked")
    before = sum(len(sites.cohorts[name].target) for name in names[: names.index(sites.victim)])
    records = sites.cohorts[sites.victim].features
    times = np.zeros(len(records), dtype=np.int64)
    for view in VIEWS:
        start = before if len(read[view]) > len(records) else 0
        times += read[view][start : start + len(records)]
    order = np.argsort(-times, kind="stable")[:SHOWN]
    return tuple(
        Reconstruction(
            names=space.names,
            true=space.in_units(records[row]),
            found={
                view: space.in_units(nearest(guesses[view], records[row]))
                if len(guesses[view])
                else None
                for view in VIEWS
            },
            picture=space.picture,
        )
        for row in order
    )


def _result(
    study: Study,
    figures: list[AttackFigure],
    *,
    worked: bool | None = None,
    reconstructions: tuple[Reconstruction, ...] = (),
) -> AttackResult:
    return AttackResult(
        name="trap_weights",
        title="Can records be read off the sums? (trap weights)",
        measure=f"share of records recovered, every value within {TOLERANCE:.0%} of its range",
        explanation=(
            "A malicious coordinator sends models that are made to single patients out. "
            f"{_trap_in_words(study)} It has as many rounds as the study, and knows some patients "
            "outside of the training. Masks hide single hospitals, and yet the sum alone gives "
            "records away; clipping changes their length and not what they say."
        ),
        figures=tuple(figures),
        worked_against_release=worked,
        reconstructions=reconstructions,
    )


def _trap_in_words(study: Study) -> str:
    if isinstance(study_model(study), Mlp):
        return (
            "Each neuron of the first layer lets a few patients through, and where it is one, the "
            "gradient of the neuron is the record."
        )
    if study.training.sampling_rate == 1.0:
        return (
            "Two models that disagree about one patient alone give sums that differ by the "
            "record: about one a round."
        )
    words = (
        "A model that is sure and right about nearly everybody leaves the few whom it has wrong, "
        "and where that is one patient, the sum is the record."
    )
    if isinstance(study.training, LocalTraining):
        words += " Local steps add up several batches, so this seldom is so here."
    return words
