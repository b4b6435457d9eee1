"""Every bug that is planted in the vaults' own training path is found, by the meter for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedward.audits.empirical.meters.all_meters import measure
from fedward.audits.empirical.rehearsal import rehearse
from fedward.client.cohort import Cohort
from fedward.client.vault import local_training, patient_sums, planned_entry, protection
from fedward.client.vault.durable_ledger import DurableLedger
from fedward.client.vault.kernels import clipping, logistic, mlp
from fedward.client.vault.kernels.patients import patient_chunks
from fedward.client.vault.kernels.row_gradients import RowGradients, batch_rows
from fedward.client.vault.ledger import LedgerEntry, MemoryLedger
from fedward.common.errors import PrivacyRefusal
from fedward.common.models.mlp import Mlp
from fedward.common.privacy.events import GaussianEvent
from fedward.common.privacy.plan import SumPlan
from fedward.common.privacy.random_source import RandomSource, RandomStream
from fedward.common.secure_sum import ring
from fedward.common.study import scaling
from fedward.common.study.definition import Study

Plant = Callable[[pytest.MonkeyPatch], None]
Audited = Callable[[str], Study]


def failed(study: Study, *, canaries: int = 64) -> set[str]:
    """Names of the meters that raise the alarm."""
    meters = measure(rehearse(study, sites=3, canaries=canaries))
    return {meter.check.name for meter in meters if meter.check.passed is False}


def in_place_of(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, made: Any) -> None:
    """Put ``made(real)`` where the module looks ``name`` up."""
    monkeypatch.setattr(module, name, made(getattr(module, name)))


def noise_times(factor: float) -> Plant:
    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        def made(real: Any) -> Any:
            return lambda codec, share_multiplier: factor * real(codec, share_multiplier)

        in_place_of(monkeypatch, ring.RingCodec, "noise_sigma_units", made)

    return plant


def noise_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uniform noise of the same variance."""

    def uniform(elements: Any, plan: SumPlan, codec: ring.RingCodec, stream: RandomStream) -> None:
        width = codec.noise_sigma_units(plan.share_multiplier) * np.sqrt(12)
        draws = (stream.uint64(elements.size) * 2.0**-64 - 0.5) * width
        elements += np.rint(draws).astype(np.int64).view(np.uint64)

    monkeypatch.setattr(protection, "add_noise_share", uniform)


