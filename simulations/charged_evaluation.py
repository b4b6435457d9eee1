"""What a coordinator learns of the patients at a charge, beside what only a simulation can see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from fedward.client.cohort import Cohort
from fedward.common.metrics import calibration_bins, classification_metrics
from fedward.common.study.class_counts import ClassCounts, class_count_sum, majority_outcomes
from fedward.common.study.definition import Study
from fedward.common.study.evaluation_groups import evaluation_groups
from fedward.common.study.score_sums import ScoreSums
from fedward.server.coordinator import CompletedRun
from fedward.server.evaluation.estimates import estimate
from fedward.server.evaluation.noisy_ratios import count
from fedward.server.evaluation.results import Estimate
from fedward.simulations.evaluation import Predictions, joined
from fedward.simulations.results import ChargedBin, ChargedEvaluation, ChargedGroup, Figure


def charged_evaluation(
    run: CompletedRun,
    study: Study,
    *,
    seed: int,
    training: Mapping[str, Cohort],
    predictions: Mapping[str, Predictions],
) -> ChargedEvaluation:
    """Estimate every figure from the run's sums, and set the exact one beside it.

    ``training`` are the hospitals' training patients, ``predictions`` those of their held-out ones;
    a hospital that holds nobody out is missing in the latter.
    """
    groups = evaluation_groups(study, training) if run.evaluation else {}
    return ChargedEvaluation(
        seed=seed,
        groups=[
            _group(name, groups[name], sums, study, predictions)
            for name, sums in run.evaluation.items()
        ],
        by_site=[
            _group(site, (site,), sums, study, predictions)
            for site, sums in run.site_evaluation.items()
        ],
        counts={} if run.counts is None else _counts(run.counts, training.values()),
    )


def _group(
    name: str,
    sites: tuple[str, ...],
    sums: ScoreSums,
    study: Study,
    predictions: Mapping[str, Predictions],
) -> ChargedGroup:
    released = estimate(sums, threshold=study.evaluation.threshold)
    known = {site: predictions[site] for site in sites if site in predictions}
    seen = joined(known) if known else None
    exact = {} if seen is None else _exact_figures(seen, threshold=study.evaluation.threshold)
    bins = (
        ()
        if seen is None
        else calibration_bins(seen.target, seen.probability, bins=len(released.calibration))
    )
    return ChargedGroup(
        name=name,
        sites=list(sites),
        figures={
            figure: _figure(getattr(released, figure), exact.get(figure))
            for figure in type(released).model_fields
            if figure != "calibration"
        },
        calibration=[
            ChargedBin(
                low=found.low,
                high=found.high,
                patients=_figure(found.patients, bins[place].count if bins else 0),
                observed_rate=_figure(
                    found.observed_rate, bins[place].observed_rate if bins else None
                ),
            )
            for place, found in enumerate(released.calibration)
        ],
    )


def _exact_figures(seen: Predictions, *, threshold: float) -> dict[str, float | None]:
    from sklearn.metrics import average_precision_score

    figures = classification_metrics(seen.target, seen.probability, threshold=threshold)
    some_positive = bool(seen.target.any())
    return {
        "patients": figures.confusion.count,
        "positive_share": float(seen.target.mean()),
        "accuracy": figures.accuracy,
        "sensitivity": figures.sensitivity,
        "specificity": figures.specificity,
        "precision": figures.precision,
        "f1": figures.f1,
        "auroc": figures.auroc,
        "auprc": float(average_precision_score(seen.target, seen.probability))
        if some_positive
        else None,
        "brier": figures.brier,
    }


def _counts(counts: ClassCounts, cohorts: Iterable[Cohort]) -> dict[str, Figure]:
    sums = [class_count_sum(majority_outcomes(one.target, one.offsets)) for one in cohorts]
    positive, negative = np.sum(sums, axis=0)
    return {
        "positive": _figure(count(counts.positive, noise=counts.noise), float(positive)),
        "negative": _figure(count(counts.negative, noise=counts.noise), float(negative)),
    }


def _figure(released: Estimate, exact: float | None) -> Figure:
    return Figure(value=released.value, low=released.low, high=released.high, full_view=exact)
