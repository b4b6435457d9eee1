"""Arms of an experiment: the ways to train one model that a report compares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from fedward.common.study.definition import DistributedTraining, LocalTraining, Study
from fedward.simulations.results import ArmKind

Grouping = Literal["alone", "pooled", "federated"]

COMPARISON_LOCAL_ROUNDS = 5
COMPARISON_LOCAL_EPOCHS = 2
COMPARISON_LOCAL_SAMPLING_RATE = 0.25
NOT_EVALUATED: Final[Mapping[str, Any]] = {"release": False, "per_site": False, "groups": {}}
"""Where one site holds all patients, there is nobody for whom to sum them up."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One row of the table: who trains together, and under which study.

    ``key`` names its folder. ``protected`` is False for baselines without clip and noise.
    """

    key: str
    kind: ArmKind
    label: str
    study: Study
    grouping: Grouping
    protected: bool

    @property
    def target_epsilon(self) -> float | None:
        """The epsilon that the arm was calibrated for."""
        return self.study.privacy.epsilon if self.protected else None


def arms_of(study: Study, *, epsilons: Iterable[float]) -> tuple[Arm, ...]:
    """All arms of a study: three without privacy, and the private ones at each epsilon.

    A study with distributed training is compared with DP-SGD at each site by
    :func:`local_counterpart`; one with local training has no distributed arm, because what it
    would be is not in the study.
    """
    local = study if isinstance(study.training, LocalTraining) else local_counterpart(study)
    in_one_place = changed(study, {"evaluation": NOT_EVALUATED})
    arms = [
        _arm("alone", "each hospital alone, not private", in_one_place, "alone"),
        _arm("pooled", "pooled, not private", in_one_place, "pooled"),
        _arm("federated", "federated, not private", study, "federated"),
    ]
    for epsilon in sorted(set(epsilons)):
        pooled = changed(in_one_place, {"privacy": {"epsilon": epsilon, "colluding": 0}})
        arms.append(_arm("pooled_private", "pooled, DP", pooled, "pooled", epsilon))
    for epsilon in sorted(set(epsilons)):
        at_sites = changed(local, {"privacy": {"epsilon": epsilon}})
        label = "federated, Opacus DP-SGD at each site"
        arms.append(_arm("federated_local", label, at_sites, "federated", epsilon))
    if local is not study:
        for epsilon in sorted(set(epsilons)):
            summed = changed(study, {"privacy": {"epsilon": epsilon}})
            label = "federated, distributed DP"
            arms.append(_arm("federated_distributed", label, summed, "federated", epsilon))
    return tuple(arms)


def full_name(arm: Arm) -> str:
    """The arm's label with its epsilon."""
    return arm.label if arm.target_epsilon is None else f"{arm.label}, ε = {arm.target_epsilon:g}"


def local_counterpart(study: Study) -> Study:
    """The study with DP-SGD at each site in place of distributed training.

    The same model, clip, scaling and budget; two epochs of quarter batches in each of five
    rounds, at the study's own learning rate and momentum, combined by FedAvg.
    """
    training = study.training
    if not isinstance(training, DistributedTraining):
        return study
    local = LocalTraining(
        method="local",
        rounds=COMPARISON_LOCAL_ROUNDS,
        epochs=COMPARISON_LOCAL_EPOCHS,
        sampling_rate=COMPARISON_LOCAL_SAMPLING_RATE,
        learning_rate=training.learning_rate,
        momentum=training.momentum,
        l2=training.l2,
        combine="fedavg",
    )
    return changed(study, {"training": local.model_dump(), "privacy": {"trust": "none"}})


def changed(study: Study, changes: Mapping[str, Mapping[str, Any]]) -> Study:
    """Return the study with some fields of its tables replaced; ``training`` is replaced whole."""
    document = study.model_dump()
    for table, fields in changes.items():
        document[table] = dict(fields) if table == "training" else document[table] | dict(fields)
    return Study.model_validate(document)


def _arm(
    kind: ArmKind, label: str, study: Study, grouping: Grouping, epsilon: float | None = None
) -> Arm:
    # All digits, so that no two epsilons share a folder.
    suffix = "" if epsilon is None else f"-epsilon-{float(epsilon)!r}".removesuffix(".0")
    return Arm(
        key=f"{kind.replace('_', '-')}{suffix}",
        kind=kind,
        label=label,
        study=study,
        grouping=grouping,
        protected=epsilon is not None,
    )
