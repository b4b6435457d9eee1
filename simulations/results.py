"""What an experiment found: the JSON document beside the report, as Pydantic models."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

ArmKind = Literal[
    "alone", "pooled", "pooled_private", "federated", "federated_local", "federated_distributed"
]


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Metrics(_Result):
    """Of one model on one set of held-out patients; None where undefined (one class only)."""

    patients: int
    accuracy: float
    auroc: float | None
    sensitivity: float | None
    specificity: float | None
    f1: float | None
    brier: float


class Interval(_Result):
    """Mean over seeds and its 95 % confidence interval (Student t; None with one seed)."""

    mean: float
    low: float | None
    high: float | None


class CalibrationBin(_Result):
    """Held-out patients of all seeds whose predicted probability fell into [low, high)."""

    low: float
    high: float
    patients: int
    mean_predicted: float | None
    observed_rate: float | None


class RoundPoint(_Result):
    """The state after one round, mean over seeds."""

    round: int
    accuracy: float
    auroc: float | None
    log_loss: float
    epsilon: float | None
    """Spent up to and including this round; None for an arm without privacy."""


class SeedResult(_Result):
    """One seed of one arm."""

    seed: int
    overall: Metrics
    by_site: dict[str, Metrics]
    seconds: float
    model_digest: str


class ArmResult(_Result):
    """One row of the table: a way to train, at one epsilon, over all seeds."""

    kind: ArmKind
    label: str
    target_epsilon: float | None
    epsilon: float | None
    """Accounted from executed events, under "at most `colluding` sites cheat"; the worst seed."""
    epsilon_alone: float | None
    """Accounted from a site's own share of the noise; the worst seed and site."""
    delta: float | None
    summary: dict[str, Interval]
    """accuracy, auroc, sensitivity, specificity, f1, brier, worst_site_accuracy, seconds."""
    seeds: list[SeedResult]
    rounds: list[RoundPoint]
    calibration: list[CalibrationBin]


class SiteSummary(_Result):
    """A simulated hospital, described from the simulation's full view."""

    name: str
    training_patients: int
    held_out_patients: int
    training_positive_share: float


class ExperimentResult(_Result):
    """Everything the report shows; written as ``results.json``."""

    format: Literal["fedward-experiment-1"] = "fedward-experiment-1"
    study_name: str
    study_title: str
    study_digest: str
    data_description: str
    engine: str
    seeds: list[int]
    sites: list[SiteSummary]
    arms: list[ArmResult]
    privacy_unit: str
    delta: float
    clip: float
    colluding: int
    insecure_noise_seed: int | None
    """Not None: the noise was reproducible, so no guarantee holds; the report says so in red."""
    notes: list[str]
    """Sentences for the reader, such as how evaluation was done."""
    versions: dict[str, str]
    command: str
    started: str
    seconds: float
