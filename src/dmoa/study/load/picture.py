"""A load test in pictures: queues, rho, depth and refusals over time, and how long answers took."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isfinite, nan

from dmoa.study.load.beside import Beside
from dmoa.study.load.measured import Figures
from dmoa.study.load.records import Log, Sample
from dmoa.study.plots import Mark, Panel, Series

_NODES = 4
"""Of which each has a line of its own; more would not be told apart."""
_POINTS = 400
"""Of one line."""
_BINS = 40
"""Of refusals over time, at most; each is a second at least."""
_TIME = "seconds since the test began"
_OTHERS = ("expired", "failed", "dropped")
_MEAN, _MOST = "mean of the nodes", "busiest node"


def panels(
    log: Log, due: Sequence[float], figures: Figures, beside: Beside, *, deadline: float | None
) -> list[Panel]:
    """Make the panels of one test, with when its queries were due (seconds).

    Samples that are too many to see are left out.
    """
    samples = log.samples[:: ceil(len(log.samples) / _POINTS) or 1]
    return [
        _latencies(figures, beside, deadline),
        _rho(samples),
        _depth(samples),
        _refusals(log, due),
        _queues(samples, figures),  # last, as its many lines need what colours are left
    ]


def _queues(samples: Sequence[Sample], figures: Figures) -> Panel:
    """Draw the jobs at each node, with the limit where the queues come near it."""
    at = [each.at for each in samples]
    lengths = [[_length(each, node) for each in samples] for node in range(len(figures.nodes))]
    if len(lengths) <= _NODES:
        series = [
            Series(each.name, at, line, plain=True)
            for each, line in zip(figures.nodes, lengths, strict=True)
        ]
    else:
        columns = [
            [each for each in column if isfinite(each)] or [nan]
            for column in zip(*lengths, strict=True)
        ]
        series = [
            Series(_MOST, at, [max(each) for each in columns], plain=True),
            Series(_MEAN, at, [sum(each) / len(each) for each in columns], plain=True),
        ]
    top = max((each.peak for each in figures.nodes), default=0)
    bounds = [each.bound for each in figures.nodes if each.bound and each.bound <= 2 * top]
    marks = [Mark(float(min(bounds)), "limit", level=True)] if bounds else []
    return Panel("Queues", _TIME, "jobs at a node", series, marks)


def _length(sample: Sample, node: int) -> float:
    found = sample.nodes[node]
    return nan if found is None else float(found.waiting + found.serving)


def _rho(samples: Sequence[Sample]) -> Panel:
    """Draw rho as the nodes measured it."""
    at = [each.at for each in samples]
    known = [[one.rho for one in each.nodes if one is not None] or [nan] for each in samples]
    series = [
        Series(_MEAN, at, [sum(each) / len(each) for each in known], plain=True),
        Series(_MOST, at, [max(each) for each in known], plain=True),
    ]
    marks = [Mark(1.0, "bound", level=True)]
    top = 1.1 * max([1.0, *(each for each in series[1].y if isfinite(each))])
    title = "Utilisation, as nodes measure it"
    return Panel(title, _TIME, "rho", series, marks, y_range=(0.0, top))


def _depth(samples: Sequence[Sample]) -> Panel:
    """Draw the jobs of a query that would be asked now."""
    at = [each.at for each in samples]
    visits: list[float] = []
    for each in samples:
        known = [one.layers * (one.fanout + 1) + 1 for one in each.nodes if one is not None]
        visits.append(sum(known) / len(known) if known else nan)
    series = [Series("depth in use", at, visits, plain=True)]
    return Panel("Depth in use", _TIME, "jobs per query", series)


def _refusals(log: Log, due: Sequence[float]) -> Panel:
    """Draw what was asked, refusals and other queries without an answer, per second."""
    end = max(log.left, 1.0)
    bins = min(_BINS, int(end))
    width = end / bins
    middles = [(place + 0.5) * width for place in range(bins)]
    records = log.queries.values()
    series: list[Series] = []
    for label, times in (
        ("asked", due),
        ("refused", [each.due for each in records if each.status == "refused"]),
        ("late, failed or dropped", [each.due for each in records if each.status in _OTHERS]),
    ):
        counts = [0.0] * bins
        for time in times:
            counts[min(int(time / width), bins - 1)] += 1.0 / width
        series.append(Series(label, middles, counts, plain=True))
    return Panel("Asked and refused", _TIME, "queries/s in the whole network", series)


def _latencies(figures: Figures, beside: Beside, deadline: float | None) -> Panel:
    """Draw the distribution of the time to answer, measured and in the worlds."""
    series = [_distribution("measured", figures.latencies)]
    if beside.world is not None:
        series.append(_distribution("worlds of agents", beside.world.latencies))
    longest = max((each.x[-1] for each in series if len(each.x)), default=0.0)
    near = deadline is not None and deadline <= longest
    marks = [Mark(deadline, "deadline")] if near and deadline is not None else []
    return Panel(
        "Time to answer", "seconds", "share of the answers", series, marks, y_range=(0.0, 1.02)
    )


def _distribution(label: str, rising: Sequence[float]) -> Series:
    size = len(rising)
    places = range(0, size, max(1, size // _POINTS))
    x, y = [rising[each] for each in places], [(each + 1) / size for each in places]
    if size:
        x, y = [*x, rising[-1]], [*y, 1.0]
    return Series(label, x, y, plain=True)