def noise_off_centre(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(real: Any) -> Any:
        def shifted(elements: Any, plan: SumPlan, codec: ring.RingCodec, stream: Any) -> None:
            real(elements, plan, codec, stream)
            shift = round(0.2 * codec.noise_sigma_units(plan.share_multiplier))
            elements += np.uint64(shift)

        return shifted

    in_place_of(monkeypatch, protection, "add_noise_share", made)


def seeded_noise(*kept: int) -> Plant:
    """Noise drawn from a seed and these parts of a place: run, site, kind, round, attempt, step."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        def made(real: Any) -> Any:
            def stream(self: RandomSource, *, purpose: str, context: bytes) -> RandomStream:
                if purpose != "noise":
                    found: RandomStream = real(self, purpose=purpose, context=context)
                    return found
                place = json.loads(context)
                fewer = json.dumps([place[part] for part in kept]).encode()
                repeated: RandomStream = real(
                    RandomSource.insecure(7), purpose=purpose, context=fewer
                )
                return repeated

            return stream

        in_place_of(monkeypatch, RandomSource, "stream", made)

    return plant


RUN, SITE, KIND, ROUND, ATTEMPT, STEP = range(6)
same_noise_in_all_rounds = seeded_noise(RUN, SITE, KIND, STEP)
the_same_noise_in_every_run = seeded_noise(SITE, KIND, ROUND, ATTEMPT, STEP)
one_seed_at_every_site = seeded_noise(RUN, KIND, ROUND, ATTEMPT, STEP)


def a_tenth_of_the_noise_persists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the variance, a part that is the same in all rounds of a run at a site."""

    def made(real: Any) -> Any:
        fixed: dict[int, NDArray[np.uint64]] = {}

        def partly(elements: Any, plan: SumPlan, codec: Any, stream: Any) -> None:
            constant = fixed.setdefault(elements.size, np.zeros_like(elements))
            if not constant.any():
                real(constant, replace(plan, share_multiplier=plan.share_multiplier * 0.1**0.5),
                     codec, stream)  # fmt: skip
            real(elements, replace(plan, share_multiplier=plan.share_multiplier * 0.9**0.5),
                 codec, stream)  # fmt: skip
            elements += constant

        return partly

    in_place_of(monkeypatch, protection, "add_noise_share", made)


def no_noise_over_an_empty_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(real: Any) -> Any:
        def sometimes(elements: Any, plan: SumPlan, codec: Any, stream: Any) -> None:
            if elements.any():
                real(elements, plan, codec, stream)

        return sometimes

    in_place_of(monkeypatch, protection, "add_noise_share", made)


Spoil = Callable[[NDArray[np.uint64], Callable[[NDArray[np.uint64]], None]], None]


def training_noise(spoil: Spoil) -> Plant:
    """Of the study's plan: ``spoil(elements, add)`` in place of ``add(elements)``."""

    class Spoilt:
        def __init__(self, share: protection.NoiseShare) -> None:
            self._share = share

        def add(self, elements: Any, stream: RandomStream, *, codec: ring.RingCodec) -> None:
            spoil(elements, lambda to: self._share.add(to, stream, codec=codec))

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        def made(real: Any) -> Any:
            def rules(self: Any, study: Study, kind: str, **options: Any) -> Any:
                found = real(self, study, kind, **options)
                if kind != "training":
                    return found
                return replace(found, share=Spoilt(found.share))

            return rules

        in_place_of(monkeypatch, protection.PlannedProtection, "rules", made)

    return plant


def none_for_real_patients(elements: NDArray[np.uint64], add: Any) -> None:
    bare = elements.copy()
    add(elements)
    elements[:3], elements[-1] = bare[:3], bare[-1]


def none_in_the_bias(elements: NDArray[np.uint64], add: Any) -> None:
    bare = int(elements[-1])
    add(elements)
    elements[-1] = bare


def none_in_later_layers(elements: NDArray[np.uint64], add: Any) -> None:
    bare = elements[-9:].copy()
    add(elements)
    elements[-9:] = bare


def in_pairs(elements: NDArray[np.uint64], add: Any) -> None:
    noise = np.zeros_like(elements)
    add(noise)
    noise[1::2] = noise[::2][: len(noise[1::2])]
    elements += noise


def in_blocks_of_4(elements: NDArray[np.uint64], add: Any) -> None:
    noise = np.zeros_like(elements)
    add(noise)
    elements += noise[np.arange(len(noise)) // 4 * 4]


def second_half_takes_away_the_first(elements: NDArray[np.uint64], add: Any) -> None:
    noise = np.zeros_like(elements)
    add(noise)
    half = len(noise) // 2
    noise[half : 2 * half] = -noise[:half]
    elements += noise


def alike_in_no_order(elements: NDArray[np.uint64], add: Any) -> None:
    noise = np.zeros_like(elements)
    add(noise)
    order, half = np.random.default_rng(3).permutation(len(noise)), len(noise) // 2
    noise[order[:half]] = noise[order[half : 2 * half]]
    elements += noise


def held_out_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is held out for evaluation is among the training patients as well."""

    def made(real: Any) -> Any:
        def init(self: Any, *, cohort: Cohort, held_out: Cohort | None, performance: Any) -> None:
            if held_out is not None:
                cohort = Cohort(
                    features=np.concatenate([cohort.features, held_out.features]),
                    target=np.concatenate([cohort.target, held_out.target]),
                    offsets=np.concatenate(
                        [cohort.offsets, cohort.offsets[-1] + held_out.offsets[1:]]
                    ),
                )
            real(self, cohort=cohort, held_out=held_out, performance=performance)

        return init

    in_place_of(monkeypatch, patient_sums.PatientSums, "__init__", made)


def training_patients_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(real: Any) -> Any:
        def init(self: Any, *, cohort: Cohort, held_out: Cohort | None, performance: Any) -> None:
            real(self, cohort=cohort, held_out=held_out and cohort, performance=performance)

        return init

    in_place_of(monkeypatch, patient_sums.PatientSums, "__init__", made)


def no_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    def ones(norms: NDArray[np.float64], *, clip: float) -> NDArray[np.float64]:
        return np.ones_like(norms)

    for module in (clipping, logistic, mlp):
        monkeypatch.setattr(module, "clip_factors", ones)


def clip_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are clipped and averaged, instead of a patient's mean: still within the clip."""

    def made(real: Any) -> Any:
        def by_row(
            model: Any, parameters: Any, cohort: Cohort, patients: Any, **options: Any
        ) -> Any:
            chosen = np.arange(cohort.patient_count) if patients is None else patients
            total = np.zeros(model.parameter_count)
            for patient in np.asarray(chosen):
                first, last = cohort.offsets[patient : patient + 2]
                rows = Cohort(
                    features=cohort.features[first:last],
                    target=cohort.target[first:last],
                    offsets=np.arange(last - first + 1),
                )
                total += real(model, parameters, rows, None, **options) / (last - first)
            return total

        return by_row

    for module in (patient_sums, local_training):
        in_place_of(monkeypatch, module, "clipped_gradient_sum", made)


def clip_by_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each weight and each bias is clipped by itself."""

    def by_layer(
        model: Any, parameters: Any, cohort: Cohort, patients: Any, *, clip: float, performance: Any
    ) -> NDArray[np.float64]:
        width = model.parameter_count
        size = batch_rows(model, rows=512, dtype="float64")
        gradients = RowGradients(model, parameters, rows=size, dtype="float64")
        total = np.zeros(width)
        for chunk in patient_chunks(cohort, patients, rows=512):
            of_rows = gradients.of(chunk.features, chunk.target)
            means = np.add.reduceat(of_rows, chunk.starts, axis=0) / chunk.counts[:, None]
            starts = [0, width - 1]
            if isinstance(model, Mlp):
                ends = ((layer.start, layer.stop - layer.outputs) for layer in model.layers)
                starts = [start for layer in ends for start in layer]
            for first, last in pairwise([*starts, width]):
                part = means[:, first:last]
                norms = np.linalg.norm(part, axis=1, keepdims=True)
                total[first:last] += (part * np.minimum(1, clip / np.maximum(norms, 1e-12))).sum(0)
        return total

    for module in (patient_sums, local_training):
        monkeypatch.setattr(module, "clipped_gradient_sum", by_layer)


def clip_times_1_05(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(real: Any) -> Any:
        return lambda norms, *, clip: real(norms, clip=1.05 * clip)

    for module in (clipping, logistic, mlp):
        in_place_of(monkeypatch, module, "clip_factors", made)


def sampler(draw: Callable[..., NDArray[np.bool_]]) -> Plant:
    """A sampler that keeps the patients that ``draw(count, rate, coins)`` says."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        def sampled(cohort: Cohort, *, rate: float, stream: RandomStream) -> Any:
            def coins(chance: float) -> NDArray[np.bool_]:
                return stream.below_rate(cohort.patient_count, rate=chance)

            return np.flatnonzero(draw(cohort.patient_count, rate, coins))

        for module in (patient_sums, local_training):
            monkeypatch.setattr(module, "sampled_patients", sampled)

    return plant


def fixed_size(count: int, rate: float, coins: Any) -> NDArray[np.bool_]:
    chosen = np.random.default_rng().permutation(count)[: max(1, round(rate * count))]
    return np.isin(np.arange(count), chosen)


def never_empty(count: int, rate: float, coins: Any) -> NDArray[np.bool_]:
    while True:
        drawn: NDArray[np.bool_] = coins(rate)
        if drawn.any():
            return drawn


def always_the_same(count: int, rate: float, coins: Any) -> NDArray[np.bool_]:
    return np.random.default_rng(count).random(count) < rate


def in_groups(count: int, rate: float, coins: Any) -> NDArray[np.bool_]:
    return np.repeat(coins(rate), 6)[:count]


double_rate = sampler(lambda count, rate, coins: coins(min(1.0, 2 * rate)))
fixed_batches = sampler(fixed_size)
empty_batches_drawn_again = sampler(never_empty)
the_same_batch_every_time = sampler(always_the_same)
patients_sampled_in_groups = sampler(in_groups)


def empty_batches_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(real: Any) -> Any:
        def refusing(cohort: Cohort, *, rate: float, stream: RandomStream) -> Any:
            drawn = real(cohort, rate=rate, stream=stream)
            if drawn is not None and not len(drawn):
                raise PrivacyRefusal("an empty batch")
            return drawn

        return refusing

    in_place_of(monkeypatch, patient_sums, "sampled_patients", made)


def not_charged(which: Callable[[LedgerEntry], bool]) -> Plant:
    """A ledger that lets some entries pass without writing them down."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        def skipping(real: Any) -> Any:
            def reserve(self: MemoryLedger, entry: LedgerEntry, **options: Any) -> Any:
                return None if which(entry) else real(self, entry, **options)

            return reserve

        def forgiving(real: Any) -> Any:
            def commit(self: MemoryLedger, place: Any, **options: Any) -> None:
                if self.answered(place):
                    real(self, place, **options)

            return commit

        in_place_of(monkeypatch, MemoryLedger, "reserve", skipping)
        in_place_of(monkeypatch, MemoryLedger, "commit", forgiving)

    return plant


scaler_not_charged = not_charged(lambda entry: entry.kind == "moments")
third_round_not_charged = not_charged(lambda entry: entry.round == 3)


def charged_otherwise_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hospital's ledger in a file charges an evaluation as if it had more noise."""

    def made(real: Any) -> Any:
        def reserve(self: DurableLedger, entry: LedgerEntry, **options: Any) -> Any:
            if entry.kind == "evaluation":
                # The vault's check of its plan would notice it of the whole sum.
                alone = replace(entry.event_alone, noise_multiplier=99.0)
                entry = replace(entry, event_alone=alone)
            return real(self, entry, **options)

        return reserve

    in_place_of(monkeypatch, DurableLedger, "reserve", made)


def local_steps_charged_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planned_entry, "executed_count", lambda kind, study: 1)


def charged_as_if_better_noised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the site's own share; for the whole sum, the vault's check of its plan would notice."""

    def made(real: Any) -> Any:
        def lighter(*, event_alone: GaussianEvent, **others: Any) -> Any:
            multiplier = 1.1 * event_alone.noise_multiplier
            return real(event_alone=replace(event_alone, noise_multiplier=multiplier), **others)

        return lighter

    in_place_of(monkeypatch, planned_entry, "LedgerEntry", made)


def moments_not_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(real: Any) -> Any:
        return lambda features, offsets, *, clip: real(features, offsets, clip=100 * clip)

    in_place_of(monkeypatch, patient_sums, "moments_of_patients", made)
    assert scaling.moments_of_patients is not patient_sums.moments_of_patients


def counted_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A patient counts as often as it has rows."""

    def made(real: Any) -> Any:
        return lambda target, offsets: target

    in_place_of(monkeypatch, patient_sums, "majority_outcomes", made)


PLANTED: list[tuple[str, Plant, str]] = [
    ("full", noise_times(0.9), "noise_of_training"),
    ("full", noise_times(0.5), "noise_of_training"),
    ("full", noise_times(1.1), "noise_of_training"),
    ("full", noise_times(0.9), "noise_of_moments"),
    ("full", noise_times(0.35), "noise_of_counts"),
    ("full", noise_times(0.5), "noise_of_evaluation"),
    ("full", noise_times(0.5), "noise_of_site_evaluation"),
    ("poisson_mlp", noise_times(0.9), "noise_of_training"),
    ("local", noise_times(0.9), "noise_of_training"),
    ("full", noise_of_another_kind, "noise_shape"),
    ("full", noise_off_centre, "noise_mean"),
    ("full", same_noise_in_all_rounds, "noise_of_neighbouring_rounds"),
    ("full", same_noise_in_all_rounds, "noise_that_persists"),
    ("poisson", same_noise_in_all_rounds, "noise_of_any_two_releases"),
    ("local", same_noise_in_all_rounds, "noise_that_persists"),
    ("full", one_seed_at_every_site, "noise_across_sites"),
    ("local", one_seed_at_every_site, "noise_across_sites"),
    ("full", one_seed_at_every_site, "noise_of_summed_training"),
    ("full", one_seed_at_every_site, "masks"),
    ("poisson", no_noise_over_an_empty_batch, "noise_in_every_release"),
    ("full", training_noise(none_for_real_patients), "noise_in_every_coordinate"),
    ("poisson", training_noise(none_for_real_patients), "noise_in_every_coordinate"),
    ("local", training_noise(none_in_the_bias), "noise_in_every_coordinate"),
    ("full", training_noise(none_in_the_bias), "noise_in_every_coordinate"),
    ("full_mlp", training_noise(none_in_later_layers), "noise_in_every_coordinate"),
    ("poisson_mlp", training_noise(none_in_later_layers), "noise_in_every_coordinate"),
    ("full", training_noise(in_pairs), "noise_of_any_two_coordinates"),
    ("poisson", training_noise(in_pairs), "noise_of_any_two_coordinates"),
    ("local", training_noise(in_blocks_of_4), "noise_of_any_two_coordinates"),
    ("full", training_noise(in_blocks_of_4), "noise_of_any_two_coordinates"),
    ("full", training_noise(second_half_takes_away_the_first), "noise_of_any_two_coordinates"),
    ("full", training_noise(alike_in_no_order), "noise_of_any_two_coordinates"),
    ("full", the_same_noise_in_every_run, "noise_of_two_runs"),
    ("poisson", the_same_noise_in_every_run, "noise_of_two_runs"),
    ("local", the_same_noise_in_every_run, "noise_of_two_runs"),
    ("full", held_out_in_training, "held_out_patients"),
    ("poisson", held_out_in_training, "held_out_patients"),
    ("local", held_out_in_training, "held_out_patients"),
    ("full", held_out_in_training, "sensitivity_of_other_sums"),
    ("full", training_patients_evaluated, "sensitivity_of_other_sums"),
    ("full", charged_otherwise_on_the_disk, "charges"),
    ("full", no_clip, "clip_of_canaries"),
    ("poisson_mlp", no_clip, "clip_of_canaries"),
    ("local", no_clip, "clip_of_canaries"),
    ("full", clip_times_1_05, "clip_of_canaries"),
    ("full", clip_by_layer, "clip_of_all_layers"),
    ("full_mlp", clip_by_layer, "clip_of_all_layers"),
    ("poisson_mlp", clip_by_layer, "clip_of_all_layers"),
    ("local", clip_by_layer, "clip_of_all_layers"),
    ("local_mlp", clip_by_layer, "clip_of_all_layers"),
    ("full", clip_by_row, "clip_of_all_layers"),
    ("poisson", double_rate, "sampling_rate"),
    ("local", double_rate, "sampling_rate"),
    ("poisson", fixed_batches, "batch_sizes"),
    ("local", fixed_batches, "batch_sizes"),
    ("poisson", patients_sampled_in_groups, "batch_sizes"),
    ("poisson", the_same_batch_every_time, "sampling_by_patient"),
    ("local", the_same_batch_every_time, "sampling_by_patient"),
    ("poisson", empty_batches_drawn_again, "empty_batches"),
    ("poisson", empty_batches_refused, "answers"),
    ("full", scaler_not_charged, "charges"),
    ("full", third_round_not_charged, "charges"),
    ("poisson", third_round_not_charged, "charges"),
    ("local", local_steps_charged_as_one, "charges"),
    ("full", charged_as_if_better_noised, "charges"),
    ("full", moments_not_clipped, "sensitivity_of_other_sums"),
    ("full", counted_by_row, "sensitivity_of_other_sums"),
]


@pytest.mark.parametrize(
    ("study", "plant", "meter"),
    PLANTED,
    ids=[f"{number}-{study}-{meter}" for number, (study, _, meter) in enumerate(PLANTED)],
)
def test_a_planted_bug_fails_the_meter_for_it(
    audited: Audited, monkeypatch: pytest.MonkeyPatch, study: str, plant: Plant, meter: str
) -> None:
    plant(monkeypatch)

    assert meter in failed(audited(study))


def test_noise_that_stays_the_same_in_part_is_found(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_tenth_of_the_noise_persists(monkeypatch)

    assert "noise_that_persists" in failed(audited("poisson"), canaries=1000)
