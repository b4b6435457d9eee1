"""The study definition: one immutable model of ``study.toml`` and its digest.

Every number in it is public and agreed by all sites. What follows from data (true cohort sizes,
means, label balance) has no place here.
"""

from __future__ import annotations

import hashlib
import json
import math
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from fedward.common.study.held_out import ALL_SITES, OTHER_SITES, Evaluation
from fedward.common.study.inputs import CategoricalFeature, Feature, NumericFeature, Target
from fedward.common.study.section import Decay, Name, Positive, Section, Share

__all__ = [
    "ALL_SITES",
    "OTHER_SITES",
    "About",
    "CategoricalFeature",
    "Cohort",
    "DistributedTraining",
    "Evaluation",
    "Feature",
    "LocalTraining",
    "Model",
    "NumericFeature",
    "Privacy",
    "Scaling",
    "Statistics",
    "Study",
    "Target",
    "Training",
]


class About(Section):
    """Who and what: shown to people, bound by the digest."""

    name: Name
    title: str = Field(min_length=1, max_length=200)
    description: str = Field(default="", max_length=4000)
    version: int = Field(default=1, ge=1)


class Cohort(Section):
    """Public facts about the patients: declared, never measured."""

    privacy_unit: Literal["patient"] = "patient"
    expected_patients: int = Field(ge=2, le=10**9)
    """Declared training patients over all sites; steps divide by it, not by the true number."""
    max_patients_per_site: int = Field(default=2**20, ge=2, le=2**24)
    """Upper bound that makes overflow of the ring impossible; a larger site is refused."""
    minimum_sites: int = Field(default=2, ge=2, le=10_000)


class Scaling(Section):
    """How features are standardised: by public ranges alone, or by charged private moments."""

    method: Literal["public_range", "private_moments"] = "public_range"
    budget_share: Share = 0.2
    """Part of the (zero-concentrated) budget spent on the moments; unused for public ranges."""
    feature_clip: Positive = 3.0
    """Scaled features are cut off at plus and minus this, in standard deviations if moments are
    used and in half ranges if not; public, so it costs nothing."""


class Statistics(Section):
    """Asks for the number of training patients of each outcome, as one charged sum."""

    budget_share: Share = 0.02
    """Part of the (zero-concentrated) budget of the training patients that it spends."""


class Model(Section):
    """A name from the model registry and its options."""

    name: Name
    options: dict[str, Any] = Field(default_factory=dict)


class DistributedTraining(Section):
    """One round = one clipped gradient sum over all sites' patients, then one server step."""

    method: Literal["distributed"]
    rounds: int = Field(ge=1, le=100_000)
    learning_rate: Positive
    momentum: float = Field(default=0.0, ge=0, lt=1)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    batch: Literal["full", "poisson"] = "full"
    sampling_rate: float = Field(default=1.0, gt=0, le=1)
    l2: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    average_last: int = Field(default=1, ge=1)
    """The final model is the mean of this many last iterates (post-processing, free)."""

    @model_validator(mode="after")
    def _batch_agrees_with_rate(self) -> Self:
        if (self.batch == "full") != (self.sampling_rate == 1.0):
            raise ValueError(
                'batch = "full" needs sampling_rate = 1 and batch = "poisson" one below 1; '
                "change one of them"
            )
        if self.average_last > self.rounds:
            raise ValueError("average_last is above rounds; lower it")
        return self


class LocalTraining(Section):
    """Several epochs of DP-SGD at each site, then one summed update a round."""

    method: Literal["local"]
    rounds: int = Field(ge=1, le=10_000)
    epochs: int = Field(ge=1, le=1000)
    learning_rate: Positive
    momentum: float = Field(default=0.0, ge=0, lt=1)
    sampling_rate: float = Field(gt=0, le=1)
    l2: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    combine: Literal["fedavg", "fedprox", "fedadam"] = "fedavg"
    proximal: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """FedProx's mu (Li et al. 2020, eq. 2)."""
    server_learning_rate: Positive = 1.0
    server_betas: tuple[Decay, Decay] = (0.9, 0.99)
    server_adaptivity: Positive = 1e-3
    """FedAdam's tau (Reddi et al. 2021, algorithm 2)."""

    @property
    def steps_per_round(self) -> int:
        """Local steps in one round: ``epochs / sampling_rate``, rounded up."""
        return math.ceil(self.epochs / self.sampling_rate - 1e-9)

    @model_validator(mode="after")
    def _proximal_belongs_to_fedprox(self) -> Self:
        if (self.combine == "fedprox") != (self.proximal > 0):
            raise ValueError('proximal > 0 goes with combine = "fedprox" alone; change one of them')
        return self


