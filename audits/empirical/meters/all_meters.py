"""All meters of an audit, over a scored rehearsal and some small ones of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fedward.audits.empirical.meters.bare_rehearsal import bare_rehearsal
from fedward.audits.empirical.meters.charging import charge_meter
from fedward.audits.empirical.meters.clipping import clip_meters
from fedward.audits.empirical.meters.coordinates import (
    coordinate_pairs_meter,
    every_coordinate_meter,
    two_runs_meter,
)
from fedward.audits.empirical.meters.independence import independence_meters
from fedward.audits.empirical.meters.levels import decided, not_applicable
from fedward.audits.empirical.meters.masking import mask_meter
from fedward.audits.empirical.meters.noise import (
    SharedNoise,
    noise_meters,
    release_meter,
    shape_meters,
)
from fedward.audits.empirical.meters.ordinary_rehearsal import ordinary_rehearsal
from fedward.audits.empirical.meters.planned_noise import rehearsed_noise
from fedward.audits.empirical.meters.sampling import (
    NAMES as SAMPLING_NAMES,
)
from fedward.audits.empirical.meters.sampling import (
    Doses,
    local_doses,
    nothing_sampled,
    sampling_meters,
)
from fedward.audits.empirical.meters.sensitivity import sensitivity_meter
from fedward.audits.empirical.rehearsal import OnProgress, Rehearsal
from fedward.audits.empirical.rehearsed_sites import NotReleased, RehearsedSites
from fedward.audits.empirical.result import MeterResult
from fedward.audits.findings import Finding

Part = Callable[["_Measured"], Iterator[MeterResult]]


def measure(
    rehearsal: Rehearsal, *, on_progress: OnProgress | None = None
) -> tuple[MeterResult, ...]:
    """Every meter, those that do not apply to the study included.

    The chance that any of them fails over sound vaults is at most
    :data:`~fedward.audits.empirical.meters.levels.FAMILY_LEVEL`. A vault that refuses what the
    study plans fails the meter "answers", and what could not be measured for it is not applicable.
    """
    measured = _Measured(rehearsal)
    parts: tuple[Part, ...] = (_noise, _clip_and_sampler, _masks, _sensitivity)
    for done, part in enumerate(parts):
        measured.add(part)
        if on_progress is not None:
            on_progress(done + 1, len(parts))
    return (*measured.meters, measured.answers(), charge_meter(measured.asked))


class _Measured:
    """What was measured so far, and which federations were asked for it."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self.rehearsal = rehearsal
        self.study = rehearsal.study
        self.seed = rehearsal.seed
        self.asked: list[RehearsedSites] = [rehearsal.sites]
        self.meters: list[MeterResult] = []
        # Patients and outcomes alone; noise and batches are the vaults'.
        seed = None if rehearsal.seed is None else [rehearsal.seed, 1]
        self.generator = np.random.Generator(np.random.PCG64(seed))
        self._refused: list[Finding] = []

    def add(self, part: Part) -> None:
        """Add a part's meters; note where a vault refused."""
        try:
            self.meters.extend(part(self))
        except NotReleased as refused:
            self.note(refused)

    def note(self, refused: NotReleased) -> None:
        """Keep what a vault refused, for the meter "answers"."""
        self._refused.append(Finding(severity="error", where="rehearsal", sentence=str(refused)))

    def answers(self) -> MeterResult:
        """Whether the vaults gave all that the study plans."""
        return decided(
            "answers",
            "The vaults release every sum that the study plans, empty batches included.",
            findings=tuple(self._refused),
        )


def _noise(measured: _Measured) -> Iterator[MeterResult]:
    noise = rehearsed_noise(measured.rehearsal)
    yield from independence_meters(noise.by_site)
    others: list[SharedNoise] = []
    try:
        ordinary = ordinary_rehearsal(
            measured.study, seed=measured.seed, generator=measured.generator
        )
    except NotReleased as refused:
        measured.note(refused)
    else:
        measured.asked += [*ordinary.asked, ordinary.twin]
        whole = tuple(ordinary.noise())
        groups = ordinary.of_real_patients()
        training, *others = whole
        # As many draws as are in canaries' columns are enough for what is alike in all.
        training = training.at(~groups["training"])
        noise = noise.with_shares(training.by_site)
        yield release_meter(training.by_site)
        yield every_coordinate_meter(whole, groups)
        yield coordinate_pairs_meter(whole)
        yield two_runs_meter((training, *others))
    for one in (noise, *others):
        yield from noise_meters(one)
    yield from shape_meters(noise)


def _clip_and_sampler(measured: _Measured) -> Iterator[MeterResult]:
    study, seed = measured.study, measured.seed
    bare = bare_rehearsal(study, seed=seed, generator=measured.generator)
    measured.asked += bare.asked
    yield from clip_meters(bare)
    if study.training.sampling_rate == 1.0:
        yield from nothing_sampled()
    elif not bare.audit.is_local:
        yield from sampling_meters(Doses.seen(bare))
    else:
        doses, asked = local_doses(study, seed=seed)
        measured.asked += asked
        if doses is not None:
            yield from sampling_meters(doses)
        else:
            why = "Local steps are so long that who was in them cannot be told from an update."
            yield from (not_applicable(name, why) for name in SAMPLING_NAMES)


def _masks(measured: _Measured) -> Iterator[MeterResult]:
    meter, asked = mask_meter(measured.study, seed=measured.seed, generator=measured.generator)
    measured.asked.append(asked)
    yield meter


def _sensitivity(measured: _Measured) -> Iterator[MeterResult]:
    meter, asked = sensitivity_meter(
        measured.study, seed=measured.seed, generator=measured.generator
    )
    measured.asked += asked
    yield meter
