"""How long jobs take in a world: one law for all, or node by node, or by given dice.

Nodes are numbered from 0. A job's role and layer say what it costs, its query's name which
query it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, log, pi, sqrt
from random import Random
from typing import Protocol

from dmoa.core.job import Job
from dmoa.core.names import JobId, QueryId
from dmoa.core.network import Network
from dmoa.theory.laws import Law, LogNormal


class Services(Protocol):
    """What tells a world how long its models work."""

    def seconds(self, node: int, job: Job) -> float:
        """Tell how long a node works on a job (seconds)."""
        ...


def seat_of(job: JobId) -> tuple[int, int]:
    """Read the layer (from 1) and the seat (0 is home's own) off the name of a job."""
    layer, _, seat = job.rpartition("/")[2].partition(".")
    return int(layer), int(seat)


class Alike:
    """The same law for every job, whoever serves it."""

    def __init__(self, law: Law, rng: Random) -> None:
        """Draw from a stream in the order in which jobs are served."""
        self.law = law
        self.rng = rng

    def seconds(self, node: int, job: Job) -> float:
        """Draw, whoever asks."""
        del node, job
        return self.law.draw(self.rng)


class PerNode:
    """Each node at its own pace, each role at its own cost, long questions long everywhere.

    A job takes `network.service_times[node] * costs * draw`, the draw of a law of mean 1.
    What the jobs of a query have in common is a standard normal number from a stream of
    its own, seeded by the query's name: no other query's fate changes it.
    """

    def __init__(self, network: Network, law: Law, seed: int | str) -> None:
        """Take the pace of a network."""
        self._network = network
        self._law = law
        self._seed = seed
        self._rng = Random(f"{seed}/services")
        self._shared = isinstance(law, LogNormal) and law.common > 0.0

    def seconds(self, node: int, job: Job) -> float:
        """Draw the time of a job at a node."""
        own = self._law.draw(self._rng, self._common(job.query) if self._shared else 0.0)
        return self._network.service_times[node] * self._cost(job) * own

    def _cost(self, job: Job) -> float:
        layers = job.layer - 1 if job.role == "aggregator" else job.layer
        return self._network.costs.of(job.layer, layers)

    def _common(self, query: QueryId) -> float:
        """Make the query's standard normal (Box and Muller, 1958)."""
        dice = Random(f"{self._seed}/{query}")
        return sqrt(-2.0 * log(1.0 - dice.random())) * cos(2.0 * pi * dice.random())


class Numbered:
    """By dice that know nothing but numbers: the query's, the layer, the seat, the node.

    The fast kernel throws the same dice, so that both engines serve the same jobs alike, in
    whatever order. `number` tells the number of a query by its name.
    """

    def __init__(
        self,
        dice: Callable[[int, int, int, int], float],
        number: Callable[[QueryId], int],
    ) -> None:
        """Take the dice, and the numbers of the queries."""
        self._dice = dice
        self._number = number

    def seconds(self, node: int, job: Job) -> float:
        """Look the time of a job up."""
        layer, seat = seat_of(job.id)
        return self._dice(self._number(job.query), layer, seat, node)
