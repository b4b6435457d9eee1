"""Real patients for attacks: scikit-learn's, and BreastMNIST where it is on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedward.audits.attacks.views import Sites
from fedward.client.cohort import Cohort
from fedward.common.study.definition import Study
from fedward.common.study.loading import find_study, load_study
from fedward.simulations.arms import changed
from fedward.simulations.hospitals.breast_cancer import breast_cancer_hospitals
from fedward.simulations.hospitals.holdout import concatenate
from fedward.simulations.hospitals.hospital import Hospital, Hospitals
from fedward.simulations.trainings import SplitHospitals

PICTURES = Path(__file__).parents[4] / "shared" / "data" / "breast_mnist" / "breastmnist.npz"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)


@pytest.fixture(scope="session")
def breast_cancer() -> Study:
    return load_study(find_study("breast_cancer"))


@pytest.fixture(scope="session")
def perceptron() -> Callable[..., Study]:
    """The shipped study of a perceptron, with other options of the model or training."""
    study = load_study(find_study("breast_cancer_mlp"))

    def make(activation: str = "tanh", hidden: tuple[int, ...] = (16,), **training: Any) -> Study:
        options = {"options": {"hidden": list(hidden), "activation": activation}}
        return changed(
            study, {"model": options, "training": study.training.model_dump() | training}
        )

    return make


@pytest.fixture(scope="session")
def hospitals(breast_cancer: Study) -> Hospitals:
    return breast_cancer_hospitals(breast_cancer, sites=4, seed=0)


@pytest.fixture(scope="session")
def split(breast_cancer: Study, hospitals: Hospitals) -> SplitHospitals:
    return SplitHospitals.of(hospitals, breast_cancer, seed=0)


@pytest.fixture(scope="session")
def sites(split: SplitHospitals) -> Sites:
    """Four hospitals of real patients; their noise can be repeated."""
    return Sites(cohorts=split.training, victim="hospital-1", noise_seed=3)


@pytest.fixture(scope="session")
def reference(split: SplitHospitals) -> Cohort:
    """Real patients who are in no training."""
    return concatenate(list(split.held_out.values()))


@pytest.fixture(scope="session")
def picture_study() -> Study:
    return Study.model_validate(
        {
            "about": {"name": "breast_mnist", "title": "Breast ultrasound"},
            "features": [
                {
                    "kind": "numeric",
                    "name": f"pixel_{row}_{column}",
                    "unit": "grey level",
                    "range": (0.0, 255.0),
                }
                for row in range(28)
                for column in range(28)
            ],
            "target": {"name": "diagnosis", "positive": ("malignant",), "negative": ("benign",)},
            "cohort": {"expected_patients": 160},
            "model": {"name": "logistic_regression"},
            "training": {"method": "distributed", "rounds": 16, "learning_rate": 0.1},
            "privacy": {"epsilon": 1.0, "delta": 1e-5},
        }
    )


@pytest.fixture(scope="session")
def picture_hospitals() -> Hospitals:
    """Two hundred real pictures, fifty at each of four hospitals."""
    if not PICTURES.is_file():
        pytest.skip("../shared/data/breast_mnist is not on this machine")
    with np.load(PICTURES) as data:
        pixels = data["train_images"][:200].reshape(200, 784) / 127.5 - 1.0
        benign = data["train_labels"][:200].reshape(200).astype(np.float64)
    return Hospitals(
        sites=tuple(
            Hospital(
                f"hospital-{site + 1}",
                Cohort(
                    features=np.ascontiguousarray(pixels[site::4]),
                    target=np.ascontiguousarray(1.0 - benign[site::4]),
                    offsets=np.arange(51),
                ),
            )
            for site in range(4)
        ),
        description="BreastMNIST.",
    )
