"""Which points a sweep goes through: every combination of some lists, each a setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import fsum, inf

from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.core.policy import PAPER, Policy
from dmoa.core.stability import arrival_rate_scale_max, utilisations
from dmoa.errors import UsageError
from dmoa.sim.setting import Bursts, Recorded, Setting
from dmoa.study.network_file import Description
from dmoa.study.topology import Graph, graph_of
from dmoa.theory.laws import Exponential, Law

POINTS_MAX = 10_000
"""Points of one sweep."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How often nodes are asked: queries per second, or `of_capacity` the rho to reach."""

    value: float
    of_capacity: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """One setting of a sweep, with the words that it was asked for in.

    `rho` is the utilisation of the busiest node by the exact condition, for peers that are
    drawn uniformly; `rate` the mean arrival rate (queries per second and node).
    """

    setting: Setting
    policy: str
    law: str
    rho: float
    rate: float

    @property
    def shape(self) -> str:
        """Its mixture, for people."""
        mixture = self.setting.mixture
        return f"M={mixture.layers}, k={mixture.fanout}" if mixture.layers else "M=0"


@dataclass(frozen=True, slots=True)
class Grid:
    """The lists whose combinations are simulated, and what all points share.

    `network` is what is said of the network besides; its arrival rates are used where `rates`
    is empty, and where it has some a rho scales them. `nodes` may be empty where the network
    says how many. A `topology` is drawn once for each number of nodes, from the seed.
    """

    network: Description
    nodes: Sequence[int] = ()
    layers: Sequence[int] = (1,)
    fanouts: Sequence[int] = (2,)
    rates: Sequence[Rate] = ()
    policies: Sequence[tuple[str, Policy]] = (("paper", PAPER),)
    laws: Sequence[tuple[str, Law]] = field(default=(("exp", Exponential()),))
    gossips: Sequence[float] = (0.0,)
    topology: str | None = None
    arrivals: Bursts | Recorded | None = None
    queries: int = 20_000
    warmup: float = 0.1
    deadline: float = inf
    seed: int = 1

    def mixtures(self) -> list[Mixture]:
        """List the mixtures; without layers there is no fanout, and one point is enough."""
        pairs = product(self.layers, self.fanouts)
        found = [Mixture(layers, fanout if layers else 0) for layers, fanout in pairs]
        return list(dict.fromkeys(found))

    def points(self) -> list[Point]:
        """Make all settings, the rate changing fastest; errors name what cannot be."""
        mixtures = self.mixtures()
        lists = (self.nodes or [None], mixtures, self.policies, self.laws, self.gossips)
        rates = self.rates or [None]
        count = len(rates)
        for each in lists:
            count *= len(each)
        if count > POINTS_MAX:
            raise UsageError(
                f"a sweep of {count} points is more than the {POINTS_MAX} that are allowed",
                hint="make the lists shorter, or the steps of the ranges longer",
            )
        graphs = {each: self._graph(each) for each in lists[0]}
        return [
            self._point(nodes, graphs[nodes], mixture, policy, law, gossip, rate)
            for nodes, mixture, policy, law, gossip in product(*lists)
            for rate in rates
        ]

    def _graph(self, nodes: int | None) -> Graph | None:
        if self.topology is None:
            return self.network.graph
        return graph_of(self.topology, self._described(nodes, None, (0.0,)).nodes, self.seed)

    def _described(
        self, nodes: int | None, graph: Graph | None, rates: tuple[float, ...] = ()
    ) -> Network:
        """Make the network; `rates` are those of a network that has none of its own yet."""
        said = self.network
        if nodes is None:
            nodes = said.nodes or (len(graph) if graph is not None else None)
        rates = said.arrival_rate or rates
        said = replace(said, nodes=nodes, arrival_rate=rates, graph=None)
        return replace(said.network(), graph=graph)

    def _point(  # noqa: PLR0913, PLR0917  (one of each list)
        self,
        nodes: int | None,
        graph: Graph | None,
        mixture: Mixture,
        policy: tuple[str, Policy],
        law: tuple[str, Law],
        gossip: float,
        rate: Rate | None,
    ) -> Point:
        network = self._network(nodes, graph, mixture, rate)
        setting = Setting(
            network=network,
            mixture=mixture,
            law=law[1],
            policy=policy[1],
            arrivals=self.arrivals,
            queries=self.queries,
            warmup=self.warmup,
            gossip=gossip,
            deadline=self.deadline,
            seed=self.seed,
        )
        rho = max(utilisations(network, mixture))
        mean = fsum(network.arrival_rates) / network.nodes
        return Point(setting, policy[0], law[0], rho, mean)

    def _network(
        self, nodes: int | None, graph: Graph | None, mixture: Mixture, rate: Rate | None
    ) -> Network:
        if isinstance(self.arrivals, Recorded):
            return self._traced(nodes, graph, self.arrivals)
        if rate is None:
            return self._described(nodes, graph)
        network = self._described(nodes, graph, (1.0,))
        if not rate.of_capacity:
            return replace(network, arrival_rates=(rate.value,) * network.nodes)
        network.check(mixture)
        factor = rate.value * arrival_rate_scale_max(network, mixture)
        if factor == inf:
            raise UsageError(
                "no rate reaches a rho, as the network's arrival rates are all 0",
                hint="leave arrival_rate out of the file, or give one above 0",
            )
        return replace(network, arrival_rates=tuple(factor * r for r in network.arrival_rates))

    def _traced(self, nodes: int | None, graph: Graph | None, trace: Recorded) -> Network:
        """Take the rates that a trace has on average."""
        network = self._described(nodes, graph, (0.0,))
        span = (trace.times[-1] - trace.times[0]) if trace.times else 0.0
        counts = [0] * network.nodes
        for home in trace.homes:
            if not 0 <= home < network.nodes:
                raise UsageError(
                    f"the trace asks node {home + 1}, and the network has {network.nodes}",
                    hint=f"give --nodes {max(trace.homes) + 1} or more",
                )
            counts[home] += 1
        rates = tuple(each / span if span > 0.0 else 0.0 for each in counts)
        return replace(network, arrival_rates=rates)
