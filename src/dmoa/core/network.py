"""A network as the theory sees it: how often its users ask, how fast its nodes serve.

Nodes are numbered from 0 here; a list per node is as long as there are nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from dmoa.core.mixture import Mixture
from dmoa.errors import NetworkShapeError


def _positive(what: str, value: float) -> None:
    if not (isfinite(value) and value > 0.0):
        raise NetworkShapeError(
            f"{what} cannot be {value:g}", hint="it must be finite and more than 0"
        )


@dataclass(frozen=True, slots=True)
class Costs:
    """How long the kinds of jobs take, in multiples of a node's service time.

    Proposals of layer 1, those of later layers (which read proposals as well), and the
    aggregation. The paper takes all as equal. `overlap` is the share of a job that reads
    proposals which is reading them: what can be hidden where home's own model reads them while
    its slot is free and the layer goes on (`core/reading.py`). 0 is a model that does not.
    """

    first: float = 1.0
    later: float = 1.0
    aggregation: float = 1.0
    overlap: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no duration, and no share of one."""
        for name in ("first", "later", "aggregation"):
            _positive(f"the cost of {name}", getattr(self, name))
        if not 0.0 <= self.overlap < 1.0:
            raise NetworkShapeError(
                f"the overlap cannot be {self.overlap:g}",
                hint="it is the share of an aggregation that is reading: from 0 to below 1",
            )

    def of(self, layer: int, layers: int) -> float:
        """Tell the cost of a job of one layer (from 1; the aggregation is layer M+1)."""
        if layer > layers:
            return self.aggregation if layers else self.first
        return self.first if layer == 1 else self.later


EVEN = Costs()
"""All jobs alike, as in the paper."""


@dataclass(frozen=True, slots=True)
class Network:
    """Arrival rates (queries per second and node), service times (seconds per job), slots.

    `graph` lists the peers that each node may draw (the neighbours of the paper's figure);
    None is the complete graph. Raises NetworkShapeError where the numbers cannot be.
    """

    arrival_rates: tuple[float, ...]
    service_times: tuple[float, ...]
    slots: tuple[int, ...] = ()
    costs: Costs = EVEN
    graph: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        """Fill in one slot each, and refuse what cannot be."""
        nodes = len(self.arrival_rates)
        if not self.slots:
            object.__setattr__(self, "slots", (1,) * nodes)
        if nodes == 0 or len(self.service_times) != nodes or len(self.slots) != nodes:
            raise NetworkShapeError(
                f"{nodes} arrival rates, {len(self.service_times)} service times and "
                f"{len(self.slots)} slots do not describe one network",
                hint="give each list one entry per node",
            )
        for node in range(nodes):
            _positive(f"the service time of node {node + 1}", self.service_times[node])
            rate = self.arrival_rates[node]
            if not (isfinite(rate) and rate >= 0.0):
                raise NetworkShapeError(
                    f"the arrival rate of node {node + 1} cannot be {rate:g} queries/s",
                    hint="give queries per second at each node, 0 or more",
                )
            if self.slots[node] < 1:
                raise NetworkShapeError(
                    f"node {node + 1} needs a slot at least", hint="give 1 slot or more"
                )
        if self.graph is not None:
            _check_graph(self.graph, nodes)

    @classmethod
    def alike(  # noqa: PLR0913  (each is a number of its own)
        cls,
        nodes: int,
        *,
        arrival_rate: float,
        service_time: float = 1.0,
        slots: int = 1,
        costs: Costs = EVEN,
        graph: tuple[tuple[int, ...], ...] | None = None,
    ) -> Network:
        """Describe `nodes` equal nodes, as the paper does."""
        if nodes < 1:
            raise NetworkShapeError(
                f"a network of {nodes} nodes cannot be", hint="give 1 node or more"
            )
        return cls((arrival_rate,) * nodes, (service_time,) * nodes, (slots,) * nodes, costs, graph)

    @property
    def nodes(self) -> int:
        """N."""
        return len(self.arrival_rates)

    def peers(self, node: int) -> Sequence[int]:
        """List whom a node may draw."""
        if self.graph is not None:
            return self.graph[node]
        return [other for other in range(self.nodes) if other != node]

    def check(self, mixture: Mixture) -> None:
        """Refuse a fanout for which some node has too few neighbours."""
        if mixture.layers == 0:
            return
        for node in range(self.nodes):
            known = self.nodes - 1 if self.graph is None else len(self.graph[node])
            if mixture.fanout > known:
                raise NetworkShapeError(
                    f"a fanout of {mixture.fanout} needs as many peers, "
                    f"and node {node + 1} has {known}",
                    hint=f"choose a fanout of at most {known}: home itself always proposes too",
                )
            if self.graph is None:
                return


def _check_graph(graph: tuple[tuple[int, ...], ...], nodes: int) -> None:
    if len(graph) != nodes:
        raise NetworkShapeError(
            f"a graph of {len(graph)} nodes does not fit {nodes} nodes",
            hint="list the peers of each node, in the order of the nodes",
        )
    for node, peers in enumerate(graph):
        if len(dict.fromkeys(peers)) != len(peers) or node in peers:
            raise NetworkShapeError(
                f"node {node + 1} has itself as a peer, or one twice",
                hint="list each peer once; home itself always proposes anyway",
            )
        for other in peers:
            if not 0 <= other < nodes:
                raise NetworkShapeError(
                    f"node {node + 1} has the peer {other + 1}, who is not there",
                    hint=f"the nodes are 1 to {nodes}",
                )
    reached = _reached(graph)
    if reached < nodes:
        raise NetworkShapeError(
            f"the graph is disconnected: from node 1, {reached} of {nodes} can be reached",
            hint="add the missing links, or treat the parts as networks of their own",
        )


def _reached(graph: tuple[tuple[int, ...], ...]) -> int:
    """Count the nodes that are connected to the first, whichever way their links go."""
    linked: list[list[int]] = [list(peers) for peers in graph]
    for node, peers in enumerate(graph):  # who is only drawn by others is connected as well
        for other in peers:
            linked[other].append(node)
    reached, edge = {0: None}, [0]
    while edge:
        for other in linked[edge.pop()]:
            if other not in reached:
                reached[other] = None
                edge.append(other)
    return len(reached)
