"""Where latencies are not predicted, or only roughly, and why; measured by simulation."""

from __future__ import annotations

from collections.abc import Iterable
from math import isinf

from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.core.stability import draws, utilisations
from dmoa.theory.laws import LOG_NORMAL, PARETO, Law
from dmoa.theory.overload import fluid_overload

RHO_MAX = 0.9
"""Busier networks are not predicted: what their queues remember is neglected."""
CV_MIN, CV_MAX = 0.3, 2.0
"""Of service times: below, nodes keep in step; above, a few jobs decide all."""
COMMON_MAX = 0.5
"""Of the log-variance, in common to all jobs of a query."""
RHO_READ = 0.8
"""Of a node; beyond, what reading ahead gains is predicted up to twice too high."""
DENSE = 0.5
"""The share of its peers that a node draws, from which on all are busy at the same times."""
_HEAVY = 3.0
"""Pareto's shape, below which the waiting time has no variance."""
EQUAL = 1e-9
"""Relative differences that are none, but come of rounding."""


def overloaded(network: Network, mixture: Mixture) -> tuple[float | None, tuple[str, ...]]:
    """Tell what an unstable network still answers (queries per second), if known; and why."""
    why = "the network is not stable: queues and waiting grow without end"
    nodes = set(zip(network.arrival_rates, network.service_times, network.slots, strict=True))
    drawn = draws(network, mixture)
    if len(nodes) > 1 or max(drawn) - min(drawn) > EQUAL * max(drawn):
        return None, (why, "the law of overload is known for equal nodes only")
    law = fluid_overload(
        mixture,
        arrival_rate=network.arrival_rates[0],
        service_time=network.service_times[0],
        slots=network.slots[0],
        costs=network.costs,
    )
    return law.goodput * network.nodes, (why,)


def _density(network: Network, mixture: Mixture) -> float:
    """Tell the largest share of its peers that a node draws for a layer."""
    if mixture.layers == 0 or mixture.fanout == 0:
        return 0.0
    known = [network.nodes - 1] if network.graph is None else [len(each) for each in network.graph]
    return mixture.fanout / min(known)


def refusals(mixture: Mixture, law: Law, rho: float) -> Iterable[str]:
    """Tell why there is no prediction for a stable network whose busiest node has `rho`."""
    if isinf(law.cv):
        yield "service times of infinite variance let jobs wait infinitely long in the mean"
        return
    if mixture.layers == 0:
        return
    if rho > RHO_MAX + EQUAL:
        yield f"above a rho of {RHO_MAX:g} latencies are not predicted: they would be too low"
    if law.cv < CV_MIN:
        yield (
            f"service times that hardly vary (cv {law.cv:.2g}, below {CV_MIN:g}) keep nodes in "
            "step: a prediction could be wrong by a third"
        )
    if law.cv > CV_MAX:
        yield (
            f"a few very long jobs decide (cv {law.cv:.2g}, above {CV_MAX:g}): a prediction "
            "could be wrong by a third"
        )
    if law.code == LOG_NORMAL and law.numbers[2] > COMMON_MAX:
        yield (
            f"the jobs of a query are too much alike (a common share of {law.numbers[2]:g}, "
            f"above {COMMON_MAX:g}): latencies would be predicted too low"
        )


def doubts_of(network: Network, mixture: Mixture, law: Law) -> Iterable[str]:
    """Tell why a prediction is rough."""
    if law.code == PARETO and law.numbers[1] <= _HEAVY:
        yield "with so heavy a tail of service times, what is measured rarely is near the mean"
    if mixture.layers == 0:
        return
    if network.costs.overlap and max(utilisations(network, mixture)) > RHO_READ + EQUAL:
        yield (
            f"above a rho of {RHO_READ:g} what reading ahead gains is predicted too high: it may "
            "be half as much"
        )
    if network.costs.overlap and max(network.slots) > 1:
        yield "with more than one slot more may be read ahead than is predicted"
    if _density(network, mixture) > DENSE and law.cv < 1.0:
        yield (
            f"each layer asks more than {DENSE:.0%} of the peers, so that all are busy at the "
            "same times: the mean may be up to a third lower, p95 up to a quarter higher"
        )
    if law.code == LOG_NORMAL and law.numbers[2] > 0.0:
        yield "the jobs of a query are alike: all may be up to a sixth higher"
