"""Bursts of a few queries, as the paper's experiment asks them: drawn, replayed, and read.

The experiment asks ten queries within some ten seconds, whose jobs then take minutes, and ends
with the last answer. One such run says little, so many are drawn and replayed one after the
other on one axis of time, each beginning when the one before is sure to have ended.

Arrays are of R runs, N queries of each, L = M+1 layers (the last is the aggregation) and
W = k+1 seats, of which the aggregation has only the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.sim.draws import fold
from dmoa.sim.kernel_replay import Trace, replay
from dmoa.theory.laws import Law

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

NODES = 4
QUERIES = 10
"""Of a run."""
GAP = 1.0
"""Seconds between two queries on average, in the whole network."""
AT_ONCE = 50
"""Runs that are replayed on one axis of time."""


@dataclass(frozen=True, slots=True)
class Burst:
    """What chance decided in R runs.

    `times` (R, N) are the seconds at which queries are asked, from the begin of their run;
    `homes` (R, N) where. `nodes` (R, N, L, W) serve the seats, -1 where there is no such seat;
    `lengths` (R, N, L, W) are service times for a mean of 1.
    """

    mixture: Mixture
    times: Floats
    homes: Ints
    nodes: Ints
    lengths: Floats


@dataclass(frozen=True, slots=True)
class Log:
    """When what happened: seconds from the begin of each run; nan where there is no such seat.

    `entered` (R, N, L) is when the jobs of a layer entered their queues, `started` and
    `ended` (R, N, L, W) are those of their services.
    """

    entered: Floats
    started: Floats
    ended: Floats


def draw(mixture: Mixture, runs: int, law: Law, seed: int) -> Burst:
    """Draw runs; every mixture has its own.

    Lengths are scaled to a mean of exactly 1, which keeps most of their luck out of the means.
    """
    layers, fanout = mixture.layers, mixture.fanout
    rng = np.random.default_rng([fold(seed), layers, fanout])
    times = np.cumsum(rng.exponential(GAP, (runs, QUERIES)), axis=1)
    homes = rng.integers(0, NODES, (runs, QUERIES))
    nodes = np.full((runs, QUERIES, layers + 1, fanout + 1), -1, dtype=np.int64)
    nodes[..., 0] = homes[:, :, None]
    if layers > 0 and fanout > 0:
        shuffled = np.argsort(rng.random((runs, QUERIES, layers, NODES - 1)), axis=-1)
        peers = shuffled[..., :fanout]
        nodes[:, :, :layers, 1:] = peers + (peers >= homes[:, :, None, None])
    lengths = np.array(_lengths(nodes.shape, law, Random(f"{seed}/{mixture.name}")))
    return Burst(mixture, times, homes, nodes, (lengths / lengths.mean()).reshape(nodes.shape))


def _lengths(shape: tuple[int, ...], law: Law, rng: Random) -> list[float]:
    runs, queries, layers, seats = shape
    found: list[float] = []
    for _ in range(runs * queries):
        common = rng.gauss()
        found += [law.draw(rng, common) for _ in range(layers * seats)]
    return found


# -- the kernel ------------------------------------------------------------------------


def play(burst: Burst, seconds: Floats, told: Callable[[], None] = lambda: None) -> Log:
    """Let the kernel serve all runs; `seconds` (R, N, L, W) are the service times."""
    parts: list[Log] = []
    for first in range(0, len(burst.times), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        parts.append(_play(burst.mixture, burst.times[part], burst.nodes[part], seconds[part]))
        told()
    return Log(
        np.concatenate([each.entered for each in parts]),
        np.concatenate([each.started for each in parts]),
        np.concatenate([each.ended for each in parts]),
    )


def _play(mixture: Mixture, times: Floats, nodes: Ints, seconds: Floats) -> Log:
    runs, queries, layers, seats = nodes.shape
    # Until the last answer some node is always at work, or nobody has asked yet.
    work = np.where(nodes >= 0, seconds, 0.0).sum(axis=(1, 2, 3))
    ends = np.cumsum(times[:, -1] + work + GAP)
    begins = np.concatenate([[0.0], ends[:-1]])
    trace = Trace(
        (times + begins[:, None]).ravel().tolist(),
        nodes[:, :, 0, 0].ravel().tolist(),
        nodes.reshape(-1, layers, seats)[:, : layers - 1].tolist(),
        seconds.reshape(-1, layers, seats).tolist(),
    )
    network = Network.alike(NODES, arrival_rate=1.0 / (GAP * NODES))
    jobs = np.array(replay(network, mixture, trace, log=True).jobs)
    places = jobs[:, :3].astype(np.int64)
    marks = np.full((3, runs * queries, layers, seats), np.nan)
    marks[:, places[:, 0], places[:, 1] - 1, places[:, 2]] = jobs[:, 4:].T
    entered, started, ended = marks.reshape(3, *nodes.shape) - begins[:, None, None, None]
    return Log(entered[..., 0], started, ended)


# -- the model that must be loaded ------------------------------------------------------


def loading(nodes: Ints, *, kept: bool, loaded: int = 0) -> Flags:
    """Find the calls (R, N, L, W) that must load their model first.

    The experiment has room for one model. It makes the calls layer by layer, in a layer node
    by node, for each node query by query, and loads a model where it is not the one before:
    that of node `loaded` is there from the start. Where `kept`, a model that was read once is
    at hand for the rest of the run, and only the first load of each counts.
    """
    runs, _, layers, _ = nodes.shape
    found = np.zeros(nodes.shape, dtype=np.bool_)
    read = np.zeros((runs, NODES), dtype=np.bool_)
    read[:, loaded] = kept
    last = np.full(runs, loaded)
    for layer in range(layers):
        for node in range(NODES):
            seats = nodes[:, :, layer] == node
            queries = seats.any(axis=2)
            called = queries.any(axis=1)
            (which,) = np.nonzero(called & (last != node) & ~read[:, node])
            first = queries.argmax(axis=1)[which]
            found[which, first, layer] |= seats[which, first]
            last = np.where(called, node, last)
            read[:, node] |= called & kept
    return found


# -- what is read from a log -------------------------------------------------------------


def latencies(burst: Burst, log: Log) -> Floats:
    """Tell for each run the mean seconds from question to answer."""
    return (log.ended[:, :, -1, 0] - burst.times).mean(axis=1)


def waiting(log: Log) -> Floats:
    """Tell for each run the jobs that wait per node, averaged until the last answer."""
    waited = np.nansum(log.started - log.entered[..., None], axis=(1, 2, 3))
    return waited / (NODES * log.ended[:, :, -1, 0].max(axis=1))


def authors_queue(burst: Burst, log: Log) -> Floats:
    """Tell for each run the queue as the authors' program measures it.

    It goes through the layers of all queries in the order in which they begin. For each job
    it counts, when the service ends, whose layers have begun since this one and have a job at
    the same node; a layer is known only if that before it began earlier than this one. Counts
    are weighted by the service's seconds. Their sum is divided by when the aggregation ended
    that was the last to *begin*, not by when all ended, and by the number of nodes.
    """
    parts: list[Floats] = []
    for first in range(0, len(burst.times), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        entered, started, ended = log.entered[part], log.started[part], log.ended[part]
        parts.append(_authors_queue(burst.nodes[part], entered, started, ended))
    return np.concatenate(parts)


def _authors_queue(nodes: Ints, entered: Floats, started: Floats, ended: Floats) -> Floats:
    """Tell the same of a few runs; arrays here are (R, layers of all queries, ...)."""
    runs, queries, _, seats = nodes.shape
    before = np.concatenate(
        [np.full((runs, queries, 1), -np.inf), entered[:, :, :-1]], axis=2
    ).reshape(runs, -1)
    begun = entered.reshape(runs, -1)
    at = nodes.reshape(runs, -1, seats)
    known = (before[:, None, :] < begun[:, :, None]) & (begun[:, None, :] > begun[:, :, None])
    total = np.zeros(runs)
    for seat in range(seats):
        node = at[:, :, seat]
        end = ended.reshape(runs, -1, seats)[:, :, seat]
        took = end - started.reshape(runs, -1, seats)[:, :, seat]
        there = (at[:, None, :, :] == node[:, :, None, None]).any(axis=3)
        behind = known & there & (begun[:, None, :] <= end[:, :, None])
        total += np.nansum(behind.sum(axis=2) * np.where(node >= 0, took, np.nan), axis=1)
    last = entered[:, :, -1].argmax(axis=1)
    return total / (NODES * ended[np.arange(runs), last, -1, 0])
