"""Membership inference (LiRA): from what a coordinator sees, was this patient in the training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom, rankdata

from fedward.audits.attacks.local_steps import LinearSteps
from fedward.audits.attacks.membership_scores import ReleaseScores, likelihood_ratios
from fedward.audits.attacks.patient_gradients import patient_gradients
from fedward.audits.attacks.result import VIEWS, AttackFigure, AttackResult, View
from fedward.audits.attacks.views import Sites, SumsInView
from fedward.client.cohort import Cohort
from fedward.client.vault.kernels.clipping import clip_factors
from fedward.common.study.definition import Study
from fedward.common.study.dimensions import study_model
from fedward.common.study.scaling import SCALE_FLOOR, Scaler
from fedward.simulations.hospitals.holdout import concatenate

SHADOWS = 64
MOST_ROUNDS = 100
MOST_CANDIDATES = 600
"""Systems of so many equations are solved in every round."""
FEWEST_CANDIDATES = 16
MOST_WORK = 1e11
"""Candidates squared, times parameters, times rounds: large models are tried on fewer patients."""
FEWEST_AT_VICTIM = 8
FALSE_POSITIVES = 0.01
SIGNIFICANCE = 1e-3
"""A figure is beyond chance if guessing reaches it more seldom than this."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """Scores of the candidates under one view, and who was a member."""

    scores: NDArray[np.float64]
    members: NDArray[np.bool_]

    @property
    def auc(self) -> float:
        """Area under the ROC curve: how often a member is scored above a non-member."""
        ranks = rankdata(self.scores)[self.members]
        inside, outside = len(ranks), int((~self.members).sum())
        return float((ranks.sum() - inside * (inside + 1) / 2) / (inside * outside))

    @property
    def auc_error(self) -> float:
        """Standard error of ``auc`` (Hanley and McNeil 1982, equations 1 and 2, exponential)."""
        area, inside, outside = self.auc, int(self.members.sum()), int((~self.members).sum())
        # Two members above one non-member, and one member above two non-members.
        one, two = area / (2 - area), 2 * area**2 / (1 + area)
        spread = (inside - 1) * (one - area**2) + (outside - 1) * (two - area**2)
        return math.sqrt(max(0.0, area * (1 - area) + spread) / (inside * outside))

    @property
    def true_positives(self) -> float:
        """Share of members above all but 1 % of the non-members (rounded down)."""
        outside = np.sort(self.scores[~self.members])[::-1]
        threshold = outside[math.floor(FALSE_POSITIVES * len(outside))]
        return float((self.scores[self.members] > threshold).mean())

    @property
    def auc_beyond_chance(self) -> bool:
        """By the normal limit of the rank-sum test."""
        inside, outside = int(self.members.sum()), int((~self.members).sum())
        error = math.sqrt((inside + outside + 1) / (12 * inside * outside))
        return self.auc - 0.5 > 3.09 * error

    @property
    def true_positives_beyond_chance(self) -> bool:
        """Exactly, if scores said nothing: any order of the candidates would be as likely.

        Then the members above the (k + 1)-th highest non-member are at least h where the top h + k
        candidates hold at most k non-members.
        """
        inside, outside = int(self.members.sum()), int((~self.members).sum())
        passed = math.floor(FALSE_POSITIVES * outside)
        hits = round(self.true_positives * inside)
        chance = hypergeom.cdf(passed, inside + outside, outside, hits + passed)
        return bool(chance < SIGNIFICANCE)


def infer_membership(
    study: Study,
    hospitals: Mapping[str, Cohort],
    *,
    noise_seed: int | None,
    generator: np.random.Generator,
) -> tuple[AttackResult, AttackResult]:
    """Attack a training in which each patient of ``hospitals`` took part by the toss of a coin.

    Returns the area under the curve, and the true positives at 1 % false ones.
    """
    largest = max(cohort.patient_count for cohort in hospitals.values())
    judged = (
        judge_membership(study, hospitals, noise_seed=noise_seed, generator=generator)
        if largest >= FEWEST_AT_VICTIM
        else None
    )
    allowed = math.exp(study.privacy.epsilon) * FALSE_POSITIVES + study.privacy.delta
    explanation = (
        "Half of the patients take part, by the toss of a coin. The coordinator sends models of "
        "its own choice in every round, knows the records of all patients, and asks of each one: "
        "was this patient in? It knows what each would add to a sum, and compares what it saw "
        f"with {SHADOWS} shadow trainings in which it tossed the coins itself (LiRA, Carlini et "
        "al. 2022, with the released sums in place of the final model, as a coordinator sees "
        "these). This is a strong attacker: without noise the sums of a few rounds are enough "
        "linear equations to solve for everybody, whether clipped, masked or neither."
    )
    bound = (
        f" The study's epsilon {study.privacy.epsilon:g} allows at most "
        f"{min(1.0, allowed):.1%} against the sum, whatever the attack."
    )
    return (
        _result(
            judged,
            title="Was this patient in the training? (LiRA)",
            measure="area under the ROC curve",
            explanation=explanation,
            value="auc",
            chance=0.5,
            error="auc_error",
        ),
        _result(
            judged,
            title="Who was in, with few false accusations? (LiRA)",
            measure="true positives at 1 % false positives",
            explanation=explanation + bound,
            value="true_positives",
            chance=FALSE_POSITIVES,
        ),
    )


def membership_caps(study: Study, *, patients: int) -> tuple[str, ...]:
    """Where less is tried than the study would allow, a sentence each."""
    caps = []
    if study.training.rounds > MOST_ROUNDS:
        caps.append(f"LiRA uses {MOST_ROUNDS} of {study.training.rounds} rounds.")
    if _most_candidates(study) < patients:
        caps.append(f"LiRA judges about {_most_candidates(study)} of {patients} patients.")
    return tuple(caps)


def judge_membership(
    study: Study,
    hospitals: Mapping[str, Cohort],
    *,
    noise_seed: int | None,
    generator: np.random.Generator,
) -> dict[View, Judged]:
    """Scores of all candidates under each view; one run of real vaults for each."""
    model = study_model(study)
    rounds = min(study.training.rounds, MOST_ROUNDS)
    candidates = _candidates(hospitals, generator, most=_most_candidates(study))
    everyone = concatenate(list(candidates.values()))
    owners = np.repeat(list(candidates), [c.patient_count for c in candidates.values()])
    members = generator.random((everyone.patient_count, 1 + SHADOWS)) < 0.5
    for site in candidates:
        _somebody(members, owners == site, generator)
    taking_part = {
        site: cohort.take(np.flatnonzero(members[owners == site, 0]))
        for site, cohort in candidates.items()
    }
    victim = max(candidates, key=lambda site: candidates[site].patient_count)
    sites = Sites(cohorts=taking_part, victim=victim, noise_seed=noise_seed)
    steps = LinearSteps.of(study, sites=len(candidates))
    views: dict[View, SumsInView] = {}
    chosen: dict[View, NDArray[np.bool_]] = {}
    scoring: dict[View, ReleaseScores] = {}
    for view in VIEWS:
        views[view] = SumsInView(study, sites, view, run_id=f"membership/{view}")
        chosen[view] = np.isin(owners, sites.seen(view))
        scoring[view] = ReleaseScores(members[chosen[view]], steps=steps, generator=generator)
    scaler = _scaler(study, everyone)
    scaled = Cohort(
        features=scaler.apply(everyone.features), target=everyone.target, offsets=everyone.offsets
    )
    for _ in range(rounds):
        parameters = _parameters(study, generator)
        gradients = patient_gradients(model, parameters, scaled)
        inner = gradients @ gradients.T
        for view, sums in views.items():
            seen = chosen[view]
            factors = clip_factors(np.sqrt(np.diag(inner)), clip=sums.clip)[seen]
            scoring[view].add(
                factors[:, None] * gradients[seen],
                factors[:, None] * inner[np.ix_(seen, seen)] * factors,
                sums.ask(parameters, center=scaler.center, scale=scaler.scale),
                noise_deviation=sums.noise_deviation,
            )
    return {
        view: Judged(
            scores=likelihood_ratios(scoring[view].scores(), members[chosen[view]]),
            members=members[chosen[view], 0],
        )
        for view in VIEWS
    }


def _most_candidates(study: Study) -> int:
    rounds = min(study.training.rounds, MOST_ROUNDS)
    affordable = math.isqrt(int(MOST_WORK / (study_model(study).parameter_count * rounds)))
    return max(FEWEST_CANDIDATES, min(MOST_CANDIDATES, affordable))


def _candidates(
    hospitals: Mapping[str, Cohort], generator: np.random.Generator, *, most: int
) -> dict[str, Cohort]:
    """About ``most`` patients, the same share of each site's and at least 2."""
    total = sum(cohort.patient_count for cohort in hospitals.values())
    share = min(1.0, most / total)
    kept: dict[str, Cohort] = {}
    for site, cohort in hospitals.items():
        count = min(cohort.patient_count, max(2, math.floor(share * cohort.patient_count)))
        drawn = generator.permutation(cohort.patient_count)[:count]
        kept[site] = cohort.take(np.sort(drawn))
    return kept


