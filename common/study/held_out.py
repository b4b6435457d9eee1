"""Held-out patients: how many, how predictions are read, and what is released about them."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from fedward.common.protocol.fields import SiteName
from fedward.common.study.section import Name, Section, Share

ALL_SITES = "all"
"""The one evaluation group of a study that names none."""
OTHER_SITES = "others"
"""The evaluation group of the sites that no named group holds."""


class Evaluation(Section):
    """Held-out patients, how predictions are read, and which sums over them are released."""

    holdout: Share = 0.2
    threshold: Share = 0.5
    calibration_bins: int = Field(default=10, ge=2, le=100)
    score_bins: int = Field(default=20, ge=2, le=1000)
    """Bins of the histogram of predicted probabilities that is released for each outcome."""
    release: bool = True
    """One charged sum over the held-out patients of each group of sites."""
    per_site: bool = False
    """Each site's own figures as well, each a release that holds all of its noise."""
    groups: dict[Name, tuple[SiteName, ...]] = Field(default_factory=dict)
    """Sites whose held-out patients are summed together; the rest is :data:`OTHER_SITES`."""

    @field_validator("groups")
    @classmethod
    def _groups_are_disjoint(cls, groups: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        group_of: dict[str, str] = {}
        for group, sites in groups.items():
            if group in (ALL_SITES, OTHER_SITES):
                raise ValueError(f"cannot have the name {group!r}, which is taken; rename it")
            for site in sites:
                if site in group_of:
                    raise ValueError(
                        f"hold site {site!r} twice, in {group_of[site]!r} and in {group!r}, but a "
                        "patient may be summed only once; list it in one group"
                    )
                group_of[site] = group
        return groups

    @model_validator(mode="after")
    def _groups_are_released(self) -> Self:
        if self.groups and not self.release:
            raise ValueError("groups without release = true are never summed; remove one of them")
        return self
