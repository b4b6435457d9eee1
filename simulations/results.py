"""What an experiment found: the JSON document beside the report, as Pydantic models."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

ArmKind = Literal[
    "alone", "pooled", "pooled_private", "federated", "federated_local", "federated_distributed"
]


class _Result(BaseModel):
    # JSON has no inf or NaN and would write null, which reads as "not private": refuse them.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Metrics(_Result):
    """Of one model on one set of held-out patients; None where undefined (one class only)."""

    patients: int
    accuracy: float
    auroc: float | None
    sensitivity: float | None
    specificity: float | None
    f1: float | None
    brier: float
    precision: float | None = None
    log_loss: float | None = None


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
    """The state after one round, mean over seeds (epsilon: the largest of any seed)."""

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


class CrossCheck(_Result):
    """What the two other accountants say of the epsilon of record; None where one had no answer."""

    prv_low: float | None
    prv_high: float | None
    rdp: float


class SumTraffic(_Result):
    """The sums of one kind in one training, counted from the coordinator's log; mean over seeds."""

    kind: str
    sums: float
    attempts: float
    bytes_up: float | None
    """Of one hospital's answer, in the mean; None where none arrived."""
    bytes_down: float
    """Of one query to one hospital, in the mean."""


class Traffic(_Result):
    """What crossed between the coordinator and the hospitals in one training; mean over seeds.

    An attempt is one query to every hospital of a round; it is lost if one of them did not answer,
    and repeated if it asks again for a sum whose attempt was lost.
    """

    sites: int
    sessions: float
    exchanges: float
    """Attempts, one for each session, and one for the end where ledgers have a chain."""
    attempts: float
    lost: float
    repeated: float
    bytes_up: float
    """From one hospital in one completed round of training; lost attempts are in it."""
    bytes_down: float
    """To one hospital in one completed round of training."""
    by_kind: list[SumTraffic]
    seconds_computing: float | None = None
    """Of one hospital for one release, in the mean; None where the engine did not measure it."""
    seconds_in_noise: float | None = None
    seconds_in_masks: float | None = None


class Figure(_Result):
    """A number that the coordinator estimated from a noised sum, beside the exact one.

    ``low`` and ``high`` bound a 95 % interval that knows of the noise and of the chance in who was
    held out. All three are None where the noise leaves nothing to tell. ``full_view`` is what only
    the simulation knows of the same patients; None where it is undefined.
    """

    value: float | None
    low: float | None
    high: float | None
    full_view: float | None


class ChargedBin(_Result):
    """Held-out patients with a predicted probability in [low, high), and how many are positive."""

    low: float
    high: float
    patients: Figure
    observed_rate: Figure


class ChargedGroup(_Result):
    """What the coordinator itself learnt of some hospitals' held-out patients, at a charge."""

    name: str
    sites: list[str]
    figures: dict[str, Figure]
    calibration: list[ChargedBin]


class ChargedEvaluation(_Result):
    """What the coordinator measured of the patients in one seed, beside the model."""

    seed: int
    groups: list[ChargedGroup]
    by_site: list[ChargedGroup]
    """Each hospital by itself; empty unless the study asks for it."""
    counts: dict[str, Figure]
    """Training patients: positive and negative; empty unless the study asks for it."""


class ArmResult(_Result):
    """One row of the table: a way to train, at one epsilon, over all seeds."""

    kind: ArmKind
    label: str
    target_epsilon: float | None
    epsilon: float | None
    """Accounted from executed events, under "at most `colluding` sites cheat"; the worst seed, and
    the worse of training and held-out patients, who each have a budget of their own."""
    epsilon_alone: float | None
    """Accounted from a site's own share of the noise; the worst seed, site and part of patients."""
    delta: float | None
    summary: dict[str, Interval]
    """accuracy, auroc, sensitivity, specificity, precision, f1, brier, log_loss,
    worst_site_accuracy, seconds; a figure that no seed defines is left out."""
    seeds: list[SeedResult]
    rounds: list[RoundPoint]
    calibration: list[CalibrationBin]
    cross_check: CrossCheck | None = None
    """Of ``epsilon``, at the worst seed; None for an arm without privacy."""
    traffic: Traffic | None = None
    """Of a federated arm; None for the others, whose hospitals send nothing."""
    charged_evaluation: list[ChargedEvaluation] = []
    """Of a federated arm, one entry a seed, in the order of ``seeds``."""


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
    threshold: float | None = None
    """A predicted probability from here on counts as positive; None: not told to the reader."""
    training_description: str = ""
    """One sentence on the model and its training, such as "Logistic regression, 40 rounds"."""
    masked: bool = False
    """Whether pairwise masks hid single hospitals' summands from the coordinator in every sum of
    the private federated arms. If not, ``epsilon_alone`` and not ``epsilon`` holds against it."""
    drop_out: float = 0.0
    """Probability with which a hospital was made to fail one exchange."""