def _somebody(
    members: NDArray[np.bool_], at_site: NDArray[np.bool_], generator: np.random.Generator
) -> None:
    """A vault needs a patient, and a judgement one who is not in."""
    rows = np.flatnonzero(at_site)
    if members[rows, 0].all() or not members[rows, 0].any():
        members[rows, 0] = generator.permutation(np.arange(len(rows)) % 2 == 0)


def _scaler(study: Study, candidates: Cohort) -> Scaler:
    """Standardise by the candidates, whom the attacker knows: it makes them easier to tell."""
    deviation = np.maximum(candidates.features.std(axis=0), SCALE_FLOOR)
    return Scaler(
        center=candidates.features.mean(axis=0),
        scale=deviation,
        feature_clip=study.scaling.feature_clip,
    )


def _parameters(study: Study, generator: np.random.Generator) -> NDArray[np.float64]:
    """Another random model for every round, so that every sum says something new."""
    model = study_model(study)
    initial = model.initial(int(generator.integers(2**31)))
    if initial.any():
        return initial
    return generator.standard_normal(model.parameter_count)


def _result(
    judged: Mapping[View, Judged] | None,
    *,
    title: str,
    measure: str,
    explanation: str,
    value: str,
    chance: float,
    error: str | None = None,
) -> AttackResult:
    return AttackResult(
        name="membership_inference",
        title=title,
        measure=measure,
        explanation=explanation,
        figures=tuple(
            AttackFigure(
                view=view,
                value=None if judged is None else getattr(judged[view], value),
                chance=chance,
                error=None if judged is None or error is None else getattr(judged[view], error),
                why=f"needs {FEWEST_AT_VICTIM} patients at one hospital" if judged is None else "",
            )
            for view in VIEWS
        ),
        worked_against_release=(
            None if judged is None else getattr(judged["noised"], f"{value}_beyond_chance")
        ),
    )
