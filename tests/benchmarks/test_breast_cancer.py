from __future__ import annotations

import numpy as np
from breast_cancer import FOLDS, SITES, Arm, FoldTask, fold_of, run_fold


def test_every_patient_is_tested_once_a_seed() -> None:
    held_out = [fold_of(1, fold)[1] for fold in range(FOLDS)]
    assert all(len(parts) == SITES for parts in held_out)
    rows = np.concatenate([cohort.features for parts in held_out for cohort in parts.values()])
    assert rows.shape == (569, 30)
    assert len(np.unique(rows, axis=0)) == 569


def test_training_and_test_patients_of_a_fold_are_disjoint() -> None:
    training, held_out = fold_of(0, 2)
    trained_on = {row.tobytes() for cohort in training.values() for row in cohort.features}
    tested_on = {row.tobytes() for cohort in held_out.values() for row in cohort.features}
    assert not trained_on & tested_on


def test_a_draw_passes_only_if_both_means_over_the_folds_do() -> None:
    arm = Arm(
        label="",
        accuracy=np.array([[0.95, 0.97], [0.95, 0.95], [0.98, 0.98]]),
        auroc=np.array([[0.99, 0.99], [0.99, 0.99], [0.97, 0.97]]),
    )
    assert arm.passes(accuracy=0.96, auroc=0.98) == 1
    assert arm.passes(accuracy=0.95, auroc=0.97) == 3


def test_draws_of_the_noise_differ_and_cost_what_the_study_says() -> None:
    task = FoldTask(seed=0, fold=0, epsilon=1.0, pooled=False, draws=3)
    outcomes = run_fold(task)
    assert len({outcome.auroc for outcome in outcomes}) > 1
    for outcome in outcomes:
        assert outcome.epsilon is not None
        assert outcome.epsilon_alone is not None
        assert 0.99 < outcome.epsilon <= 1.0 < outcome.epsilon_alone
        assert len(outcome.by_site) == SITES


def test_without_privacy_federated_and_pooled_agree() -> None:
    both = [
        run_fold(FoldTask(seed=0, fold=0, epsilon=None, pooled=pooled, draws=1))[0]
        for pooled in (False, True)
    ]
    assert both[0].epsilon is None
    assert abs(both[0].auroc - both[1].auroc) < 1e-3
    assert both[0].accuracy > 0.9
