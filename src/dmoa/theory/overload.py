"""What becomes of a network that is asked too much: the fluid law of overload.

For nodes alike that serve first come, first served, with queues without bound. The law is
derived here, not the paper's; the paper says that queues then grow "exponentially", and
they grow linearly. Simulated at rho 1.5 to 4, for long enough, the goodput is within 0.003 of
the capacity of what the law says, with unequal costs and several slots within 0.04
(`dmoa paper overload`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum, isfinite

from dmoa.core.mixture import Mixture
from dmoa.core.network import EVEN, Costs
from dmoa.core.stability import closing, proposing
from dmoa.errors import NetworkShapeError


@dataclass(frozen=True, slots=True)
class Overload:
    """What a node sees in the long run; up to rho = 1 everything is served.

    `utilisation` is rho as offered, which may exceed 1. `theta` is the share of all time so
    far whose jobs have been served: at time t the jobs that came by theta t are done.
    `growth` is jobs per second by which each queue grows, `goodput` queries per second and
    node that get an answer, `capacity` the most that a better order of service could answer
    of what is asked.
    """

    utilisation: float
    theta: float
    growth: float
    goodput: float
    capacity: float

    @property
    def share(self) -> float:
        """The goodput as a share of the capacity."""
        return self.goodput / self.capacity if self.capacity else 1.0


def fluid_overload(
    mixture: Mixture,
    *,
    arrival_rate: float,
    service_time: float,
    slots: int = 1,
    costs: Costs = EVEN,
) -> Overload:
    """Follow the queues of an overloaded network (rates per second and node, times in s).

    A backlog grows in proportion to time t, so that a job which comes at t is served at
    t / theta; the next layer's jobs are thinner by theta, and so on. A busy node works one
    second per second and slot:

    ```text
    alpha lambda / c [ (k+1) (a1 theta + a2 (theta^2 + ... + theta^M)) + aA theta^(M+1) ] = 1
    growth  = lambda (1 - theta) [ (k+1) (1 + theta + ... + theta^(M-1)) + theta^M ]
    goodput = lambda theta^(M+1)
    ```

    With even costs the growth is what comes less c / alpha. The goodput falls like
    lambda^-M: work is done for early layers of queries that are never answered. An order
    that lets the oldest query or the latest layer go first keeps the capacity.
    """
    for what, value in (("an arrival rate", arrival_rate), ("a service time", service_time)):
        if not (isfinite(value) and value >= 0.0):
            raise NetworkShapeError(
                f"{what} of {value:g} cannot be", hint="it must be finite, and 0 or more"
            )
    if slots < 1:
        raise NetworkShapeError("a node needs a slot at least", hint="give 1 slot or more")
    seats = float(mixture.fanout + 1)
    work = [seats * costs.of(layer, mixture.layers) for layer in range(1, mixture.layers + 1)]
    work.append(closing(costs, mixture))
    jobs = [seats] * mixture.layers + [1.0]
    per_query = seats * proposing(costs, mixture) + closing(costs, mixture)
    speed = service_time / slots
    rho = speed * arrival_rate * per_query
    if rho <= 1.0:
        return Overload(rho, 1.0, 0.0, arrival_rate, arrival_rate)
    theta = _theta(work, 1.0 / (speed * arrival_rate))
    growth = arrival_rate * (1.0 - theta) * fsum(each * theta**m for m, each in enumerate(jobs))
    goodput = arrival_rate * theta ** (mixture.layers + 1)
    return Overload(rho, theta, growth, goodput, 1.0 / (speed * per_query))


def _theta(work: list[float], served: float) -> float:
    """Solve sum_m work[m] theta^(m+1) = served, by Newton's method from 1 downwards.

    The sum is convex and above `served` at 1, so each step stops short of the root.
    """
    theta = 1.0
    while True:
        value = slope = 0.0
        for each in reversed(work):
            slope = slope * theta + value
            value = value * theta + each
        slope = slope * theta + value
        step = (value * theta - served) / slope
        if step <= 0.0 or theta - step >= theta:
            return theta
        theta -= step