Training = Annotated[DistributedTraining | LocalTraining, Field(discriminator="method")]


class Privacy(Section):
    """The guarantee: (epsilon, delta) for one patient, against whom, and the clip."""

    epsilon: float = Field(gt=0, le=50, allow_inf_nan=False)
    delta: float = Field(ge=1e-10, lt=1, allow_inf_nan=False)
    clip: float = Field(default=1.0, ge=1e-6, le=1e6, allow_inf_nan=False)
    """L2 bound of one patient's gradient."""
    trust: Literal["sites", "none"] = "sites"
    """``sites``: noise is shared by the sites; ``none``: each site adds all of it."""
    colluding: int = Field(default=1, ge=0)
    """Sites that may cheat without weakening ``epsilon``."""
    spare_attempts: int = Field(default=0, ge=0, le=1000)
    """Sums of each kind beyond those planned, paid for in advance; drop-outs may use them up."""


class Study(Section):
    """A whole study, as agreed by all sites. ``digest`` names it everywhere."""

    about: About
    features: tuple[Feature, ...] = Field(min_length=1, max_length=100_000)
    target: Target
    cohort: Cohort
    scaling: Scaling = Scaling()
    statistics: Statistics | None = None
    model: Model
    training: Training
    privacy: Privacy
    evaluation: Evaluation = Evaluation()

    @field_validator("features")
    @classmethod
    def _names_differ(cls, features: tuple[Feature, ...]) -> tuple[Feature, ...]:
        names = [feature.name for feature in features]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"name {repeated[0]!r} appears twice; rename one of them")
        return features

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.target.name in {feature.name for feature in self.features}:
            raise ValueError(f"target.name {self.target.name!r} is also a feature; remove it there")
        bound = 1 / (10 * self.cohort.expected_patients)
        if self.privacy.delta >= bound:
            raise ValueError(
                f"privacy.delta is {self.privacy.delta:g}, must be below 1/(10 n) = {bound:.3g} "
                f"for n = cohort.expected_patients = {self.cohort.expected_patients}; lower it"
            )
        if self.privacy.trust == "sites" and self.training.method == "local":
            raise ValueError(
                'training.method = "local" needs privacy.trust = "none", because each site must '
                "add all of the noise to its own steps; change one of them"
            )
        if self.privacy.colluding >= self.cohort.minimum_sites:
            raise ValueError(
                "privacy.colluding must be below cohort.minimum_sites, or no honest noise is left; "
                "lower it"
            )
        for group, sites in self.evaluation.groups.items():
            if len(sites) < self.cohort.minimum_sites:
                raise ValueError(
                    f"evaluation.groups.{group} has {len(sites)} sites, must have at least "
                    f"cohort.minimum_sites = {self.cohort.minimum_sites}; add sites or join groups"
                )
        return self

    @model_validator(mode="after")
    def _training_keeps_a_share(self) -> Self:
        if self.statistics is None or self.scaling.method != "private_moments":
            return self
        shares = self.statistics.budget_share + self.scaling.budget_share
        if shares >= 1:
            raise ValueError(
                f"scaling.budget_share and statistics.budget_share add up to {shares:g}, must be "
                "below 1 so that training keeps a part; lower one of them"
            )
        return self

    def __hash__(self) -> int:
        return hash(self.digest)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON: sorted keys, no spaces, UTF-8."""
        document = self.model_dump(mode="json")
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()
