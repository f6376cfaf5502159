"""When queries are asked, and where: chunks of times and homes, the same for every engine.

Times and homes come from streams of their own, so that the times can be looked over in
advance (`window`) without the homes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from dmoa.errors import NetworkShapeError
from dmoa.sim.draws import fold
from dmoa.sim.setting import Bursts, Recorded, Setting

CHUNK = 8192
"""Arrivals made at once."""
KEPT = 1 << 20
"""Arrivals whose times are kept rather than made twice: 8 MB."""

Times = NDArray[np.float64]
Homes = NDArray[np.int64]


class Window(NamedTuple):
    """What counts of a run.

    `queries` are asked in all, and those from number `first` on are counted. `begin` is when
    the first of these is asked, `end` when the last is (seconds).
    """

    queries: int
    first: int
    begin: float
    end: float


def queries_of(setting: Setting) -> int:
    """Count the queries that are asked: as many as wanted, or as the trace has."""
    if isinstance(setting.arrivals, Recorded):
        return min(setting.queries, len(setting.arrivals.times))
    return setting.queries


def window(setting: Setting, keep: list[Times] | None = None) -> Window:
    """Look over the times of all arrivals, and tell what of them counts.

    Where they are not too many they are kept in `keep`, for `chunks`.
    """
    queries = queries_of(setting)
    first = int(setting.warmup * queries)
    done, begin, end = 0, 0.0, 0.0
    for times in _times(setting):
        if done <= first < done + len(times):
            begin = float(times[first - done])
        done += len(times)
        end = float(times[-1])
        if keep is not None and queries <= KEPT:
            keep.append(times)
    return Window(queries, first, begin, end)


def chunks(setting: Setting, kept: list[Times] | None = None) -> Iterator[tuple[Times, Homes]]:
    """Make all arrivals of a setting in their order: seconds, and nodes from 0.

    `kept` are the times as `window` has kept them, if it has.
    """
    homes = _homes(setting)
    for times in kept or _times(setting):
        yield times, homes(len(times))


def _stream(setting: Setting, name: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([fold(setting.seed), name]))


def _sizes(queries: int) -> Iterator[int]:
    for done in range(0, queries, CHUNK):
        yield min(CHUNK, queries - done)


def _times(setting: Setting) -> Iterator[Times]:
    arrivals, queries = setting.arrivals, queries_of(setting)
    if isinstance(arrivals, Recorded):
        for done in range(0, queries, CHUNK):
            yield np.array(arrivals.times[done : min(done + CHUNK, queries)], dtype=np.float64)
        return
    rate = float(np.sum(np.array(setting.network.arrival_rates)))
    if rate <= 0.0 or (arrivals is not None and arrivals.mean <= 0.0):
        raise NetworkShapeError("nobody ever asks: all arrival rates are 0")
    stream, last = _stream(setting, 1), 0.0
    for size in _sizes(queries):
        # in units of expected arrivals, in which every Poisson process is the same
        passed = last + np.cumsum(stream.standard_exponential(size))
        last = float(passed[-1])
        yield passed / rate if arrivals is None else _bent(passed / rate, arrivals)


def _bent(passed: Times, bursts: Bursts) -> Times:
    """Bend even time to that of bursts: the time at which the integral of the level is reached."""
    low = bursts.low * bursts.low_seconds
    whole = low + bursts.high * bursts.high_seconds
    turns = np.floor(passed / whole)
    rest = passed - turns * whole
    begun = turns * (bursts.low_seconds + bursts.high_seconds)
    slow = rest / bursts.low if bursts.low > 0.0 else np.zeros_like(rest)
    fast = (rest - low) / bursts.high if bursts.high > 0.0 else np.zeros_like(rest)
    bent = begun + np.where(rest < low, slow, bursts.low_seconds + fast)
    return np.maximum.accumulate(bent)


class _Homes:
    """Who is asked: drawn in proportion to the arrival rates, or as recorded."""

    def __init__(self, setting: Setting) -> None:
        rates = np.array(setting.network.arrival_rates)
        self._nodes = len(rates)
        self._even = bool(np.all(rates == rates[0]))
        self._reach: Times | None = None if self._even else np.cumsum(rates)
        self._last = int(np.flatnonzero(rates)[-1]) if rates.any() else 0
        self._stream = _stream(setting, 2)

    def __call__(self, size: int) -> Homes:
        if self._reach is None:
            return self._stream.integers(0, self._nodes, size, dtype=np.int64)
        drawn = self._stream.random(size) * self._reach[-1]
        found = cast("Homes", np.searchsorted(self._reach, drawn, side="right"))
        return np.minimum(found, self._last)


class _Told:
    """Who was asked in a recorded trace."""

    def __init__(self, recorded: Recorded) -> None:
        self._homes, self._done = recorded.homes, 0

    def __call__(self, size: int) -> Homes:
        self._done += size
        return np.array(self._homes[self._done - size : self._done], dtype=np.int64)


def _homes(setting: Setting) -> _Homes | _Told:
    if isinstance(setting.arrivals, Recorded):
        return _Told(setting.arrivals)
    return _Homes(setting)
