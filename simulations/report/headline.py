"""The one sentence at the top, computed from the results."""

from __future__ import annotations

from dataclasses import dataclass

from fedward.simulations.report.arms import STYLES, arm_name, nearest_to_one, of_kind
from fedward.simulations.report.numbers import decimals, epsilon, plus_minus
from fedward.simulations.results import ArmKind, ArmResult, ExperimentResult


@dataclass(frozen=True, kw_only=True)
class KeyFigure:
    """One arm beside the headline."""

    kind: ArmKind
    name: str
    accuracy: str
    auroc: str
    epsilons: str | None
    """Both epsilons and whom each is for; None where one number holds for everyone."""


@dataclass(frozen=True, kw_only=True)
class Headline:
    """A sentence and the arms that it compares."""

    sentence: str
    figures: tuple[KeyFigure, ...]


def headline_of(result: ExperimentResult) -> Headline:
    """Compare the private federated arm nearest to epsilon 1 with what is possible without."""
    chosen = chosen_arms(result)
    clauses = []
    for arm in chosen:
        accuracy = arm.summary.get("accuracy")
        if accuracy is None:
            continue
        reached = decimals(accuracy.mean)
        if arm.epsilon is not None:
            where = "Federated" if arm.kind.startswith("federated") else "Pooled"
            exposed = _against_coordinator(arm, masked=result.masked)
            besides = "" if exposed is None else f" ({exposed} against the coordinator)"
            clauses.append(
                f"{where} with privacy at epsilon {epsilon(arm.epsilon)}{besides} reaches "
                f"{reached} accuracy"
            )
        elif clauses:
            clauses.append(f"{_LATER[arm.kind]} {reached}")
        else:
            clauses.append(f"{STYLES[arm.kind].name}: {reached} accuracy")
    return Headline(
        sentence=(", ".join(clauses) or "No arm was evaluated") + ".",
        figures=tuple(
            KeyFigure(
                kind=arm.kind,
                name=arm_name(arm),
                accuracy=plus_minus(arm.summary.get("accuracy")),
                auroc=plus_minus(arm.summary.get("auroc")),
                epsilons=_both_epsilons(arm, masked=result.masked),
            )
            for arm in chosen
        ),
    )


_LATER: dict[ArmKind, str] = {
    "alone": "each hospital alone",
    "pooled": "pooled without privacy",
    "federated": "federated without privacy",
}


def _against_coordinator(arm: ArmResult, *, masked: bool) -> str | None:
    """The epsilon against the coordinator, where a reader would see another than ``epsilon``."""
    if masked or arm.epsilon_alone is None:
        return None
    exposed = epsilon(arm.epsilon_alone)
    return None if exposed == epsilon(arm.epsilon) else exposed


def _both_epsilons(arm: ArmResult, *, masked: bool) -> str | None:
    exposed = _against_coordinator(arm, masked=masked)
    if exposed is None:
        return None
    return (
        f"ε {epsilon(arm.epsilon)} for whoever sees only the sums and the model, "
        f"{exposed} against the coordinator"
    )


def chosen_arms(result: ExperimentResult) -> list[ArmResult]:
    """The private arm of the headline, if any, then the baselines to hold it against."""
    private: tuple[ArmKind, ...] = ("federated_distributed", "federated_local", "pooled_private")
    chosen = []
    for kind in private:
        best = nearest_to_one(of_kind(result.arms, kind))
        if best is not None:
            chosen.append(best)
            break
    baselines: tuple[ArmKind, ...] = ("pooled", "federated", "alone")
    for kind in baselines:
        chosen.extend(of_kind(result.arms, kind)[:1])
    return chosen
