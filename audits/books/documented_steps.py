"""Training that somebody documented: what its steps cost, beside the epsilon that was claimed.

Only what is written down is looked at: numbers of patients, batch sizes, steps, noise and sampler.
Whether the code did that, nobody can see from it.
"""

from __future__ import annotations

import math
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedward.audits.books.recomputation import recomputed
from fedward.audits.books.result import RecomputedEpsilon
from fedward.audits.findings import AuditModel
from fedward.common.errors import InputError
from fedward.common.privacy.accounting import EPSILON_CAP
from fedward.common.privacy.calibration import calibrated_noise_multiplier
from fedward.common.privacy.events import GaussianEvent
from fedward.common.study.section import Positive, Section
from fedward.common.toml_documents import parse_toml, read_toml_text
from fedward.common.validation_messages import suggestion

EXAMPLES_PACKAGE = "fedward.studies.audit_examples"
_Count = Annotated[int, Field(ge=1, le=10**9)]


class DocumentedAbout(Section):
    """What it is and where it is documented."""

    name: str = Field(min_length=1, max_length=100)
    title: str = Field(min_length=1, max_length=200)
    sources: tuple[str, ...] = Field(min_length=1)
    notes: tuple[str, ...] = ()


class Claim(Section):
    """The guarantee that was claimed, for adding or removing one patient."""

    epsilon: float = Field(ge=1e-4, le=EPSILON_CAP, allow_inf_nan=False)
    delta: float = Field(ge=5e-11, lt=1, allow_inf_nan=False)


class DocumentedTraining(Section):
    """Steps that were taken at each site, and how their batches were drawn.

    ``poisson``: each patient is in each batch by its own coin. ``shuffled``: every patient is in
    one batch of each pass. ``sampling_rate``: of a Poisson batch, ``one_in_batches`` is one over
    the number of batches of a pass (rounded up), ``batch_over_patients`` the batch size over the
    number of patients.
    """

    rounds: _Count
    steps_per_round: _Count
    sampler: Literal["poisson", "shuffled"]
    sampling_rate: Literal["one_in_batches", "batch_over_patients"] = "batch_over_patients"

    @property
    def steps(self) -> int:
        """Steps at each site in all."""
        return self.rounds * self.steps_per_round


class DocumentedNoise(Section):
    """The noise: as it was published, or as it must have been calibrated.

    ``noise_multiplier`` is its standard deviation over the clip. ``calibrated_for_epochs`` and
    ``calibrated_for_steps`` say for how many passes or steps it was made to meet the claim
    exactly, with Poisson samples.
    """

    noise_multiplier: Positive | None = None
    calibrated_for_epochs: _Count | None = None
    calibrated_for_steps: _Count | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = (self.noise_multiplier, self.calibrated_for_epochs, self.calibrated_for_steps)
        if sum(value is not None for value in given) != 1:
            raise ValueError(
                "noise must be told in one way; give noise_multiplier, calibrated_for_epochs or "
                "calibrated_for_steps"
            )
        return self


class DocumentedSite(Section):
    """One site; its own ``noise_multiplier`` or ``steps`` count instead of those of all."""

    name: str = Field(min_length=1, max_length=100)
    patients: _Count
    batch_size: _Count
    noise_multiplier: Positive | None = None
    steps: _Count | None = None

    @model_validator(mode="after")
    def _batch_fits(self) -> Self:
        if self.batch_size > self.patients:
            raise ValueError("batch_size is above the number of patients; lower it")
        return self

    @property
    def batches(self) -> int:
        """Batches of one pass, the last of which may be smaller."""
        return math.ceil(self.patients / self.batch_size)


class DocumentedSteps(Section):
    """A file for ``fedward audit steps``."""

    about: DocumentedAbout
    claim: Claim
    training: DocumentedTraining
    noise: DocumentedNoise
    sites: tuple[DocumentedSite, ...] = Field(min_length=1, max_length=10_000)


