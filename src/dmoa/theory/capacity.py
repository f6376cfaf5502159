"""How much a network carries if peers are drawn with an eye to their capacity.

Uniform draws load a slow node like a fast one. If the probabilities q_ij, that i draws j
among its k peers of a layer, may be chosen, the network carries more: how much more is told
here. It is not the paper's; the paper draws uniformly. Nothing of this is needed at run
time, as choosing the least burdened of twice as many peers comes within 5 % of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import fsum, inf, isinf
from typing import Any

from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.core.stability import (
    arrival_rate_scale_max,
    closing,
    proposing,
    uniform_gossip,
    utilisations,
)
from dmoa.errors import MissingExtraError, NetworkShapeError

NODES_MAX = 300
"""Up to so many nodes the linear programme is solved, in about a second."""
_EQUAL = 1e-9
"""Gains below this are none."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a network carries at most, in multiples of its arrival rates.

    `scale` is the largest factor with the probabilities `gossip` (q_ij; each row sums to k),
    `uniform` that with uniform draws. Both are infinite where nobody asks.
    """

    scale: float
    uniform: float
    gossip: tuple[tuple[float, ...], ...]

    @property
    def gain(self) -> float:
        """How many times as much is carried as with uniform draws; 1 or more."""
        return 1.0 if isinf(self.uniform) else self.scale / self.uniform


def best_gossip(network: Network, mixture: Mixture) -> Capacity:
    """Find the probabilities of gossip under which the busiest node is least busy.

    A linear programme: min r over r and 0 <= q_ij <= 1, where sum_j q_ij = k for every i,
    q_ij = 0 unless j is a peer of i, and rho_j(q) <= r for every j (`stability.utilisations`,
    linear in q). All rates can then grow by 1 / r. Equal q in all layers lose nothing: the
    mean of unequal ones, weighted with the layers' costs, loads the nodes alike.

    It always has a solution where `network.check` passes; other solutions may do as well.
    MissingExtraError without scipy, NetworkShapeError beyond `NODES_MAX` nodes.
    """
    if network.nodes > NODES_MAX:
        raise NetworkShapeError(
            f"{network.nodes} nodes are too many for the linear programme of the capacity",
            hint=f"up to {NODES_MAX} are solved; `capacity_scale` has no such bound",
        )
    even = uniform_gossip(network, mixture)
    uniform = arrival_rate_scale_max(network, mixture)
    if mixture.layers == 0 or mixture.fanout == 0 or isinf(uniform):
        return Capacity(uniform, uniform, even)
    if network.graph is None and capacity_scale(network, mixture) <= uniform * (1.0 + _EQUAL):
        return Capacity(uniform, uniform, even)
    gossip = _least_busy(network, mixture, uniform)
    scale = arrival_rate_scale_max(network, mixture, gossip)
    if scale <= uniform * (1.0 + _EQUAL):
        return Capacity(uniform, uniform, even)
    return Capacity(scale, uniform, gossip)


def capacity_scale(network: Network, mixture: Mixture) -> float:
    """Tell `best_gossip(...).scale` of the complete graph in closed form, without the q.

    With the work of a seat m1 = a1 + (M-1) a2, of the last job aA, and D = sum_i lambda_i,
    it is 1 / max(x', x'') where

    ```text
    x'  = max_j alpha_j / c_j lambda_j (m1 + aA)                        nobody's own is too much
    x'' : sum_j min(D - lambda_j, (c_j x / alpha_j - lambda_j (m1 + aA)) / m1) = k D
    ```

    The terms of x'' are the draws that j has room for, and at most all others draw it. By
    Hall's theorem nothing else binds: any m <= k nodes can together be drawn at most
    m D - (the sum of their own rates) times, and that is the sum of their own bounds
    D - lambda_j already; more than k nodes can take every draw there is. So this is exact for
    every k up to n-1, and there no freedom is left and nothing gained. With equal nodes but
    a slow one whose own work binds, the gain is ((k+1)M+1) / (M+1).
    """
    if network.graph is not None:
        raise NetworkShapeError(
            "the closed form of the capacity is that of the complete graph",
            hint="leave the graph out, or use `best_gossip`, which solves it for any graph",
        )
    network.check(mixture)
    seat, end = proposing(network.costs, mixture), closing(network.costs, mixture)
    speeds = [c / a for c, a in zip(network.slots, network.service_times, strict=True)]
    own = [rate * (seat + end) for rate in network.arrival_rates]
    least = max(each / speed for each, speed in zip(own, speeds, strict=True))
    if mixture.layers and mixture.fanout:
        total = fsum(network.arrival_rates)
        most = [seat * (total - rate) for rate in network.arrival_rates]
        least = max(least, _filled(speeds, own, most, seat * mixture.fanout * total))
    return 1.0 / least if least > 0.0 else inf


def _filled(
    speeds: Sequence[float], own: Sequence[float], most: Sequence[float], work: float
) -> float:
    """Find the x at which sum_j min(most_j, speed_j x - own_j) reaches `work`.

    Each node is full at an x of its own; between these the sum is a straight line.
    """
    nodes = range(len(speeds))
    full = sorted(((own[j] + most[j]) / speeds[j], j) for j in nodes)
    speed, left = fsum(speeds), work + fsum(own)
    for at, j in full:
        if left <= at * speed:
            return left / speed
        speed -= speeds[j]
        left -= own[j] + most[j]
    return full[-1][0]


# -- the linear programme -------------------------------------------------------------


def _least_busy(
    network: Network, mixture: Mixture, uniform: float
) -> tuple[tuple[float, ...], ...]:
    links = [(home, peer) for home in range(network.nodes) for peer in network.peers(home)]
    # In units of the uniform draws' r the unknowns are about 1, as the solver likes it.
    seat = proposing(network.costs, mixture)
    alone = utilisations(network, Mixture(mixture.layers, 0))
    times = [a / c for a, c in zip(network.service_times, network.slots, strict=True)]
    loads = [uniform * times[j] * network.arrival_rates[i] * seat for i, j in links]
    found = _solve(links, loads, [uniform * each for each in alone], float(mixture.fanout))
    rows = [[0.0] * network.nodes for _ in range(network.nodes)]
    for (home, peer), chance in zip(links, found, strict=True):
        rows[home][peer] = min(max(chance, 0.0), 1.0)
    return tuple(tuple(row) for row in rows)


def _solve(
    links: Sequence[tuple[int, int]], loads: Sequence[float], alone: Sequence[float], fanout: float
) -> list[float]:
    """Solve min r: sum over links to j of load q <= r - alone_j, and of q from i = k.

    The one place that speaks to scipy, which has no types.
    """
    try:
        linprog: Callable[..., Any] = import_module("scipy.optimize").linprog
        table: Callable[..., Any] = import_module("scipy.sparse").csr_array
    except ImportError:
        raise MissingExtraError(
            "the capacity of aware gossip needs scipy, which is not installed",
            hint="pip install 'dmoa[sim]'",
        ) from None
    nodes, count = len(alone), len(links)
    homes, peers = [home for home, _ in links], [peer for _, peer in links]
    columns, r = list(range(count)), [count] * nodes
    below = table(
        ([*loads, *[-1.0] * nodes], ([*peers, *range(nodes)], [*columns, *r])),
        shape=(nodes, count + 1),
    )
    drawn = table(([1.0] * count, (homes, columns)), shape=(nodes, count + 1))
    done = linprog(
        c=[0.0] * count + [1.0],
        A_ub=below,
        b_ub=[-each for each in alone],
        A_eq=drawn,
        b_eq=[fanout] * nodes,
        bounds=[(0.0, 1.0)] * count + [(0.0, None)],
        method="highs",
    )
    assert done.success, done.message
    return [float(each) for each in done.x[:count]]
