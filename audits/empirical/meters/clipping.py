"""Meters of the clip: no patient moves a sum by more than the clip, in whatever layer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fedward.audits.empirical.canaries import canary_columns
from fedward.audits.empirical.meters.bare_rehearsal import TAGGED, BareRehearsal
from fedward.audits.empirical.meters.levels import decided, not_applicable
from fedward.audits.empirical.meters.tagged_patients import STEEP_EVERY
from fedward.audits.empirical.result import MeterResult
from fedward.audits.findings import Finding

TOLERANCE = 1e-4
"""In clips, for each patient in a sum: kernels may run through a model in float32."""


def clip_meters(bare: BareRehearsal) -> Iterator[MeterResult]:
    """Canaries' clipped gradients, whole sums against brute force, and who is in none."""
    yield _steep_canaries(bare)
    yield _whole_sums(bare)
    yield _held_out(bare)


def _steep_canaries(bare: BareRehearsal) -> MeterResult:
    """What a canary with a huge gradient adds to its own coordinates: one clip."""
    clip = bare.audit.study.privacy.clip
    largest, where, findings = 0.0, "", []
    for site, total in bare.totals.items():
        steep = np.arange(0, len(bare.terms[site]), STEEP_EVERY)
        lengths = np.linalg.norm(canary_columns(total, audit=bare.audit)[..., steep], axis=-2)
        if lengths.max(initial=0.0) > largest:
            largest, where = float(lengths.max()), site
    if not abs(largest / clip - 1) <= 0.01:
        sentence = f"A canary's part of a sum is {largest / clip:.6g} clips long."
        findings.append(Finding(severity="error", where=where, sentence=sentence))
    return decided(
        "clip_of_canaries",
        "Canaries whose gradients are far too long are cut to one clip.",
        findings=tuple(findings),
        observed=largest / clip,
        expected=1.0,
        unit="clips",
    )


def _whole_sums(bare: BareRehearsal) -> MeterResult:
    name = "clip_of_all_layers"
    if bare.starved:
        return not_applicable(
            name, "Some patients leave no trace in a sum, so who was in it cannot be told."
        )
    clip = bare.audit.study.privacy.clip
    largest, findings = 0.0, []
    for site, totals in bare.totals.items():
        expected = bare.sampled[site].astype(np.float64) @ bare.terms[site]
        errors = np.linalg.norm(totals - expected, axis=1) / clip
        worst = int(np.argmax(errors))
        largest = max(largest, float(errors[worst]))
        if not errors[worst] <= TOLERANCE * max(1, len(bare.terms[site])):
            findings.append(
                Finding(
                    severity="error",
                    where=f"{site}, release {worst + 1}",
                    sentence=f"The sum is {errors[worst]:.4g} clips away from the sum of its "
                    "patients' gradients, each clipped as a whole.",
                )
            )
    return decided(
        name,
        "Every sum is that of its patients' mean gradients, each clipped over all layers together, "
        "as torch computes them one by one.",
        findings=tuple(findings),
        observed=largest,
        expected=0.0,
        unit="clips (the largest difference)",
    )


def _held_out(bare: BareRehearsal) -> MeterResult:
    """What training sums hold in the columns of patients who are held out."""
    clip = bare.audit.study.privacy.clip
    largest, findings = 0.0, []
    for site, totals in bare.totals.items():
        columns = canary_columns(totals, audit=bare.audit)[..., TAGGED:]
        clips = float(np.abs(columns).max()) / clip
        largest = max(largest, clips)
        if not clips <= TOLERANCE:
            sentence = f"A patient who is held out is in a training sum, by {clips:.4g} clips."
            findings.append(Finding(severity="error", where=site, sentence=sentence))
    return decided(
        "held_out_patients",
        "Patients who are held out are in no training sum.",
        findings=tuple(findings),
        observed=largest,
        expected=0.0,
        unit="clips (the most of any such patient)",
    )
