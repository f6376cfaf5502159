"""How long an answer takes: M/G/c queues, and the last of k+1 proposals in each layer.

Three approximations, and what each is worth:

1. Every job finds its node as a Poisson stream would (`waiting.Kind`).
2. The jobs of a layer wait independently of each other, so that the layer's time is at most
   t with the probability F_home(t) times the mean, over all draws of k peers, of the product
   of F_peer(t). For one layer that is known to be right for many nodes, and an upper bound
   for few (Wang, Harchol-Balter and others 2019).
3. The layers of a query follow each other. Their means add up. Quantiles lie between those
   of independent layers (a convolution) and those of layers that are all slow together (the
   sum of the layers' quantiles): the busier the nodes, the less a queue changes from layer
   to layer, so the second has the weight 0.75 C, with the mean chance C that a job waits.

Where models read ahead (`Costs.overlap`) a fourth says what that hides (`overlap.hidden_share`):
jobs that read proposals are shorter by that, and queues by half of what that would make them.

Measured against simulations: see `docs/theory.md`. Where the prediction is not to be trusted
there is none, and `Prediction.doubts` says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, fsum, sqrt

import numpy as np

from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.core.stability import utilisations
from dmoa.errors import LawError
from dmoa.theory.barrier import last_of, last_of_all
from dmoa.theory.doubts import EQUAL, doubts_of, overloaded, refusals
from dmoa.theory.kinds import Hidden, alike, kinds_of
from dmoa.theory.laws import LOG_NORMAL, Law, LogNormal
from dmoa.theory.overlap import hidden_share
from dmoa.theory.waiting import Grid, Kind, Row, Spectrum

_TOGETHER = 0.75
"""How far layers are slow together, per chance that a job waits; measured."""
_POINTS, _POINTS_MANY, _MANY = 2048, 1024, 8
"""Of the grid, and fewer from so many kinds of nodes on; even those are right within 0.1 %."""
_TAILS = 20.0
"""Mean delays of the slowest node that are kept of a tail."""
_RELIEF = 0.5
"""How far queues are shorter for what is hidden, of what as much less work would do; measured.
It is hidden where a node is idle, and so hardly anybody waits behind it."""
_NORMALS = 5
"""Values that stand for what the jobs of a query have in common."""


@dataclass(frozen=True, slots=True)
class Latency:
    """A duration, in seconds: its mean, and what 50, 95 and 99 of 100 stay below."""

    mean: float
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a network is expected to do; seconds, jobs, queries per second.

    `utilisations` are rho of each node; always there. `latency` is the time from question to
    answer of all queries, `layers` that of each layer and of the aggregation, `homes` that of
    the queries asked at each node, `waiting` and `length` the mean jobs at each node that
    wait, and that wait or are in service. They are None, or empty, where the network is not
    stable or the prediction is not to be trusted; `doubts` then says why, and where it is
    rough it says that. `goodput` is queries per second answered in the whole network: all
    that are asked where it is stable, else what first come, first served leaves of them by
    the law of overload, which is known for equal nodes only.
    """

    utilisations: tuple[float, ...]
    latency: Latency | None
    layers: tuple[Latency, ...]
    homes: tuple[Latency, ...]
    waiting: tuple[float, ...]
    length: tuple[float, ...]
    goodput: float | None
    doubts: tuple[str, ...]
    hidden: float = 0.0

    @property
    def stable(self) -> bool:
        """Tell whether all queues stay bounded; not at a rho of 1, however it was rounded."""
        return max(self.utilisations) < 1.0 - EQUAL


