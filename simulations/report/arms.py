"""How each way to train is named and drawn: the same colour, marker and dash everywhere."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fedward.simulations.report.numbers import epsilon_name
from fedward.simulations.results import ArmKind, ArmResult


@dataclass(frozen=True, kw_only=True)
class KindStyle:
    """One arm kind. ``variable`` is the CSS colour; ``path`` the marker in a 12 x 12 box.

    ``meaning_unmasked`` takes the place of ``meaning`` where releases carried no masks.
    """

    kind: ArmKind
    name: str
    meaning: str
    variable: str
    marker: str
    path: str
    dash: tuple[float, float] | None
    private: bool
    meaning_unmasked: str | None = None

    def explained(self, *, masked: bool) -> str:
        """What the kind is, in a run with or without masks."""
        return self.meaning if masked else self.meaning_unmasked or self.meaning


STYLES: Final[dict[ArmKind, KindStyle]] = {
    style.kind: style
    for style in (
        KindStyle(
            kind="alone",
            name="Each hospital alone",
            meaning="each hospital trains on its own patients only; nothing is shared",
            variable="--alone",
            marker="X",
            path="M2 4 4 2 6 4 8 2 10 4 8 6 10 8 8 10 6 8 4 10 2 8 4 6Z",
            dash=(2, 2),
            private=False,
        ),
        KindStyle(
            kind="pooled",
            name="Pooled, not private",
            meaning="all records in one place, no noise; what data protection usually forbids",
            variable="--pooled",
            marker="s",
            path="M2 2H10V10H2Z",
            dash=(6, 2),
            private=False,
        ),
        KindStyle(
            kind="federated",
            name="Federated, not private",
            meaning="records stay in the hospitals, but what is sent carries no noise",
            variable="--federated",
            marker="v",
            path="M1.5 2.5H10.5L6 10.5Z",
            dash=(4, 1.5),
            private=False,
        ),
        KindStyle(
            kind="pooled_private",
            name="Pooled, private",
            meaning="all records in one place, with noise; a reference for the federated ways",
            variable="--pooled-private",
            marker="D",
            path="M6 .8 11.2 6 6 11.2 .8 6Z",
            dash=(1, 1.5),
            private=True,
        ),
        KindStyle(
            kind="federated_local",
            name="Federated, each site adds all noise",
            meaning="each hospital makes its own update private and trusts nobody",
            variable="--federated-local",
            marker="^",
            path="M1.5 9.5H10.5L6 1.5Z",
            dash=(5, 1.5),
            private=True,
        ),
        KindStyle(
            kind="federated_distributed",
            name="Federated, sites share the noise",
            meaning="each hospital adds a share of the noise; only the sum of all is seen",
            meaning_unmasked=(
                "each hospital adds a share of the noise to its part of the sum; not masked in "
                "this run, so the coordinator sees each part"
            ),
            variable="--federated-distributed",
            marker="o",
            path="M6 1.2A4.8 4.8 0 1 1 6 10.8 4.8 4.8 0 1 1 6 1.2Z",
            dash=None,
            private=True,
        ),
    )
}
"""In the order of the legend."""


def planned_epsilon(arm: ArmResult) -> float | None:
    """The epsilon that names the arm: the one asked for, else the one accounted."""
    return arm.target_epsilon if arm.target_epsilon is not None else arm.epsilon


def label_of(kind: ArmKind, epsilon: float | None) -> str:
    """The standard label of an arm, such as "Federated, sites share the noise, ε = 1"."""
    name = STYLES[kind].name
    return name if epsilon is None else f"{name}, ε = {epsilon_name(epsilon)}"


def full_label(arm: ArmResult) -> str:
    """``arm.label``, with the planned epsilon at its end unless it names an epsilon already."""
    asked = planned_epsilon(arm)
    if asked is None or "ε" in arm.label:
        return arm.label
    return f"{arm.label}, ε = {epsilon_name(asked)}"


def arm_name(arm: ArmResult) -> str:
    """The standard label by kind and planned epsilon, whatever ``arm.label`` says."""
    return label_of(arm.kind, planned_epsilon(arm))


def nearest_to_one(arms: Iterable[ArmResult]) -> ArmResult | None:
    """The private arm whose epsilon is nearest to 1 (as a ratio); the lower one on a tie."""
    private = [(arm, planned_epsilon(arm)) for arm in arms]
    ranked = [(abs(math.log(asked)), asked, arm) for arm, asked in private if asked]
    return min(ranked, key=lambda entry: entry[:2])[2] if ranked else None


def of_kind(arms: Iterable[ArmResult], kind: ArmKind) -> list[ArmResult]:
    """The arms of one kind, by rising epsilon."""
    return sorted((arm for arm in arms if arm.kind == kind), key=lambda a: planned_epsilon(a) or 0)


def one_per_kind(arms: Iterable[ArmResult]) -> list[ArmResult]:
    """For side-by-side plots: of each kind the arm without epsilon, or the one nearest to 1."""
    arms = list(arms)
    chosen = []
    for kind in STYLES:
        same = of_kind(arms, kind)
        if same:
            chosen.append(nearest_to_one(same) or same[0])
    return chosen
