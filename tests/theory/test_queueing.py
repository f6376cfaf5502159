"""The dream against queueing theory: M/M/1 at M=0, and rho of Theorem 1 for any mixture.

Each measurement is repeated in independent worlds; the theory must lie in the confidence
interval (Student's t, 99 %) of their mean, or within 2 % of it.
"""

from __future__ import annotations

from math import sqrt
from random import Random
from statistics import fmean, stdev

import pytest

from dmoa.core.gauge import Gauge
from dmoa.core.limits import Limits, Timing
from dmoa.core.mixture import Mixture
from dmoa.core.stability import utilisation
from dmoa.sim.world import World
from dmoa.theory.laws import Exponential

NODES = 4
SEEDS = range(10)
STUDENT = 3.25
"""99 % two-sided, 9 degrees of freedom."""
CLOSE = 0.02
ENDLESS = 1e9
"""Seconds, jobs and bytes beyond any of these worlds."""


def gauges_of(
    mixture: Mixture, *, rate: float, seconds: float, seed: int, slots: int = 1
) -> list[Gauge]:
    """Let users of every node ask `rate` queries per second; service takes a second."""
    world = World(
        NODES,
        Exponential(1.0),
        seed,
        slots=slots,
        limits=Limits(queue_jobs=int(ENDLESS), queue_bytes=int(ENDLESS) ** 2),
        timing=Timing(gossip=ENDLESS, silence=2 * ENDLESS, deadline_max=ENDLESS),
    )
    rng, homes, at = Random(f"{seed}/users"), list(world.agents), 0.0
    while (at := at + rng.expovariate(NODES * rate)) < seconds:
        world.run(at)
        world.ask(rng.choice(homes), mixture, deadline=ENDLESS)
    world.run(seconds)
    for agent in world.agents.values():
        agent.gauge.advance(seconds)
        agent.check()
    return [agent.gauge for agent in world.agents.values()]


def assert_agrees(measured: list[float], theory: float, *, blur: float = 0.2) -> None:
    half = STUDENT * stdev(measured) / sqrt(len(measured))
    error = abs(fmean(measured) - theory)
    assert error <= half or error <= CLOSE * theory, (
        f"{fmean(measured):.4f} +- {half:.4f}, and the theory says {theory:.4f}"
    )
    assert half < blur * theory, f"an interval of +- {half:.4f} proves nothing"


@pytest.mark.parametrize("rho", [0.3, 0.6])
def test_alone_every_node_is_an_mm1_queue(rho: float) -> None:
    lengths, waiting, busy = [], [], []
    for seed in SEEDS:
        gauges = gauges_of(Mixture(0, 0), rate=rho, seconds=1500.0, seed=seed)
        lengths.append(fmean(gauge.mean_length for gauge in gauges))
        waiting.append(fmean(gauge.mean_waiting for gauge in gauges))
        busy.append(fmean(gauge.busy for gauge in gauges))
    assert_agrees(lengths, rho / (1 - rho))
    assert_agrees(waiting, rho**2 / (1 - rho))
    assert_agrees(busy, rho)


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize(("layers", "fanout"), [(0, 0), (1, 1), (2, 2), (2, 3)])
def test_the_busy_share_is_rho_of_theorem_1(layers: int, fanout: int, slots: int) -> None:
    mixture, rho = Mixture(layers, fanout), 0.5
    rate = rho * slots / mixture.visits
    theory = utilisation(mixture, arrival_rate=rate, service_time=1.0) / slots
    assert theory == pytest.approx(rho)
    busy, told = [], []
    for seed in SEEDS:
        gauges = gauges_of(mixture, rate=rate, seconds=600.0 / slots, seed=seed, slots=slots)
        busy.append(fmean(gauge.busy for gauge in gauges))
        told.append(fmean(gauge.utilisation for gauge in gauges))
    assert_agrees(busy, theory)
    assert_agrees(told, theory, blur=0.3)  # what a node tells forgets within a minute


def test_beyond_rho_of_one_queues_grow_with_time() -> None:
    mixture = Mixture(1, 1)

    def length(rho: float, seconds: float) -> float:
        gauges = gauges_of(mixture, rate=rho / mixture.visits, seconds=seconds, seed=1)
        return fmean(gauge.mean_length for gauge in gauges)

    assert length(0.5, 1600.0) < 2 * length(0.5, 400.0)
    assert length(1.3, 1600.0) > 2.5 * length(1.3, 400.0)