class StepsCost(AuditModel):
    """What one site's documented steps cost at the claimed delta.

    ``poisson`` holds if batches were Poisson samples. ``unsampled`` counts one release for each
    pass in which a patient takes part, without any gain from sampling: it holds for shuffled
    batches too, in the sense that one patient's record is replaced by nothing while the batches
    stay as they are.
    """

    site: str
    patients: int
    sampling_rate: float
    noise_multiplier: float
    steps: int
    poisson: RecomputedEpsilon
    unsampled: RecomputedEpsilon


class StepsAudit(AuditModel):
    """``fedward audit steps`` as data. ``holds`` is None where nothing can be said."""

    format: Literal["fedward-steps-audit-1"] = "fedward-steps-audit-1"
    name: str
    title: str
    sources: tuple[str, ...]
    notes: tuple[str, ...]
    claimed_epsilon: float
    delta: float
    sampler: Literal["poisson", "shuffled"]
    sites: tuple[StepsCost, ...]

    def holds(self, cost: StepsCost) -> bool | None:
        """Whether the claim is met at a site; for shuffled batches, None says unknown."""
        if self.sampler == "poisson":
            return _within(cost.poisson, self.claimed_epsilon)
        return _within(cost.unsampled, self.claimed_epsilon) or None

    @property
    def passed(self) -> bool:
        """Whether the claim is met at every site."""
        return all(self.holds(cost) is True for cost in self.sites)


def shipped_examples() -> dict[str, Path]:
    """The documented examples of the package, by name."""
    folder = Path(str(resources.files(EXAMPLES_PACKAGE)))
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def load_steps(name_or_path: str) -> DocumentedSteps:
    """Read a file, or a shipped example by its name. Raises InputError or InputErrors."""
    path, shipped = Path(name_or_path), shipped_examples()
    if not path.exists() and not path.suffix and len(path.parts) == 1:
        if name_or_path not in shipped:
            raise InputError(
                source=name_or_path,
                field="",
                problem="there is no such file, nor an example of that name",
                fix=suggestion(name_or_path, shipped),
            )
        path = shipped[name_or_path]
    text = read_toml_text(path, kind="file of documented steps (.toml)")
    return parse_toml(text, source=str(path), model=DocumentedSteps)


def audit_steps(documented: DocumentedSteps) -> StepsAudit:
    """Recompute. Raises :class:`PrivacyRefusal` where the accountants cannot or disagree."""
    about, claim = documented.about, documented.claim
    return StepsAudit(
        name=about.name,
        title=about.title,
        sources=about.sources,
        notes=about.notes,
        claimed_epsilon=claim.epsilon,
        delta=claim.delta,
        sampler=documented.training.sampler,
        sites=tuple(_cost(documented, site) for site in documented.sites),
    )


def _cost(documented: DocumentedSteps, site: DocumentedSite) -> StepsCost:
    training, delta = documented.training, documented.claim.delta
    rate = (
        1 / site.batches
        if training.sampling_rate == "one_in_batches"
        else site.batch_size / site.patients
    )
    sigma = _noise_multiplier(documented, site, rate)
    steps = site.steps or training.steps
    sampled = GaussianEvent(noise_multiplier=sigma, sampling_rate=rate, count=steps)
    passes = GaussianEvent(noise_multiplier=sigma, count=math.ceil(steps / site.batches))
    return StepsCost(
        site=site.name,
        patients=site.patients,
        sampling_rate=rate,
        noise_multiplier=sigma,
        steps=steps,
        poisson=recomputed([sampled], delta=delta),
        unsampled=recomputed([passes], delta=delta),
    )


def _noise_multiplier(documented: DocumentedSteps, site: DocumentedSite, rate: float) -> float:
    noise, claim = documented.noise, documented.claim
    published = site.noise_multiplier or noise.noise_multiplier
    if published is not None:
        return published
    count = noise.calibrated_for_steps or (noise.calibrated_for_epochs or 1) * site.batches
    return calibrated_noise_multiplier(
        epsilon=claim.epsilon, delta=claim.delta, sampling_rate=rate, count=count
    )


def _within(found: RecomputedEpsilon, claimed: float) -> bool:
    return found.epsilon is not None and found.epsilon <= claimed
