"""A test again: the same questions, peers and service times, without network, HTTP or dice.

Where nodes follow the paper's protocol, what they did is decided by who was asked when, whom
they drew, and how long each job took; all of this is measured. The fast engine, which gives the
times of the agents to the last bit, repeats it. So nothing is left to chance in the comparison,
and what live nodes take longer is what the network, HTTP and a busy machine cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

import numpy as np

from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.core.policy import PAPER, Policy
from dmoa.sim.kernel_replay import Trace, replay
from dmoa.study.load.records import Crew, Log, QueryRecord


def why_not(log: Log, mixture: Mixture, policy: Policy | None) -> str:
    """Tell why a test cannot be repeated; empty where it can."""
    crew = log.crew
    assert crew is not None, "a test that asked knows its nodes"
    if policy != PAPER:
        return "it repeats the paper's protocol only, and the nodes follow another"
    whole = all(_is_whole(each, crew, mixture) for each in log.queries.values())
    if len(log.queries) < log.asked or not whole:
        return "not every job was completed, so it is not known how long each takes"
    return ""


def again(log: Log, network: Network, mixture: Mixture, *, first: int) -> tuple[float, ...]:
    """Repeat a test; tell the rising times to answer of the queries from number `first` on.

    Seconds from when a query was due. Only for what `why_not` has nothing against.
    """
    crew = log.crew
    assert crew is not None, "a test that asked knows its nodes"
    records = sorted(log.queries.values(), key=_sent)
    trace = Trace(
        times=[_sent(each) for each in records],
        homes=[each.node for each in records],
        choices=[_choices(each, crew, mixture) for each in records],
        seconds=[_seconds(each, mixture) for each in records],
    )
    took = replay(network, mixture, trace).sojourns
    pairs = zip(records, took, strict=True)
    return tuple(sorted(time + each.lag for each, time in pairs if each.number >= first))


def summed(times: Sequence[float]) -> dict[str, float]:
    """Sum times up, by the names of the rows of a report (seconds)."""
    ranks = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    quantiles = {name: float(np.quantile(times, rank)) for name, rank in ranks.items()}
    return {"mean": fsum(times) / len(times), **quantiles}


def _sent(record: QueryRecord) -> float:
    return record.due + record.lag


def _is_whole(record: QueryRecord, crew: Crew, mixture: Mixture) -> bool:
    """Tell whether all jobs of a query were completed, as many as the mixture has."""
    done = all(job.outcome == "ok" and job.node in crew.names for job in record.jobs)
    return record.status == "answered" and done and len(record.jobs) == mixture.visits


def _choices(record: QueryRecord, crew: Crew, mixture: Mixture) -> list[list[int]]:
    return [
        [crew.names.index(job.node) for job in record.jobs if job.layer == layer]
        for layer in range(1, mixture.layers + 1)
    ]


def _seconds(record: QueryRecord, mixture: Mixture) -> list[list[float]]:
    return [
        [job.service_seconds for job in record.jobs if job.layer == layer]
        for layer in range(1, mixture.layers + 2)
    ]
