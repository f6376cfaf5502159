"""When the queues of the network stay bounded (arXiv 2412.21200, Theorem 1).

Three conditions, from the paper's to the exact one. They say the same where all nodes are
alike: as often asked, as fast, with one slot, and drawn uniformly.

- Theorem 1: rho = alpha ((k+1)M + 1) lambda < 1, where lambda is queries per second at
  *each* node and alpha seconds per job. (Elsewhere the paper writes lambda / n per user, or
  takes one rate for all users together; we take the theorem's.)
- Remark 1: for unlike nodes the same, with the slowest node's alpha.
- The exact condition, node by node: what is offered to a node, in seconds of work per
  second, is less than it has slots.

At M = 0 nobody is drawn and k does not matter: a query is one job at home. At k = 0, which
the paper leaves out, a query goes M + 1 times through its home, which refines its own
answer. At rho = 1 itself queues have no bound. What is read ahead (`core/reading.py`) changes
none of this: it is the same work, done earlier, in slots that are idle.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, inf, isfinite

from dmoa.core.mixture import Mixture
from dmoa.core.network import Costs, Network
from dmoa.errors import NetworkShapeError

Gossip = Sequence[Sequence[float]]
"""q[i][j]: the probability that j is among the k peers whom i draws for a layer."""

_CLOSE = 1e-6
"""How far from k the probabilities of a node may sum."""


# -- nodes alike ----------------------------------------------------------------------


def utilisation(mixture: Mixture, *, arrival_rate: float, service_time: float) -> float:
    """Compute rho = alpha * ((k+1)M + 1) * lambda; queues are bounded iff it is below 1.

    `arrival_rate` is queries per second at *each* node, `service_time` seconds per job.
    """
    if not (isfinite(arrival_rate) and arrival_rate >= 0.0):
        raise NetworkShapeError(
            f"an arrival rate of {arrival_rate:g} queries/s cannot be",
            hint="give queries per second at each node, 0 or more",
        )
    _check_time(service_time)
    return service_time * mixture.visits * arrival_rate


def arrival_rate_max(mixture: Mixture, *, service_time: float) -> float:
    """Compute the queries per second and node at which rho reaches 1."""
    _check_time(service_time)
    return 1.0 / (service_time * mixture.visits)


def _check_time(service_time: float) -> None:
    if not (isfinite(service_time) and service_time > 0.0):
        raise NetworkShapeError(
            f"a service time of {service_time:g} s cannot be",
            hint="give seconds per job, finite and more than 0",
        )


# -- nodes of all kinds ---------------------------------------------------------------


def proposing(costs: Costs, mixture: Mixture) -> float:
    """Sum what one seat costs through all layers, a1 + (M-1) a2, in service times."""
    if mixture.layers == 0:
        return 0.0
    return costs.first + (mixture.layers - 1) * costs.later


def closing(costs: Costs, mixture: Mixture) -> float:
    """Tell what the last job of a query costs, in service times: aA, or a1 where M = 0."""
    return costs.of(mixture.layers + 1, mixture.layers)


def draws(network: Network, mixture: Mixture, gossip: Gossip | None = None) -> tuple[float, ...]:
    """Compute how often each node is drawn for a layer: sum_i lambda_i q_ij per second.

    Without `gossip` peers are drawn uniformly: q_ij = k / (n-1), or k / degree(i) on the
    network's graph. Takes O(n) steps on the complete graph, O(edges) on another. Where M or
    k is 0 nobody is drawn, whatever `gossip` says.
    """
    network.check(mixture)
    rates, nodes = network.arrival_rates, network.nodes
    if mixture.layers == 0 or mixture.fanout == 0:
        return (0.0,) * nodes
    if gossip is not None:
        check_gossip(network, mixture, gossip)
        columns = range(nodes)
        return tuple(fsum(rates[i] * gossip[i][j] for i in range(nodes)) for j in columns)
    if network.graph is None:
        total, share = fsum(rates), mixture.fanout / (nodes - 1)
        return tuple(share * max(total - rate, 0.0) for rate in rates)
    drawn = [0.0] * nodes
    for home, peers in enumerate(network.graph):
        for peer in peers:
            drawn[peer] += rates[home] * mixture.fanout / len(peers)
    return tuple(drawn)


def utilisations(
    network: Network, mixture: Mixture, gossip: Gossip | None = None
) -> tuple[float, ...]:
    """Compute rho of every node: seconds of work offered to it per second and slot.

    ```text
    rho_j = alpha_j / c_j * [ (lambda_j + sum_i lambda_i q_ij) (a1 + (M-1) a2) + lambda_j aA ]
    rho_j = alpha_j / c_j * lambda_j a1                                        where M = 0
    ```

    with the node's slots c_j, the `Costs` a1, a2, aA, and q_ij as in `draws`. The network
    is stable iff all are below 1; this holds for first come, first served, the oldest
    first and the later layer first, but *not* where own work always goes first. It is
    derived here (each layer of a query brings one job to its home and one to each peer
    drawn); in simulated random networks it was met within 0.02.
    """
    seat, end = proposing(network.costs, mixture), closing(network.costs, mixture)
    drawn = draws(network, mixture, gossip)
    return tuple(
        service_time / slots * ((rate + others) * seat + rate * end)
        for rate, others, service_time, slots in zip(
            network.arrival_rates, drawn, network.service_times, network.slots, strict=True
        )
    )


def is_stable(network: Network, mixture: Mixture, gossip: Gossip | None = None) -> bool:
    """Tell whether all queues stay bounded: rho < 1 at every node."""
    return max(utilisations(network, mixture, gossip)) < 1.0


def bottleneck(network: Network, mixture: Mixture, gossip: Gossip | None = None) -> int:
    """Find the node with the highest rho (the first of equals): its queue grows first."""
    rho = utilisations(network, mixture, gossip)
    return rho.index(max(rho))


def arrival_rate_scale_max(
    network: Network, mixture: Mixture, gossip: Gossip | None = None
) -> float:
    """Compute the factor by which all arrival rates can grow until a rho reaches 1.

    Infinite where nobody asks.
    """
    most = max(utilisations(network, mixture, gossip))
    return 1.0 / most if most > 0.0 else inf


def utilisation_of_slowest(network: Network, mixture: Mixture) -> float:
    """Compute what Remark 1 takes for rho: ((k+1)M + 1) lambda alpha_max.

    lambda is the mean of the arrival rates. It is `max(utilisations(...))` where all nodes
    are asked equally often, have one slot, equal costs, and peers are drawn uniformly from
    all; elsewhere it errs to either side. A fast node may be the bottleneck where it is
    asked or drawn more often, and a slow one need not be where it has more slots.
    """
    network.check(mixture)
    rate = fsum(network.arrival_rates) / network.nodes
    return utilisation(mixture, arrival_rate=rate, service_time=max(network.service_times))


# -- whom to draw ---------------------------------------------------------------------


def uniform_gossip(network: Network, mixture: Mixture) -> tuple[tuple[float, ...], ...]:
    """Write out the matrix q of uniform draws; `utilisations` needs none for them."""
    network.check(mixture)
    rows: list[tuple[float, ...]] = []
    for node in range(network.nodes):
        peers = network.peers(node)
        row = [0.0] * network.nodes
        for peer in peers:
            row[peer] = mixture.fanout / len(peers) if mixture.layers else 0.0
        rows.append(tuple(row))
    return tuple(rows)


def check_gossip(network: Network, mixture: Mixture, gossip: Gossip) -> None:
    """Refuse probabilities that no draw of k peers can have; NetworkShapeError.

    Any others can be had exactly: a row in [0, 1] with the sum k is that of a systematic
    sample of k peers.
    """
    nodes = network.nodes
    if len(gossip) != nodes or any(len(row) != nodes for row in gossip):
        raise NetworkShapeError(
            f"the probabilities of gossip are no table of {nodes} by {nodes}",
            hint="give a row per home, with an entry per node",
        )
    for home, row in enumerate(gossip):
        known = frozenset(network.peers(home))
        for node, chance in enumerate(row):
            if not 0.0 <= chance <= 1.0 + _CLOSE:
                raise NetworkShapeError(
                    f"node {home + 1} cannot draw node {node + 1} with probability {chance:g}",
                    hint="probabilities are from 0 to 1",
                )
            if chance > 0.0 and node not in known:
                whom = "itself" if node == home else f"node {node + 1}, no peer of it"
                raise NetworkShapeError(
                    f"node {home + 1} cannot draw {whom}",
                    hint="give that the probability 0",
                )
        if abs(fsum(row) - mixture.fanout) > _CLOSE * max(mixture.fanout, 1):
            raise NetworkShapeError(
                f"node {home + 1} draws {fsum(row):g} peers per layer, not {mixture.fanout}",
                hint="let the probabilities of each row sum to the fanout",
            )