def predict(network: Network, mixture: Mixture, law: Law) -> Prediction:
    """Predict the latency of all queries; `law` is the shape of service times, of mean 1.

    Takes some 3 ms for nodes of few kinds. Raises NetworkShapeError where the mixture does
    not fit the network, LawError where the law has another mean than 1.
    """
    if law.mean != 1.0:
        raise LawError(f"the shape of service times needs a mean of 1, not {law.mean:g}")
    rho = utilisations(network, mixture)
    if max(rho) >= 1.0 - EQUAL:
        goodput, doubts = overloaded(network, mixture)
        return Prediction(rho, None, (), (), (), (), goodput, doubts)
    goodput = fsum(network.arrival_rates)
    reasons = tuple(refusals(mixture, law, max(rho)))
    if reasons:
        return Prediction(rho, None, (), (), (), (), goodput, reasons)
    kinds, kind_of = kinds_of(network, mixture, law)
    asked = _Answer(network, mixture, law, kinds, kind_of)
    answer, layers, homes = asked.latencies()
    busy = [each * slots for each, slots in zip(rho, network.slots, strict=True)]
    if network.costs.overlap and mixture.layers:
        kinds, kind_of = kinds_of(network, mixture, law, asked.hidden(_RELIEF))
        asked = _Answer(network, mixture, law, kinds, kind_of)
        answer, layers, homes = asked.latencies()
        saved = asked.saved()
        busy = [
            each - rate * less
            for each, rate, less in zip(busy, network.arrival_rates, saved, strict=True)
        ]
    waiting = tuple(kinds[each].waiting for each in kind_of)
    length = tuple(wait + each for wait, each in zip(waiting, busy, strict=True))
    doubts = tuple(doubts_of(network, mixture, law))
    return Prediction(
        rho, answer, layers, homes, waiting, length, goodput, doubts, asked.hidden_mean()
    )


def quick_mean(
    mixture: Mixture, *, utilisation: float, service_time: float = 1.0, cv: float = 1.0
) -> float:
    """Estimate the mean latency of equal nodes with one slot in closed form (seconds).

    ```text
    T = alpha [ M (H w + 1 + cv (H - 1)) + w + 1 ],   w = rho (1 + cv^2) / (2 (1 - rho))
    ```

    with the harmonic number H of k + 1: the mean of the largest of k + 1 exponential times.
    With exponential service it is alpha (M H + 1) / (1 - rho). Infinite from rho = 1 on.
    """
    if utilisation >= 1.0:
        return float("inf")
    wait = utilisation * (1.0 + cv**2) / (2.0 * (1.0 - utilisation))
    last = fsum(1.0 / seat for seat in range(1, mixture.fanout + 2))
    layer = last * wait + 1.0 + cv * (last - 1.0)
    return service_time * (mixture.layers * layer + wait + 1.0)


# -- queries --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Step:
    """One layer or more of a query, or its aggregation: what a job costs, who is asked."""

    cost: float
    repeats: int
    fanout: int


