"""How much of a job that reads proposals is read ahead: eager prefill, in the mean.

Home's own model has a slot for it from the end T0 of its own job to the end T of the layer, as
long as no other job needs it. First come, first served, whom it leaves behind at T0 = s are those
who came meanwhile: nobody, and the slot is free, with the chance exp(-lambda s). From then on the
slot is free and busy in turn, for 1 / lambda and E[S] / (1 - rho) in the mean; one that is busy
at T0 is so for E[S^2] / 2 E[S] / (1 - rho)^2. With exponential durations, and as long to read
(of the rate nu), the chance a(t) that something is read at T0 + t follows from two linear
equations, and what is hidden in the mean is the integral of a(t) P(T - T0 > t, ...).

That the last but one proposal may be long in coming, so that there is nothing to read, is
neglected. So is, with several slots, that one may be free before T0.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from dmoa.theory.waiting import Grid, Kind, Row

_LEAST = 1e-12
"""A chance, or a rate, below which there is none."""


def hidden_share(grid: Grid, kind: Kind, own: Row, layer: Row, reading: Row) -> float:
    """Tell which share of the reading is done ahead, in the mean: 0 to 1.

    `own` is the distribution of how long home's own job takes, from the layer's begin on, `layer`
    that of the whole layer, `reading` the masses of how long the reading takes; `kind` is home.
    """
    seconds: Row = np.arange(grid.points) * np.float64(grid.step)
    mean = float(reading @ seconds)
    if mean <= grid.step * _LEAST:
        return 0.0
    peers = np.divide(layer, own, out=np.zeros_like(own), where=own > _LEAST)
    masses = grid.masses(own)
    free = np.exp(-kind.rate * seconds) if kind.slots == 1 else 1.0 - kind.delayed
    idle, busy = _gap(masses * free, peers), _gap(masses * (1.0 - free), peers)
    gap = idle + busy
    whole = float((gap * np.exp(-seconds / mean)).sum())
    if whole <= _LEAST:
        return 0.0
    from_idle, from_busy = _read(kind, 1.0 / mean, seconds)
    part = float((idle * from_idle + busy * from_busy).sum()) / whole
    most = float((gap * (1.0 - np.cumsum(reading))).sum()) * grid.step
    return min(1.0, max(0.0, part * most / mean))


def _gap(masses: Row, peers: Row) -> Row:
    """Tell how likely peers take t longer than home, whose times have these masses."""
    points = 2 * masses.shape[-1]
    late = np.fft.rfft(1.0 - peers, points)
    here = np.fft.rfft(masses, points)
    found = np.fft.irfft(late * np.conj(here), points)[: masses.shape[-1]]
    return np.clip(found, 0.0, 1.0)


def _read(kind: Kind, speed: float, seconds: Row) -> tuple[Row, Row]:
    """Tell how likely something is read at a time after T0: where the slot was free, or not.

    a' = -(lambda + nu) a + beta b and b' = lambda a - beta b, where b is the chance that the slot
    is busy, and not all is read. From a busy slot the same begins when it is first free.
    """
    left = max(1.0 - kind.utilisation, _LEAST)
    coming, going = max(kind.rate / kind.slots, _LEAST), left / kind.mean
    total = coming + speed + going
    root = sqrt(max(total**2 - 4.0 * speed * going, 0.0))
    slow, fast = (total - root) / 2.0, (total + root) / 2.0
    share = (fast - going) / (fast - slow)
    parts = ((1.0 - share, slow), (share, fast))
    first = left**2 / kind.residual_mean
    from_idle = np.zeros_like(seconds)
    from_busy = np.zeros_like(seconds)
    for weight, rate in parts:
        fades, gap = np.exp(-rate * seconds), rate - first
        if abs(gap) < first * 1e-6:
            gap = first * 1e-6
        from_idle += weight * fades
        from_busy += weight * first * (np.exp(-first * seconds) - fades) / gap
    return from_idle, from_busy
