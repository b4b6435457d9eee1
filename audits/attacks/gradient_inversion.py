"""Gradient inversion: patients whose gradients would add up to what was released.

Geiping et al. 2020, "Inverting Gradients - How Easy Is It to Break Privacy in Federated Learning?",
section 4: minimise one minus the cosine between the observed gradient and that of the guess, within
the bounds of the data, by Adam; of several starts the best is kept. Without their prior for natural
images: what is shown is what the gradient alone gives away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward.audits.attacks.gradient_search import STARTS, search_patients
from fedward.audits.attacks.inversion_verdict import (
    FALSE_ALARMS,
    NULL_RUNS,
    WORKED,
    beyond_noise,
    explained,
    matched,
)
from fedward.audits.attacks.local_steps import LinearSteps
from fedward.audits.attacks.records import RecordSpace
from fedward.audits.attacks.result import (
    VIEWS,
    AttackFigure,
    AttackResult,
    Reconstruction,
    View,
)
from fedward.audits.attacks.views import OF_ONE_SITE, Sites, SumsInView
from fedward.client.cohort import Cohort
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import study_model

MOST_TRIALS = 4
FEWEST_TRIALS = 2
TRIAL_PARAMETERS = 50_000
"""Parameters of all trials' models together: larger models are attacked fewer times."""
MOST_SITES = 4
"""Sites of the attacked federations, one patient at each."""
MOST_ROUNDS = 40
PORTION = 4_000_000
"""Numbers in the gradients of the searches in noise that are made side by side."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trial:
    """One patient at each site, ``[sites, columns]`` and ``[sites]``; the first is attacked."""

    records: NDArray[np.float64]
    outcomes: NDArray[np.float64]

    def sites(self, noise_seed: int | None) -> Sites:
        """The federation; every site's cohort is its one patient."""
        cohorts = {
            f"site-{number + 1}": Cohort(
                features=self.records[number : number + 1].copy(),
                target=self.outcomes[number : number + 1].copy(),
                offsets=np.array([0, 1]),
            )
            for number in range(len(self.records))
        }
        return Sites(cohorts=cohorts, victim="site-1", noise_seed=noise_seed)


def invert_gradients(
    study: Study,
    patients: Cohort,
    *,
    reference: NDArray[np.float64],
    sites: int,
    noise_seed: int | None,
    generator: np.random.Generator,
) -> AttackResult:
    """Attack federations of ``sites`` sites (at most 4) with one of the ``patients`` at each.

    ``reference`` are other patients' records ``[n, columns]``: their mean is the guess of somebody
    who has seen no release.
    """
    space = RecordSpace.of(study)
    count = _attacked_sites(study, sites)
    trials = _trials(patients, count=_trial_count(study), sites=count, generator=generator)
    average = reference.mean(axis=0)
    figures: list[AttackFigure] = []
    found: dict[View, NDArray[np.float64]] = {}
    shares: dict[View, NDArray[np.float64]] = {}
    for view in VIEWS:
        guesses = _inverted(
            study, trials, view, space=space, noise_seed=noise_seed, generator=generator
        )
        pairs = zip(guesses, trials, strict=True)
        found[view] = np.array([matched(g, t.records[: len(g)])[0] for g, t in pairs])
        shares[view] = _shares(guesses, trials, average)
        figures.append(AttackFigure(view=view, value=float(shares[view].mean()), chance=0.0))
    blind = _blind(study, trials, average, space=space, generator=generator)
    return AttackResult(
        name="gradient_inversion",
        title="Which patient has such a gradient? (gradient inversion)",
        measure="share of what sets a patient apart from the average that was recovered",
        explanation=(
            "The worst case for a gradient: every hospital sums over a single patient. An honest "
            "model is sent, the outcome is taken as known, and patients are searched whose "
            "gradients point in the direction of what was seen (Geiping et al. 2020). The same "
            f"sum is asked for in up to {MOST_ROUNDS} rounds and averaged, to wear noise down. A "
            f"raw or clipped update is one patient's gradient; the sum is of {count} patients, "
            "whom a small model blends into one another. 100 % is an exact copy; guessing the "
            "average patient gives 0 %. It worked if any one patient was explained better than "
            f"all {NULL_RUNS} attacks on pure noise explain theirs, and by more than "
            f"{WORKED:.0%}: a false alarm in {FALSE_ALARMS:.1%} of audits at most."
        ),
        figures=tuple(figures),
        worked_against_release=beyond_noise(shares["noised"], blind),
        reconstructions=_shown(trials, found, space=space),
    )


