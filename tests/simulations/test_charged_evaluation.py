from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from fedward.client.cohort import Cohort
from fedward.common.study.class_counts import ClassCounts
from fedward.common.study.definition import Study
from fedward.common.study.score_sums import ScoreSums, score_sum
from fedward.server.coordinator import CompletedRun
from fedward.server.training.state import TrainingState
from fedward.simulations.charged_evaluation import charged_evaluation
from fedward.simulations.evaluation import Predictions, joined
from fedward.simulations.results import ChargedGroup
from fedward.simulations.summaries import metrics_of

BINS = 20
NAMES = ("a", "b", "c", "d")


@pytest.fixture
def predictions() -> dict[str, Predictions]:
    generator = np.random.default_rng(3)
    found = {}
    for number, name in enumerate(NAMES):
        target = (generator.random(30 + 10 * number) < 0.4).astype(np.float64)
        logit = 3 * (target - 0.5) + generator.normal(0, 1.2, len(target))
        found[name] = Predictions(target=target, probability=1 / (1 + np.exp(-logit)))
    return found


@pytest.fixture
def training(make_cohort: Callable[..., Cohort]) -> dict[str, Cohort]:
    return {name: make_cohort(20 + number, seed=number) for number, name in enumerate(NAMES)}


def sums_of(parts: list[Predictions]) -> ScoreSums:
    total = sum(score_sum(p.probability, p.target, threshold=0.5, bins=BINS) for p in parts)
    assert isinstance(total, np.ndarray)
    return ScoreSums.of(total, bins=BINS, noise_deviation=0.0)


def run_of(**found: object) -> CompletedRun:
    nothing = np.zeros(4)
    state = TrainingState(
        run_id="run", study_digest="0" * 64, round=1, logged=0, tail_count=0,
        parameters=nothing, first=nothing, second=nothing, tail=nothing,
        center=np.zeros(3), scale=np.ones(3),
    )  # fmt: skip
    fields: dict[str, object] = {
        "state": state,
        "records": (),
        "evaluation": {},
        "site_evaluation": {},
        "counts": None,
        "notes": (),
    }
    return CompletedRun(**(fields | found))  # type: ignore[arg-type]


def check_exact(group: ChargedGroup, seen: Predictions) -> None:
    exact = metrics_of(seen.target, seen.probability, threshold=0.5)
    for name in ("patients", "accuracy", "sensitivity", "specificity", "precision", "f1"):
        figure = group.figures[name]
        assert figure.full_view == getattr(exact, name)
        # Without noise the sums tell these exactly.
        assert figure.value == pytest.approx(figure.full_view, abs=1e-6)
    assert group.figures["auroc"].full_view == exact.auroc
    assert group.figures["auroc"].value == pytest.approx(exact.auroc, abs=0.03)
    assert group.figures["brier"].value == pytest.approx(exact.brier, abs=1e-6)
    assert group.figures["auprc"].full_view == pytest.approx(
        average_precision_score(seen.target, seen.probability)
    )
    assert group.figures["positive_share"].full_view == pytest.approx(seen.target.mean())
    assert len(group.calibration) == BINS
    for found in group.calibration:
        assert found.patients.value == pytest.approx(found.patients.full_view, abs=1e-6)
        if found.patients.full_view:
            assert found.observed_rate.value == pytest.approx(
                found.observed_rate.full_view, abs=1e-6
            )


def test_one_group_is_everybody(
    study: Study, training: dict[str, Cohort], predictions: dict[str, Predictions]
) -> None:
    run = run_of(evaluation={"all": sums_of(list(predictions.values()))})
    found = charged_evaluation(run, study, seed=3, training=training, predictions=predictions)

    assert (found.seed, found.by_site, found.counts) == (3, [], {})
    (group,) = found.groups
    assert (group.name, group.sites) == ("all", list(NAMES))
    check_exact(group, joined(predictions))


def test_groups_and_sites_are_set_beside_their_own_patients(
    make_study: Callable[..., Study],
    training: dict[str, Cohort],
    predictions: dict[str, Predictions],
) -> None:
    study = make_study(evaluation={"groups": {"east": ["c", "a"]}})
    parts = {"east": ["a", "c"], "others": ["b", "d"]}
    run = run_of(
        evaluation={
            name: sums_of([predictions[site] for site in sites]) for name, sites in parts.items()
        },
        site_evaluation={site: sums_of([predictions[site]]) for site in NAMES},
    )
    found = charged_evaluation(run, study, seed=0, training=training, predictions=predictions)

    assert {group.name: group.sites for group in found.groups} == parts
    for group in found.groups:
        check_exact(group, joined({site: predictions[site] for site in parts[group.name]}))
    assert [group.name for group in found.by_site] == list(NAMES)
    for group in found.by_site:
        check_exact(group, predictions[group.name])


def test_counts_are_of_training_patients_by_their_majority(
    study: Study, training: dict[str, Cohort]
) -> None:
    positive = total = 0
    for cohort in training.values():
        for start, stop in zip(cohort.offsets, cohort.offsets[1:], strict=False):
            positive += cohort.target[start:stop].mean() >= 0.5
            total += 1
    counts = ClassCounts(positive=positive + 2.5, negative=total - positive - 1.0, noise=4.0)
    found = charged_evaluation(
        run_of(counts=counts), study, seed=0, training=training, predictions={}
    ).counts

    assert found["positive"].full_view == positive
    assert found["negative"].full_view == total - positive
    assert found["positive"].value == pytest.approx(positive + 2.5)
    for figure in found.values():
        assert figure.low is not None
        assert figure.high is not None
        assert figure.high - figure.low == pytest.approx(2 * 1.96 * 4, rel=0.01)


def test_noise_that_hides_a_figure_leaves_the_exact_one_alone(
    study: Study, training: dict[str, Cohort], predictions: dict[str, Predictions]
) -> None:
    loud = replace(
        sums_of(list(predictions.values())),
        confusion_noise=500.0,
        histogram_noise=500.0,
        squared_error_noise=500.0,
    )
    found = charged_evaluation(
        run_of(evaluation={"all": loud}),
        study,
        seed=0,
        training=training,
        predictions=predictions,
    )
    accuracy = found.groups[0].figures["accuracy"]

    assert (accuracy.value, accuracy.low, accuracy.high) == (None, None, None)
    assert accuracy.full_view is not None


def test_a_group_that_holds_nobody_out_has_no_exact_figure(
    study: Study, training: dict[str, Cohort]
) -> None:
    nobody = Predictions(target=np.zeros(0), probability=np.zeros(0))
    run = run_of(evaluation={"all": sums_of([nobody])})
    (group,) = charged_evaluation(run, study, seed=0, training=training, predictions={}).groups

    assert all(figure.full_view is None for figure in group.figures.values())
    assert all(found.patients.full_view == 0 for found in group.calibration)


def test_a_run_that_lost_its_evaluation_has_none(
    study: Study, training: dict[str, Cohort], predictions: dict[str, Predictions]
) -> None:
    found = charged_evaluation(run_of(), study, seed=0, training=training, predictions=predictions)
    assert (found.groups, found.by_site, found.counts) == ([], [], {})
