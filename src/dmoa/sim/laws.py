"""Laws of chance: when queries come, how long jobs take. Times in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Protocol


class Law(Protocol):
    """A positive random duration."""

    @property
    def mean(self) -> float:
        """The expected duration."""
        ...

    def draw(self, rng: Random) -> float:
        """Draw one duration."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same."""

    mean: float

    def draw(self, rng: Random) -> float:
        """Return the mean; `rng` is left alone."""
        del rng
        return self.mean


@dataclass(frozen=True, slots=True)
class Exponential:
    """Without memory, as in the paper's Markov chain."""

    mean: float

    def draw(self, rng: Random) -> float:
        """Draw from the exponential law."""
        return rng.expovariate(1.0 / self.mean)