def inversion_caps(study: Study, *, sites: int) -> tuple[str, ...]:
    """Where less is tried than the study would allow, a sentence each."""
    caps = []
    if study.training.rounds > MOST_ROUNDS:
        caps.append(f"Gradient inversion averages {MOST_ROUNDS} of {study.training.rounds} rounds.")
    if _attacked_sites(study, sites) < sites:
        caps.append(
            f"Gradient inversion attacks {_attacked_sites(study, sites)} hospitals of {sites}."
        )
    if _trial_count(study) < MOST_TRIALS:
        caps.append(
            f"Gradient inversion is tried {_trial_count(study)} times instead of {MOST_TRIALS}, "
            "for the size of the model."
        )
    return tuple(caps)


def _attacked_sites(study: Study, sites: int) -> int:
    return max(study.cohort.minimum_sites, min(sites, MOST_SITES))


def _trial_count(study: Study) -> int:
    affordable = TRIAL_PARAMETERS // study_model(study).parameter_count
    return max(FEWEST_TRIALS, min(MOST_TRIALS, affordable))


def _trials(
    patients: Cohort, *, count: int, sites: int, generator: np.random.Generator
) -> list[_Trial]:
    """Patients drawn without repetition within a trial; of several rows the first counts."""
    rows = patients.offsets[:-1]
    trials = []
    for _ in range(count):
        drawn = rows[generator.choice(len(rows), sites, replace=len(rows) < sites)]
        trials.append(_Trial(records=patients.features[drawn], outcomes=patients.target[drawn]))
    return trials


def _inverted(
    study: Study,
    trials: Sequence[_Trial],
    view: View,
    *,
    space: RecordSpace,
    noise_seed: int | None,
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """The best guesses for all trials, ``[trials, patients in the sum, columns]``."""
    model = study_model(study)
    parameters = model.initial(0)
    observed = []
    for number, trial in enumerate(trials):
        run_id = f"inversion/{view}/{number}"
        sums = SumsInView(study, trial.sites(noise_seed), view, run_id=run_id)
        rounds = [sums.ask(parameters) for _ in range(min(sums.rounds, MOST_ROUNDS))]
        sign = LinearSteps.of(study, sites=len(trial.records)).sign
        observed.append(sign * np.mean(rounds, axis=0))
    seen = 1 if view in OF_ONE_SITE else len(trials[0].records)
    return search_patients(
        model,
        parameters,
        np.array(observed),
        np.array([trial.outcomes[:seen] for trial in trials]),
        clip=sums.clip if seen > 1 else np.inf,
        space=space,
        generator=generator,
    )


def _blind(
    study: Study,
    trials: Sequence[_Trial],
    average: NDArray[np.float64],
    *,
    space: RecordSpace,
    generator: np.random.Generator,
) -> Iterator[NDArray[np.float64]]:
    """Portions of best shares over all trials of the same search in pure noise; for ever."""
    model = study_model(study)
    parameters = model.initial(0)
    outcomes = np.array([trial.outcomes for trial in trials])
    numbers = outcomes.size * STARTS * model.parameter_count
    portion = max(1, min(NULL_RUNS // 30, PORTION // numbers))
    while True:
        guesses = search_patients(
            model,
            parameters,
            generator.standard_normal((portion * len(trials), model.parameter_count)),
            np.tile(outcomes, (portion, 1)),
            clip=study.privacy.clip,
            space=space,
            generator=generator,
        ).reshape(portion, len(trials), *outcomes.shape[1:], -1)
        yield np.array([_shares(guess, trials, average).max() for guess in guesses])


def _shares(
    guesses: NDArray[np.float64], trials: Sequence[_Trial], average: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of each patient in each trial's sum, the share that was explained, ``[trials, patients]``."""
    true = [trial.records[: guesses.shape[1]] for trial in trials]
    pairs = zip(guesses, true, strict=True)
    return np.array([explained(matched(guess, t), t, average) for guess, t in pairs])


def _shown(
    trials: Sequence[_Trial], found: Mapping[View, NDArray[np.float64]], *, space: RecordSpace
) -> tuple[Reconstruction, ...]:
    return tuple(
        Reconstruction(
            names=space.names,
            true=space.in_units(trial.records[0]),
            found={view: space.in_units(found[view][number]) for view in VIEWS},
            picture=space.picture,
        )
        for number, trial in enumerate(trials[:4])
    )
