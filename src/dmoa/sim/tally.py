"""What is measured of a run while it goes on, in bounded memory: means, quantiles, growth.

Counted are the queries from `Window.first` on. A network in which the backlog grows is not
followed to the last answer, which would be long after the last question; what was answered
until then is counted. Where it does not grow all are followed to their answer, and a recorded
trace always is: it has an end, and the network comes to rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, nan

import numpy as np
from numpy.typing import NDArray

from dmoa.sim.arrivals import Window
from dmoa.sim.outcome import Outcome
from dmoa.sim.setting import Recorded, Setting

EXACT = 1 << 18
"""Values up to which quantiles are exact; beyond, they are those of a histogram."""
FINENESS = 8
"""Bits of the mantissa that tell a bin of the histogram: each is 0.2 to 0.4 % wide."""
_SHIFT = 52 - FINENESS
_LEAST = (1023 - 64) << FINENESS
_BINS = 128 << FINENESS
"""The histogram reaches from 2^-64 to 2^64 seconds."""

Numbers = NDArray[np.float64]


class Quantiles:
    """A count, a mean and quantiles of values that stream by."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.longest = 0.0
        self._few: list[Numbers] = []
        self._lately = 0
        self._bins: NDArray[np.int64] | None = None

    def add(self, values: Numbers) -> None:
        """Take some more."""
        if not len(values):
            return
        self.count += len(values)
        self.total += float(values.sum())
        self.longest = max(self.longest, float(values.max()))
        self._few.append(values)
        self._lately += len(values)
        if self._lately > EXACT:
            self._fold()

    def join(self, other: Quantiles) -> None:
        """Take all that another has seen."""
        if other._bins is not None:
            self._fold()
            assert self._bins is not None
            self._bins += other._bins
        self.count += other.count
        self.total += other.total
        self.longest = max(self.longest, other.longest)
        self._few += other._few
        self._lately += other._lately
        if self._lately > EXACT:
            self._fold()

    def _fold(self) -> None:
        if self._bins is None:
            self._bins = np.zeros(_BINS, dtype=np.int64)
        for values in self._few:  # each of a size that a cache holds
            # the bits of a number, exponent first, are as good as its logarithm
            place = (values.view(np.int64) >> _SHIFT) - _LEAST
            found = np.bincount(np.clip(place, 0, _BINS - 1))
            self._bins[: len(found)] += found
        self._few, self._lately = [], 0

    def quantile(self, share: float) -> float:
        """Tell the least value that a share of all does not exceed (nan without any)."""
        if not self.count:
            return nan
        order = max(1, ceil(share * self.count))
        if self._bins is None:
            values = np.concatenate(self._few)
            self._few = [values]
            return float(np.partition(values, order - 1)[order - 1])
        self._fold()
        place = int(np.searchsorted(np.cumsum(self._bins), order))
        edges = (np.array([place, place + 1]) + _LEAST) << _SHIFT
        return min(float(edges.view(np.float64).mean()), self.longest)

    @property
    def mean(self) -> float:
        """The mean (nan without any)."""
        return self.total / self.count if self.count else nan


@dataclass(slots=True)
class Sums:
    """What an engine itself sums up while arrivals go on after the warmup.

    `waiting` and `length` are seconds of jobs in all nodes together, `busy` those in service
    of each node. `backlog` are the jobs in the network at evenly spaced moments from begin to
    end. `jobs` counts services that ended, with the ends of `ahead` that were only foreseen, and
    `refused` the counted queries that were refused.
    """

    waiting: float
    length: float
    busy: Sequence[float]
    backlog: Sequence[float]
    jobs: int
    refused: int = 0
    ahead: int = 0


class Tally:
    """The answers of one run."""

    def __init__(self, setting: Setting, counted: Window) -> None:
        self._setting = setting
        self._counted = counted
        self._before, self._after = Quantiles(), Quantiles()
        self._proposals = [0, 0]
        self._in_time = [0, 0]
        self._good = 0

    def take(
        self,
        numbers: Sequence[int],
        asked: Sequence[float],
        ended: Sequence[float],
        proposals: Sequence[int],
    ) -> None:
        """Take some answers: of which queries (from 0), when, of how many proposals in all."""
        ends = np.array(ended, dtype=np.float64)
        sojourn = ends - np.array(asked, dtype=np.float64)
        made = np.array(proposals, dtype=np.int64)
        counts = np.array(numbers) >= self._counted.first
        early = ends <= self._counted.end
        if counts.all() and early.all():  # as nearly always
            self._good += len(ends)
            self._add(0, sojourn, made)
            return
        self._good += int(np.count_nonzero(early & (ends >= self._counted.begin)))
        for late, which in enumerate((early, ~early)):
            chosen = counts & which
            self._add(late, sojourn[chosen], made[chosen])

    def _add(self, late: int, sojourns: Numbers, proposals: NDArray[np.int64]) -> None:
        (self._after if late else self._before).add(sojourns)
        self._proposals[late] += int(proposals.sum())
        self._in_time[late] += int(np.count_nonzero(sojourns <= self._setting.deadline))

    def follows(self, sums: Sums) -> bool:
        """Tell whether queries that are under way at the end are followed to their answer."""
        if isinstance(self._setting.arrivals, Recorded):
            return True
        span = self._counted.end - self._counted.begin
        mean = sum(sums.backlog) / max(1, len(sums.backlog))
        return growth(sums.backlog, span) * span <= mean

    def outcome(self, sums: Sums, *, engine: str, cpu_seconds: float, followed: bool) -> Outcome:
        """Sum it all up; `followed` tells whether all were followed to their answer."""
        if followed:
            self._before.join(self._after)
        sojourns, counted = self._before, self._counted
        proposals = sum(self._proposals) if followed else self._proposals[0]
        in_time = sum(self._in_time) if followed else self._in_time[0]
        network, span = self._setting.network, counted.end - counted.begin
        asked, per = counted.queries - counted.first, 1.0 / span if span > 0.0 else 0.0
        mean_proposals = proposals / sojourns.count if sojourns.count else nan
        jobs = sums.jobs if followed else sums.jobs - sums.ahead
        busy: Numbers = np.array(sums.busy, dtype=np.float64) * per / np.array(network.slots)
        return Outcome(
            asked=asked,
            answered=sojourns.count,
            refused=sums.refused,
            mean=sojourns.mean,
            p50=sojourns.quantile(0.5),
            p95=sojourns.quantile(0.95),
            p99=sojourns.quantile(0.99),
            longest=sojourns.longest if sojourns.count else nan,
            in_time=in_time / asked,
            goodput=self._good * per,
            offered=asked * per,
            proposals=mean_proposals,
            visits=mean_proposals + 1.0,
            waiting=sums.waiting * per / network.nodes,
            length=sums.length * per / network.nodes,
            utilisation=tuple(busy.tolist()),
            growth=growth(sums.backlog, span) / network.nodes,
            span=span,
            jobs=jobs,
            events=jobs + counted.queries,
            cpu_seconds=cpu_seconds,
            engine=engine,
        )


def growth(backlog: Sequence[float], span: float) -> float:
    """Fit a line through evenly spaced samples over `span` seconds; tell its slope per second."""
    size = len(backlog)
    if size < 2 or span <= 0.0:  # noqa: PLR2004  (a line needs two points)
        return 0.0
    middle = (size - 1) / 2.0
    rise = sum((place - middle) * each for place, each in enumerate(backlog))
    run = size * (size * size - 1) / 12.0
    return rise / run * (size - 1) / span
