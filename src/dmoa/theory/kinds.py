"""Nodes that are alike: the kinds of a network's nodes, each an M/G/c queue of its jobs."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

from dmoa.core.mixture import Mixture
from dmoa.core.network import Costs, Network
from dmoa.core.stability import draws
from dmoa.theory.laws import Law
from dmoa.theory.waiting import Kind

Hidden = tuple[float, float]
"""Shares of the reading that home hides: of its own jobs of later layers, and of aggregations."""
NOTHING: Hidden = (0.0, 0.0)


def alike(value: float) -> float:
    """Forget the last digits, in which sums of the same numbers may differ."""
    return float(f"{value:.9g}")


def kinds_of(
    network: Network, mixture: Mixture, law: Law, hidden: Sequence[Hidden] = ()
) -> tuple[list[Kind], list[int]]:
    """Sort the nodes into kinds; the kinds, and the index of each node's.

    `hidden` are the shares of the reading that each node hides of its own jobs.
    """
    drawn, again = draws(network, mixture), _drawn_again(network, mixture)
    kinds: dict[Kind, int] = {}
    known: dict[tuple[float, float, float, float, int, Hidden], int] = {}
    kind_of: list[int] = []
    rows = zip(
        *(network.arrival_rates, drawn, again, network.service_times, network.slots),
        hidden or [NOTHING] * network.nodes,
        strict=True,
    )
    for row in rows:
        if row not in known:
            kind = _kind(network.costs, mixture, law, *row)
            known[row] = kinds.setdefault(kind, len(kinds))
        kind_of.append(known[row])
    return list(kinds), kind_of


def _kind(  # noqa: PLR0913, PLR0917  (what makes a node)
    costs: Costs,
    mixture: Mixture,
    law: Law,
    rate: float,
    drawn: float,
    again: float,
    time: float,
    slots: int,
    hidden: Hidden,
) -> Kind:
    """Tell the kind of a node that is asked and `drawn` so often per second.

    `again` is how often it is drawn for a layer that was drawn for the last; by which share
    of these draws all nodes are drawn together is again over drawn.
    """
    layers, own, others = mixture.layers, alike(rate), alike(drawn)
    later, last = hidden
    jobs = [(own * (1.0 - last), time * costs.of(layers + 1, layers))]
    if layers:
        jobs.append((own + others, time * costs.first))
    if layers > 1:
        jobs.append(((layers - 1) * (own * (1.0 - later) + others), time * costs.later))
    for share, times, cost in ((last, 1, costs.aggregation), (later, layers - 1, costs.later)):
        if share:
            jobs.append((own * share * times, time * cost * (1.0 - costs.overlap)))
    together = again / drawn if drawn else 0.0
    returning = layers * own + max(layers - 1, 0) * again
    total = fsum(each for each, _ in jobs)
    feedback = alike((1.0 - together) * returning / total) if total else 0.0
    return Kind(tuple(jobs), slots, law.cv, feedback)


def _drawn_again(network: Network, mixture: Mixture) -> tuple[float, ...]:
    """Tell how often a node is drawn for a layer that was drawn for the last: per second."""
    rates, fanout = network.arrival_rates, float(mixture.fanout if mixture.layers else 0)
    if not fanout:
        return (0.0,) * network.nodes
    if network.graph is None:
        share, total = (fanout / (network.nodes - 1)) ** 2, fsum(rates)
        return tuple(share * max(total - rate, 0.0) for rate in rates)
    drawn = [0.0] * network.nodes
    for home, peers in enumerate(network.graph):
        for peer in peers:
            drawn[peer] += rates[home] * (fanout / len(peers)) ** 2
    return tuple(drawn)
