"""The study that an audit rehearses: the audited one with a column for each canary.

Noise, clip, rates and numbers of sums are those of the audited study. They depend neither on the
features nor on how far these are cut off, but for the ring's rounding (a part in 10^5 of a clip).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from fedward.client.cohort import Cohort
from fedward.common.models.mlp import Mlp
from fedward.common.study.columns import design_columns
from fedward.common.study.definition import LocalTraining, NumericFeature, Study
from fedward.common.study.dimensions import study_model

STEEP = 1000.0
"""Scaled value of a canary's column, in clips or in 1 if that is more: its gradient lies in that
column but for a part in 1000, and is far longer than the clip."""
GENTLE = 20.0
"""The same for local training, where a canary's own steps must not carry it out of reach."""
CERTAIN = 50.0
"""Log-odds at which a prediction counts as certain, so that its residual stays 1."""
_known: WeakValueDictionary[str, Study] = WeakValueDictionary()
"""One object for each study: caches by study would compare equal ones feature by feature."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AuditStudy:
    """A study with canary columns, and what the auditor asks it with.

    ``study`` is what the vaults approve; its last ``canaries`` columns are the canaries' own.
    ``amplitude`` is a canary's value in its column after scaling.
    """

    study: Study
    real_columns: int
    canaries: int
    amplitude: float

    @classmethod
    def of(cls, study: Study, *, canaries: int, **tables: Any) -> AuditStudy:
        """Add ``canaries`` columns; ``tables`` replace whole parts of the study."""
        names = [feature.name for feature in study.features]
        prefix = "canary"
        while any(name.startswith(prefix) for name in (*names, study.target.name)):
            prefix += "_x"
        added = tuple(
            NumericFeature(kind="numeric", name=f"{prefix}{number}", unit="1", range=(-1.0, 1.0))
            for number in range(canaries)
        )
        local = isinstance(tables.get("training", study.training), LocalTraining)
        amplitude = (GENTLE if local else STEEP) * max(1.0, study.privacy.clip)
        parts = {name: getattr(study, name) for name in Study.model_fields}
        parts["features"] = (*study.features, *added)
        parts["scaling"] = study.scaling.model_copy(update={"feature_clip": amplitude})
        # Who is in which group has no part in the noise, and a rehearsal has sites of its own.
        parts["evaluation"] = study.evaluation.model_copy(update={"groups": {}})
        built = Study(**(parts | tables))
        return cls(
            study=_known.setdefault(built.digest, built),
            real_columns=len(design_columns(study)),
            canaries=canaries,
            amplitude=amplitude,
        )

    @property
    def columns(self) -> int:
        """All design columns."""
        return self.real_columns + self.canaries

    @property
    def is_local(self) -> bool:
        """Whether sites train by themselves and release updates."""
        return isinstance(self.study.training, LocalTraining)

    def scaler(self) -> dict[str, NDArray[np.float64]]:
        """The scaler of the auditor's queries: real columns as they are, canaries stretched."""
        scale = np.ones(self.columns)
        scale[self.real_columns :] = 1 / self.amplitude
        return {"center": np.zeros(self.columns), "scale": scale}

    def parameters(self, *, certain: bool | None = None) -> NDArray[np.float64]:
        """The auditor's parameters: no weight on any column, every hidden unit awake.

        ``certain`` (None: for local training) has all patients predicted as negative for certain,
        so that a positive canary's residual is 1 in every local step.
        """
        certain = self.is_local if certain is None else certain
        model = study_model(self.study)
        flat = np.zeros(model.parameter_count)
        if not isinstance(model, Mlp):
            flat[-1] = -CERTAIN if certain else 0.0
            return flat
        *hidden, last = model.layers
        for layer in hidden:
            layer.bias(flat)[:] = 0.5
            if layer is not hidden[0]:
                layer.weight(flat)[:] = 1 / layer.inputs
        # Local steps move the hidden units: a steep last layer keeps the gradient in the first.
        steepness = 100.0 if certain else 1.0
        last.weight(flat)[:] = steepness / np.sqrt(last.inputs)
        if certain:
            last.bias(flat)[:] = -CERTAIN - 2 * steepness * np.sqrt(last.inputs)
        return flat

    def with_canaries(
        self, real: Cohort, *, canaries: NDArray[np.int64], positive: NDArray[np.bool_]
    ) -> Cohort:
        """A site's patients: the real ones, and one row for each of these canaries behind them.

        ``real`` has the audited study's columns; ``positive [canaries]`` are the outcomes.
        """
        rows = len(real.target)
        features = np.zeros((rows + len(canaries), self.columns))
        features[:rows, : self.real_columns] = real.features
        features[rows + np.arange(len(canaries)), self.real_columns + canaries] = 1.0
        return Cohort(
            features=features,
            target=np.concatenate([real.target, positive.astype(np.float64)]),
            offsets=np.concatenate(
                [real.offsets, rows + 1 + np.arange(len(canaries), dtype=np.int64)]
            ),
        )
