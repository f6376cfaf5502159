"""What a load test measured: of the queries and moments after its warm-up, and node by node."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import fsum, inf, nan

import numpy as np

from dmoa.core.mixture import ALONE
from dmoa.core.network import Network
from dmoa.sim.arrivals import Window, window
from dmoa.sim.setting import Recorded, Setting
from dmoa.sim.tally import Quantiles
from dmoa.study.load.records import STATUSES, Crew, Log, NodeSample, QueryRecord, Sample

LAG_MAX = 0.01
"""Seconds that one query of a hundred may be sent late, before that is worth a warning."""
NEAR = 1.5
"""A told time to answer is right where the true one is within this factor of it."""
_LATE = 0.3
"""Seconds that a sample may be later than the moment it is of."""


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """One node; times in seconds, queues in jobs.

    `asked` counts the queries asked there, `refused` those of them that it refused, `jobs` the
    proposals and aggregations that it made, which took `service_time` in the mean. `waiting`
    and `utilisation` are time averages by its own counters, `peak` is the longest queue that was
    seen, and `bound` its limit.
    """

    name: str
    asked: int
    refused: int
    jobs: int
    service_time: float
    utilisation: float
    waiting: float
    peak: int
    bound: int | None


@dataclass(frozen=True, slots=True)
class Figures:
    """A test; times in seconds, rates per second in the whole network, queues in jobs per node.

    `sent` counts all queries that were due, `asked` those after the warm-up, which all the rest
    is of, and `counts` how these ended; `unanswered` ones were given up at the end, or when
    the test was stopped. `in_time` is the share of `asked` that was answered within the
    deadline. `told` counts the answers whose time was foretold below rho 1, and `told_near`
    the share of these that took it within the factor `NEAR`. `spared` is the share of the jobs
    that were stopped as others had come first; how long they would have taken nobody knows.
    `lag_*` is how late the generator itself was.
    """

    sent: int
    asked: int
    counts: dict[str, int]
    unanswered: int
    span: float
    offered: float
    goodput: float
    mean: float
    p50: float
    p95: float
    p99: float
    longest: float
    in_time: float
    proposals: float
    visits: float
    spared: float
    waiting: float
    utilisation: float
    told: int
    told_near: float
    lag_mean: float
    lag_p99: float
    lag_max: float
    nodes: tuple[NodeFigures, ...]
    latencies: tuple[float, ...]


def counted(arrivals: Recorded, warmup: float) -> Window:
    """Tell what counts, exactly as a simulation of the same arrivals does."""
    nodes = max(arrivals.homes) + 1
    network = Network((1.0,) * nodes, (1.0,) * nodes)
    queries = len(arrivals.times)
    return window(Setting(network, ALONE, arrivals=arrivals, queries=queries, warmup=warmup))


def measure(log: Log, arrivals: Recorded, *, warmup: float = 0.1, deadline: float = inf) -> Figures:
    """Sum up what is known of a test whose queries were due at `arrivals` (one at least)."""
    assert log.crew is not None, "a test that asked knows its nodes"
    what = counted(arrivals, warmup)
    records = [each for number, each in log.queries.items() if number >= what.first]
    answers = [each for each in records if each.status == "answered"]
    counts = {status: sum(each.status == status for each in records) for status in STATUSES}
    asked, span = what.queries - what.first, what.end - what.begin
    per = 1.0 / span if span > 0.0 else 0.0
    times, lags = _quantiles([each.latency for each in answers]), _lags(records)
    ends = [each.due + each.latency for each in log.queries.values() if each.status == "answered"]
    early = sum(what.begin <= each <= what.end for each in ends)
    proposals = sum(_proposals(each) for each in answers)
    told = list(_told(answers, log.samples))
    nodes = tuple(_nodes(log, log.crew, arrivals, what))
    return Figures(
        sent=what.queries,
        asked=asked,
        counts=counts,
        unanswered=asked - len(records),
        span=span,
        offered=asked * per,
        goodput=early * per,
        mean=times.mean,
        p50=times.quantile(0.5),
        p95=times.quantile(0.95),
        p99=times.quantile(0.99),
        longest=times.longest if answers else nan,
        in_time=sum(each.latency <= deadline for each in answers) / asked,
        proposals=proposals / len(answers) if answers else nan,
        visits=sum(_visits(each) for each in answers) / len(answers) if answers else nan,
        spared=_spared(answers),
        waiting=_mean([each.waiting for each in nodes]),
        utilisation=_mean([each.utilisation for each in nodes]),
        told=len(told),
        told_near=sum(told) / len(told) if told else nan,
        lag_mean=lags.mean,
        lag_p99=lags.quantile(0.99),
        lag_max=lags.longest,
        nodes=nodes,
        latencies=tuple(sorted(each.latency for each in answers)),
    )


def _quantiles(values: Sequence[float]) -> Quantiles:
    found = Quantiles()
    found.add(np.array(values, dtype=np.float64))
    return found


def _lags(records: Sequence[QueryRecord]) -> Quantiles:
    return _quantiles([each.lag for each in records if each.status != "dropped"])


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)


def _proposals(record: QueryRecord) -> int:
    return sum(each.role == "proposer" and each.outcome == "ok" for each in record.jobs)


def _visits(record: QueryRecord) -> int:
    return sum(each.outcome == "ok" for each in record.jobs)


def _spared(records: Sequence[QueryRecord]) -> float:
    jobs = [job.outcome for record in records for job in record.jobs]
    return jobs.count("spared") / len(jobs) if jobs else 0.0


def _told(answers: Sequence[QueryRecord], samples: Sequence[Sample]) -> Iterator[bool]:
    """Tell of each answer that was foretold while rho was below 1 whether it came as foretold."""
    rho = [(each.at, _rho(each)) for each in samples]
    moments = [at for at, _ in rho]
    for each in answers:
        place = bisect_right(moments, each.due) - 1
        if each.expected_seconds > 0.0 and place >= 0 and rho[place][1] < 1.0:
            took = max(each.latency - each.lag, 0.0)
            yield each.expected_seconds / NEAR <= took <= each.expected_seconds * NEAR


def _rho(sample: Sample) -> float:
    """Average rho over the nodes, as they say it."""
    known = [each.rho for each in sample.nodes if each is not None]
    return _mean(known) if known else nan


def _nodes(log: Log, crew: Crew, arrivals: Recorded, what: Window) -> Iterator[NodeFigures]:
    durations = durations_of(log, crew)
    homes = arrivals.homes[what.first :]
    for node, name in enumerate(crew.names):
        seen = [found for each in log.samples if (found := each.nodes[node]) is not None]
        own = [each for each in log.queries.values() if each.node == node]
        seconds, waiting, serving = _passed(log.samples, node, what)
        slots = crew.slots[node]
        yield NodeFigures(
            name=name,
            asked=homes.count(node),
            refused=sum(each.status == "refused" and each.number >= what.first for each in own),
            jobs=len(durations[node]),
            service_time=_mean(durations[node]) if durations[node] else nan,
            utilisation=serving / seconds / slots if seconds else nan,
            waiting=waiting / seconds if seconds else nan,
            peak=max((each.waiting + each.serving for each in seen), default=0),
            bound=seen[-1].bound_jobs if seen else None,
        )


def _passed(samples: Sequence[Sample], node: int, what: Window) -> tuple[float, float, float]:
    """Sum what passed at a node while it was counted: seconds, waiting and serving job seconds.

    From sample to sample, so that neither a node that was started anew nor a test that was gone
    on with later spoils it.
    """
    sums = [0.0, 0.0, 0.0]
    last: tuple[int, NodeSample] | None = None
    for each in samples:
        now = each.nodes[node]
        if now is None or not what.begin <= each.at <= what.end + _LATE:
            continue
        if last is not None and last[0] == each.leg and last[1].seconds <= now.seconds:
            before = last[1]
            sums[0] += now.seconds - before.seconds
            sums[1] += now.waiting_job_seconds - before.waiting_job_seconds
            sums[2] += now.serving_job_seconds - before.serving_job_seconds
        last = each.leg, now
    return sums[0], sums[1], sums[2]


def durations_of(log: Log, crew: Crew) -> list[list[float]]:
    """List the measured service times of the completed jobs of every node (seconds)."""
    found: list[list[float]] = [[] for _ in crew.names]
    place = {name: node for node, name in enumerate(crew.names)}
    for record in log.queries.values():
        for job in record.jobs:
            if job.outcome == "ok" and job.service_seconds > 0.0 and job.node in place:
                found[place[job.node]].append(job.service_seconds)
    return found
