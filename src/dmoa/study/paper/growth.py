"""How the backlog of a network goes: its growth over replications, and its course in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, fsum
from operator import attrgetter, mul
from statistics import linear_regression

from dmoa.sim.compiled import is_available
from dmoa.sim.engine import simulate
from dmoa.sim.outcome import Outcome
from dmoa.sim.setting import Setting

_SEEDS = 1000
"""Replications have seeds of their own, and are fewer than this."""
WORTH = 2_000
"""Jobs of a run from which on it is compiled: less than for a run alone, as there are many."""
_STEEPEST = 20.0
"""An exponential that grows by this power of e in the time shown hides all but its end."""
_STEPS = 400


def run(setting: Setting) -> Outcome:
    """Simulate a setting, as one of many."""
    many = setting.queries * setting.mixture.visits >= WORTH
    return simulate(setting, compiled=True if many and is_available() else None)


def replications(setting: Setting, count: int) -> list[Outcome]:
    """Simulate a setting `count` times, with seeds that follow from its own."""
    return [run(replace(setting, seed=setting.seed * _SEEDS + each)) for each in range(count)]


def lasting(setting: Setting, seconds: float) -> Setting:
    """Let a setting ask for about `seconds`, on average."""
    rate = fsum(setting.network.arrival_rates)
    return replace(setting, queries=max(1, round(rate * seconds)))


# -- in time --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Course:
    """The mean jobs per node in each of some spans of equal length, by the middle of each (s)."""

    times: tuple[float, ...]
    jobs: tuple[float, ...]


def course(setting: Setting, parts: int) -> Course:
    """Follow the backlog from an empty network on, in `parts` spans.

    A longer run of the same dice begins as the shorter does, so each span is what a run up to
    its end measures after all but the last of its `parts`.
    """
    rate = fsum(setting.network.arrival_rates)
    times, jobs = list[float](), list[float]()
    for part in range(1, parts + 1):
        queries = setting.queries * part // parts
        begun = setting.queries * (part - 1) // parts
        # half a query more, lest rounding count one less as warmup
        warmup = (begun + 0.5) / queries
        jobs.append(run(replace(setting, queries=queries, warmup=warmup)).length)
        times.append((begun + queries) / 2.0 / rate)
    return Course(tuple(times), tuple(jobs))


# -- which curve ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fit:
    """A curve through points: its values there, and the share of their variance it leaves."""

    values: tuple[float, ...]
    misfit: float


def best_line(x: Sequence[float], y: Sequence[float]) -> Fit:
    """Fit a + b x by least squares."""
    slope, start = linear_regression(x, y)
    return _fit(tuple(start + slope * each for each in x), y)


def best_exponential(x: Sequence[float], y: Sequence[float]) -> Fit:
    """Fit a exp(b x) by least squares; it has two numbers as well.

    For each of many b, from flat to `_STEEPEST` over the whole `x`, the best a is known.
    """
    last, span = max(x), max(x) - min(x)

    def fit(steepness: float) -> Fit:
        bent = [exp(steepness * (each - last) / span) for each in x]
        height = fsum(map(mul, y, bent)) / fsum(map(mul, bent, bent))
        return _fit(tuple(height * each for each in bent), y)

    fits = (fit(_STEEPEST * step / _STEPS) for step in range(_STEPS + 1))
    return min(fits, key=attrgetter("misfit"))


def _fit(values: tuple[float, ...], y: Sequence[float]) -> Fit:
    middle = fsum(y) / len(y)
    misses = fsum((each - value) ** 2 for each, value in zip(y, values, strict=True))
    return Fit(values, misses / fsum((each - middle) ** 2 for each in y))