class _Answer:
    """A query from each kind of home; rows of arrays are kinds of homes or of nodes."""

    def __init__(
        self, network: Network, mixture: Mixture, law: Law, kinds: list[Kind], kind_of: list[int]
    ) -> None:
        self._kinds = kinds
        self._times = [network.service_times[kind_of.index(kind)] for kind in range(len(kinds))]
        self._counts = [kind_of.count(kind) for kind in range(len(kinds))]
        self._homes, self._home_of = self._sort_homes(network, kind_of)
        self._complete = network.graph is None
        self._steps = _steps(network, mixture)
        self._overlap = network.costs.overlap if mixture.layers else 0.0
        self._at_home = [kind for kind, _ in self._homes]
        self._shares = np.zeros((len(self._steps), len(self._homes)))
        self._weight = 1.0
        self._shared = _shared(law) if mixture.layers else [(1.0, 1.0, law)]
        self._law = law
        rates = np.zeros(len(self._homes))
        np.add.at(rates, self._home_of, network.arrival_rates)
        self._weights = rates / rates.sum() if rates.any() else np.full_like(rates, 1 / len(rates))
        points = _POINTS if len(kinds) <= _MANY else _POINTS_MANY
        self._grid = Grid(self._span(), points)
        loads = [count * kind.rate for count, kind in zip(self._counts, kinds, strict=True)]
        jobs = fsum(loads)
        delayed = fsum(load * kind.delayed for load, kind in zip(loads, kinds, strict=True))
        self._together = _TOGETHER * delayed / jobs if jobs else 0.0

    def _sort_homes(
        self, network: Network, kind_of: list[int]
    ) -> tuple[list[tuple[int, tuple[int, ...]]], list[int]]:
        """Sort the nodes into kinds of homes: their own kind, and how many peers of each."""
        if network.graph is None:
            return [(kind, ()) for kind in range(len(self._kinds))], kind_of
        homes: dict[tuple[int, tuple[int, ...]], int] = {}
        home_of: list[int] = []
        for node, peers in enumerate(network.graph):
            counts = [0] * len(self._kinds)
            for peer in peers:
                counts[kind_of[peer]] += 1
            home_of.append(homes.setdefault((kind_of[node], tuple(counts)), len(homes)))
        return list(homes), home_of

    def _span(self) -> float:
        """Choose how many seconds the grid covers: all layers, and a long tail."""
        dearest = max(step.cost for step in self._steps)
        slowest = longest = 0.0
        for kind, time in zip(self._kinds, self._times, strict=True):
            spread = time * dearest * (1.0 + self._law.cv)
            slowest = max(slowest, kind.delayed * kind.delay + 2.0 * spread)
            longest = max(longest, kind.delayed**0.5 * kind.delay + spread)
        return slowest * sum(step.repeats for step in self._steps) + _TAILS * longest

    def latencies(self) -> tuple[Latency, tuple[Latency, ...], tuple[Latency, ...]]:
        """Work out all queries; each layer and the aggregation; the queries of each node."""
        grid = self._grid
        waits = np.array([kind.spectrum(grid, self._law) for kind in self._kinds])
        each = [np.zeros((len(self._homes), grid.points)) for _ in self._steps]
        whole = np.zeros((len(self._homes), grid.points // 2 + 1), dtype=np.complex128)
        for weight, scale, law in self._shared:
            self._weight = weight
            rows = self._of_steps(waits, scale, law)
            spectra = 1.0 + 0.0j
            for step, total, row in zip(self._steps, each, rows, strict=True):
                np.add(total, weight * row, out=total)
                spectra = spectra * grid.spectrum(grid.masses(row)) ** step.repeats
            whole += weight * spectra
        apart = grid.cdf(whole)
        layers = [self._weights @ total for total in each]
        homes = [
            self._latency(apart[home], [total[home] for total in each])
            for home in range(len(self._homes))
        ]
        alone = [_alone(grid, cdf) for cdf in layers]
        return (
            self._latency(self._weights @ apart, layers),
            tuple(
                one
                for one, step in zip(alone, self._steps, strict=True)
                for _ in range(step.repeats)
            ),
            tuple(homes[home] for home in self._home_of),
        )

    def _of_steps(self, waits: Spectrum, scale: float, law: Law) -> list[Row]:
        """Tell the distribution of each step, a row per kind of home."""
        known: dict[tuple[float, int], tuple[Row, Row]] = {}
        found: list[Row] = []
        for step in self._steps:
            if (step.cost, step.fanout) not in known:
                nodes = self._of_nodes(waits, scale * step.cost, law)
                known[step.cost, step.fanout] = nodes, self._of_homes(nodes, step.fanout)
            found.append(known[step.cost, step.fanout][1])
        if not self._overlap:
            return found
        own = known[self._steps[0].cost, self._steps[0].fanout][0][self._at_home]
        for place, step in enumerate(self._steps[1:], 1):
            share = self._share(place, own, found[place - 1], scale * step.cost, law)
            whole = known[step.cost, step.fanout][0][self._at_home]
            short = self._of_nodes(waits, scale * step.cost * (1.0 - self._overlap), law)
            own = whole + share[:, None] * (short[self._at_home] - whole)
            part = np.divide(own, whole, out=np.ones_like(own), where=whole > 0.0)
            found[place] = np.clip(found[place] * part, 0.0, 1.0)
        return found

    def _of_nodes(self, waits: Spectrum, cost: float, law: Law) -> Row:
        """Tell how long jobs of such a cost take, waiting and in service; a row per kind."""
        served = np.array([self._grid.service(law, time * cost) for time in self._times])
        return self._grid.cdf(waits * self._grid.spectrum(served))

    def _share(self, place: int, own: Row, layer: Row, cost: float, law: Law) -> Row:
        """Tell which share of its reading each kind of home hides of a step, and note it."""
        shares = np.array(
            [
                hidden_share(
                    *(self._grid, self._kinds[kind], own[home], layer[home]),
                    self._grid.service(law, self._times[kind] * cost * self._overlap),
                )
                for home, kind in enumerate(self._at_home)
            ]
        )
        self._shares[place] += self._weight * shares
        return shares

    @property
    def _later(self) -> Row:
        """Shares of the reading that each kind of home hides of its jobs of later layers."""
        return self._shares[1] if len(self._steps) > 2 else 0.0 * self._shares[0]  # noqa: PLR2004

    def hidden(self, part: float) -> list[Hidden]:
        """Tell a part of the shares that each node hides, as `latencies` found them."""
        pairs = zip((part * self._later).tolist(), (part * self._shares[-1]).tolist(), strict=True)
        shares = [(alike(later), alike(last)) for later, last in pairs]
        return [shares[home] for home in self._home_of]

    def saved(self) -> list[float]:
        """Tell the seconds that each node hides of the jobs of one of its queries."""
        costs = [step.cost * step.repeats for step in self._steps]
        less = costs[-1] * self._shares[-1] + costs[min(1, len(costs) - 1)] * self._later
        return [
            float(less[home]) * self._overlap * self._times[self._at_home[home]]
            for home in self._home_of
        ]

    def hidden_mean(self) -> float:
        """Tell which share of an aggregation is hidden, in the mean of all queries."""
        return float(self._overlap * (self._weights @ self._shares[-1]))

    def _of_homes(self, nodes: Row, fanout: int) -> Row:
        """Wait for the last of home and its peers."""
        if fanout and self._complete:
            return last_of_all(nodes, self._counts, fanout)
        if fanout:
            rows = [last_of(nodes[kind], nodes, counts, fanout) for kind, counts in self._homes]
            return np.array(rows)
        return nodes[self._at_home]

    def _latency(self, apart: Row, steps: Sequence[Row]) -> Latency:
        """Blend the quantiles of independent layers and of layers slow together."""
        grid, repeats = self._grid, [step.repeats for step in self._steps]
        mean = fsum(n * float(grid.mean(cdf)) for n, cdf in zip(repeats, steps, strict=True))

        def blend(share: float) -> float:
            together = fsum(
                n * grid.quantile(cdf, share) for n, cdf in zip(repeats, steps, strict=True)
            )
            weight = self._together if sum(repeats) > 1 else 0.0
            return (1.0 - weight) * grid.quantile(apart, share) + weight * together

        return Latency(mean, blend(0.50), blend(0.95), blend(0.99))


def _alone(grid: Grid, cdf: Row) -> Latency:
    return Latency(float(grid.mean(cdf)), *(grid.quantile(cdf, p) for p in (0.50, 0.95, 0.99)))


def _steps(network: Network, mixture: Mixture) -> list[_Step]:
    costs, layers = network.costs, mixture.layers
    steps = [_Step(costs.first, 1, mixture.fanout)] if layers else []
    if layers > 1:
        steps.append(_Step(costs.later, layers - 1, mixture.fanout))
    return [*steps, _Step(costs.of(layers + 1, layers), 1, 0)]


def _shared(law: Law) -> list[tuple[float, float, Law]]:
    """Tell apart the queries by what their jobs have in common: weight, mean, law given that.

    The common normal is replaced by a few values (Gauss and Hermite's).
    """
    common = law.numbers[2] if law.code == LOG_NORMAL else 0.0
    variance = law.numbers[1] ** 2
    if not common or not variance:
        return [(1.0, 1.0, law)]
    rest = LogNormal(1.0, sqrt(exp(variance * (1.0 - common)) - 1.0))
    normals, weights = np.polynomial.hermite_e.hermegauss(_NORMALS)
    return [
        (float(weight), exp(sqrt(common * variance) * float(normal) - common * variance / 2), rest)
        for normal, weight in zip(normals, weights / weights.sum(), strict=True)
    ]
