"""How long a job waits at one node: Pollaczek and Khinchine's law, on a grid.

Durations are masses on a grid of equal steps (seconds). Sums of durations are products of
transforms; to keep what lies beyond the end of the grid from coming back at its start, the
masses are tilted by a falling exponential before each transform and untilted after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from math import fsum, inf

import numpy as np
from numpy.typing import NDArray

from dmoa.theory.laws import FIXED, MEASURED, Law

Row = NDArray[np.float64]
"""Values on the points of a grid, in the last axis."""
Spectrum = NDArray[np.complex128]
"""The transform of a row."""

_TILT = 14.0
"""What comes back is lighter by exp(-14)."""
_LEAST, _MOST, _MARKS = 1e-3, 1e5, 1400
"""From where to where, in means, and at how many points a law is looked at."""


@lru_cache(maxsize=32)
def limited(law: Law) -> tuple[Row, Row]:
    """Tabulate E[min(S, x)] of a law with mean 1: x, and the value there.

    It is the integral of P(S > x). Its slopes tell the residual life of a job in service,
    its second differences the law itself, with exactly the right mean on any grid.
    """
    if law.code == FIXED:
        return np.array([0.0, 1.0, _MOST]), np.array([0.0, 1.0, 1.0])
    if law.code == MEASURED:
        samples = np.asarray(law.table)
        count = len(samples)
        below = np.concatenate([[0.0], np.cumsum(samples)])
        values = (below[1:] + samples * np.arange(count - 1, -1, -1)) / count
        return np.concatenate([[0.0], samples, [_MOST]]), np.concatenate([[0.0], values, [1.0]])
    marks = np.concatenate([[0.0], np.geomspace(_LEAST, _MOST, _MARKS)])
    tail = 1.0 - np.array([law.cdf(float(each) * law.mean) for each in marks])
    areas = (tail[1:] + tail[:-1]) / 2.0 * np.diff(marks)
    values = np.concatenate([[0.0], np.cumsum(areas)])
    return marks, values / values[-1]


class Grid:
    """Durations 0, h, 2h, ... seconds, below `span`."""

    def __init__(self, span: float, points: int) -> None:
        self.points = points
        self.step = span / points
        self._tilt = np.exp(-_TILT * np.arange(points) / points)
        self._halves = (np.arange(points + 1) - 0.5).clip(0.0) * self.step
        self._wholes = np.arange(-1, points + 1).clip(0) * self.step

    def spectrum(self, masses: Row) -> Spectrum:
        """Transform masses."""
        return np.fft.rfft(masses * self._tilt)

    def cdf(self, spectrum: Spectrum) -> Row:
        """Tell the probability of at most i steps, up to half a step more."""
        masses = np.fft.irfft(spectrum, self.points) / self._tilt
        return np.clip(np.cumsum(masses, axis=-1), 0.0, 1.0)

    def masses(self, cdf: Row) -> Row:
        """Undo `cdf`, up to the transform."""
        return np.diff(cdf, axis=-1, prepend=0.0)

    def service(self, law: Law, mean: float) -> Row:
        """Tell the masses of a service time: those of the same mean on this grid, exactly."""
        least = mean * np.interp(self._wholes / mean, *limited(law))
        masses = (2.0 * least[1:-1] - least[:-2] - least[2:]) / self.step
        masses[0] = 1.0 - least[2] / self.step
        return masses

    def residual(self, law: Law, mean: float) -> Row:
        """Tell the masses of what is left of a service when somebody comes."""
        return np.diff(np.interp(self._halves / mean, *limited(law)))

    def memoryless(self, mean: float) -> Row:
        """Tell the masses of an exponential duration."""
        return -np.diff(np.exp(-self._halves / mean))

    def mean(self, cdf: Row) -> Row:
        """Integrate P(T > t)."""
        return (1.0 - cdf).sum(axis=-1) * self.step

    def quantile(self, cdf: Row, share: float) -> float:
        """Find the duration that a share of all stay below."""
        at = int(np.searchsorted(cdf, share))
        if at >= self.points:
            return inf
        before = cdf[at - 1] if at else 0.0
        return max(0.0, at + 0.5 - float((cdf[at] - share) / (cdf[at] - before))) * self.step


@dataclass(frozen=True, slots=True)
class Kind:
    """Nodes that are loaded alike: M/G/c queues.

    `jobs` are the kinds of jobs, as rates (per second) and mean service times (seconds);
    `rate` and `work` are their sums, `slots` c, `cv` that of one service time. `feedback` is
    the share of the jobs that return: a query comes to its own home M + 1 times.

    With c slots and the offered work a = c rho, a job waits with Erlang's probability
    C(c, a), and then as long as a waiting job in the M/G/1 queue whose service is c times as
    fast. With one slot this is exact (Pollaczek, Khinchine), with exponential service too;
    else the mean is that of Lee and Longton (1959).

    A queue in which jobs return sooner than its load changes serves everyone a little at a
    time. In the limit it is processor sharing, where only the mean of a service matters and
    all laws wait like the exponential one (van den Berg and Boxma 1991). So the residual
    life is taken as a mixture of the law's, and with the share `feedback` that of the
    exponential law.
    """

    jobs: tuple[tuple[float, float], ...]
    slots: int
    cv: float
    feedback: float = 0.0
    rate: float = field(init=False, default=0.0)
    work: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        """Sum up the jobs per second, and the seconds of work in them."""
        object.__setattr__(self, "rate", fsum(rate for rate, _ in self.jobs))
        object.__setattr__(self, "work", fsum(rate * mean for rate, mean in self.jobs))

    @property
    def mean(self) -> float:
        """The mean service time of all jobs, in seconds."""
        if not self.rate:
            return fsum(mean for _, mean in self.jobs) / len(self.jobs)
        return self.work / self.rate

    @property
    def utilisation(self) -> float:
        """Compute rho."""
        return self.work / self.slots

    @property
    def residual_mean(self) -> float:
        """Compute E[S^2] / 2 E[S], with the feedback's share of E[S]; seconds."""
        square = fsum(rate * mean**2 for rate, mean in self.jobs) * (1.0 + self.cv**2)
        law = square / (2.0 * self.work) if self.work else self.mean
        return (1.0 - self.feedback) * law + self.feedback * self.mean

    @property
    def delayed(self) -> float:
        """Tell how likely a job has to wait."""
        return erlang_c(self.slots, self.work)

    @property
    def delay(self) -> float:
        """Tell how long those wait that have to, in the mean; seconds."""
        return self.residual_mean / (self.slots * (1.0 - self.utilisation))

    @property
    def waiting(self) -> float:
        """Tell how many jobs wait, by Little's law."""
        return self.rate * self.delayed * self.delay

    def spectrum(self, grid: Grid, law: Law) -> Spectrum:
        """Transform the law of waiting, 1 - C + C (1-rho) R / (1 - rho R).

        R is the transform of the residual life over c.
        """
        if not self.work:
            return np.ones(grid.points // 2 + 1, dtype=np.complex128)
        residual = self.feedback * grid.memoryless(self.mean / self.slots)
        for rate, mean in self.jobs:
            share = (1.0 - self.feedback) * rate * mean / self.work
            residual = residual + share * grid.residual(law, mean / self.slots)
        left, rho, delayed = grid.spectrum(residual), self.utilisation, self.delayed
        return 1.0 - delayed + delayed * (1.0 - rho) * left / (1.0 - rho * left)


def erlang_c(slots: int, work: float) -> float:
    """Compute how likely an M/M/c queue lets a job wait, with `work` = c rho offered to it."""
    lost = 1.0
    for each in range(1, slots + 1):
        lost = work * lost / (each + work * lost)
    rho = work / slots
    return lost / (1.0 - rho + rho * lost)
