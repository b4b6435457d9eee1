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
            clauses.append(
                f"{where} with privacy at epsilon {epsilon(arm.epsilon)} reaches {reached} accuracy"
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
            )
            for arm in chosen
        ),
    )


_LATER: dict[ArmKind, str] = {
    "alone": "each hospital alone",
    "pooled": "pooled without privacy",
    "federated": "federated without privacy",
}


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
