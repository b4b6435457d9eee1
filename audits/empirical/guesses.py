"""Guesses about which canaries are in a cohort, by what each of them left in the releases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Guessed:
    """How many canaries there are, of how many a guess was made, and how many guesses are right.

    ``sides`` is 2 if both "in" and "out" are guessed, 1 if only one of them is.
    """

    canaries: int
    guesses: int
    correct: int
    sides: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.guesses <= self.canaries:
            raise ValueError(f"not 0 <= correct <= guesses <= canaries: {self}")
        if self.sides not in {1, 2}:
            raise ValueError(f"sides must be 1 or 2: {self.sides}")


@dataclass(frozen=True, kw_only=True)
class GuessPlan:
    """Says "in" of the ``highest`` scores and "out" of the ``lowest``; of the rest nothing.

    Both numbers must be chosen before anyone looks at which canaries are in.
    """

    highest: int
    lowest: int

    def __post_init__(self) -> None:
        if self.highest < 0 or self.lowest < 0 or self.highest + self.lowest < 1:
            raise ValueError(f"a plan needs at least one guess: {self}")

    @property
    def guesses(self) -> int:
        """How many guesses are made."""
        return self.highest + self.lowest

    @property
    def sides(self) -> int:
        """2 if both "in" and "out" are said, else 1."""
        return 2 if self.highest and self.lowest else 1

    def made(self, scores: NDArray[np.float64], included: NDArray[np.bool_]) -> Guessed:
        """Guess by ``scores`` [m], and count what is right by ``included`` [m]."""
        count = len(scores)
        if scores.shape != (count,) or included.shape != (count,):
            raise ValueError(f"expected [m] twice: {scores.shape}, {included.shape}")
        if self.guesses > count:
            raise ValueError(f"{self.guesses} guesses about {count} canaries")
        order = np.argsort(scores, kind="stable")
        said_in = included[order[count - self.highest :]]
        said_out = included[order[: self.lowest]]
        return Guessed(
            canaries=count,
            guesses=self.guesses,
            correct=int(said_in.sum() + (~said_out).sum()),
            sides=self.sides,
        )
