"""The planner against the simulator: 12 configurations at a rho of 0.3, 0.6 and 0.8.

Run `python -m tests.theory.test_planner` to print the table of `docs/theory.md`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import sqrt
from statistics import fmean

import pytest

from dmoa.core.mixture import Mixture
from dmoa.core.network import EVEN, Costs, Network
from dmoa.core.stability import arrival_rate_scale_max
from dmoa.sim.engine import simulate
from dmoa.sim.setting import Setting
from dmoa.theory.latency import predict
from dmoa.theory.laws import Exponential, Law, LogNormal

EXP, LOG = Exponential(), LogNormal(1.0, 0.8)
RHOS = (0.3, 0.6, 0.8)
QUERIES = 120_000


@dataclass(frozen=True, slots=True)
class Case:
    nodes: int
    mixture: Mixture
    law: Law = EXP
    times: tuple[float, ...] = ()
    rates: tuple[float, ...] = ()
    slots: tuple[int, ...] = ()
    costs: Costs = EVEN
    width: int = 0
    """Peers on either side, on a ring."""

    def network(self, rho: float) -> Network:
        graph = None
        if self.width:
            steps = [step for step in range(-self.width, self.width + 1) if step]
            graph = tuple(
                tuple((node + step) % self.nodes for step in steps) for node in range(self.nodes)
            )
        times = self.times or (1.0,) * self.nodes
        rates = self.rates or (1.0,) * self.nodes
        full = Network(rates, times, self.slots, self.costs, graph)
        scale = rho * arrival_rate_scale_max(full, self.mixture)
        rates = tuple(rate * scale for rate in rates)
        return Network(rates, times, self.slots, self.costs, graph)


CASES = {
    "alone, 10 nodes": Case(10, Mixture(0, 0)),
    "4 nodes": Case(4, Mixture(1, 1)),
    "4 nodes, all asked": Case(4, Mixture(2, 3)),
    "10 nodes": Case(10, Mixture(2, 2)),
    "10 nodes, log-normal": Case(10, Mixture(2, 3), LOG),
    "50 nodes": Case(50, Mixture(3, 4)),
    "50 nodes, log-normal cv 0.5": Case(50, Mixture(1, 3), LogNormal(1.0, 0.5)),
    "10 nodes, deep, log-normal": Case(10, Mixture(4, 2), LOG),
    "home alone refines": Case(10, Mixture(2, 0)),
    "20 nodes, later jobs longer": Case(20, Mixture(3, 2), LOG, costs=Costs(1.0, 1.5, 2.0)),
    "10 unlike nodes, 1 to 8 s": Case(
        10, Mixture(2, 3), times=(1.0,) * 4 + (2.0,) * 3 + (4.0,) * 2 + (8.0,)
    ),
    "8 nodes on a ring, 1 to 3 slots": Case(
        8, Mixture(1, 2), LOG, slots=(1, 2, 3, 1, 2, 3, 1, 2), width=2
    ),
}


@dataclass(frozen=True, slots=True)
class Error:
    """Relative errors of the prediction, and how it and the simulation came about."""

    simulated: float
    mean: float
    p95: float
    p99: float
    seconds: float


@cache
def error(name: str, rho: float) -> Error:
    case = CASES[name]
    network = case.network(rho)
    found = simulate(Setting(network, case.mixture, case.law, queries=QUERIES, seed=7))
    predict(network, case.mixture, case.law)
    began = time.process_time()
    predicted = predict(network, case.mixture, case.law).latency
    took = time.process_time() - began
    assert predicted is not None
    return Error(
        found.mean,
        predicted.mean / found.mean - 1.0,
        predicted.p95 / found.p95 - 1.0,
        predicted.p99 / found.p99 - 1.0,
        took,
    )


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    pytest.importorskip("numba", reason="without a compiler this takes minutes")


@pytest.mark.parametrize("name", CASES)
def test_every_configuration_is_predicted(name: str) -> None:
    for rho in RHOS:
        found = error(name, rho)
        assert abs(found.mean) < 0.12, (rho, found)
        assert abs(found.p95) < 0.15, (rho, found)


def test_on_average_the_mean_is_within_a_tenth_and_p95_within_an_eighth() -> None:
    errors = [error(name, rho) for name, rho in product(CASES, RHOS)]
    assert fmean(abs(each.mean) for each in errors) < 0.05
    assert fmean(abs(each.p95) for each in errors) < 0.05
    assert sqrt(fmean(each.p99**2 for each in errors)) < 0.10


def _table() -> str:
    lines = ["| configuration | M, k | " + " | ".join(f"rho {rho}" for rho in RHOS) + " |"]
    lines.append("| --- | --- |" + " --- |" * len(RHOS))
    for name, case in CASES.items():
        cells = [
            f"{each.mean:+.1%}, {each.p95:+.1%}, {each.p99:+.1%}"
            for each in (error(name, rho) for rho in RHOS)
        ]
        shape = f"{case.mixture.layers}, {case.mixture.fanout}"
        lines.append(f"| {name} | {shape} | " + " | ".join(cells) + " |")
    means = []
    for rho in RHOS:
        errors = [error(name, rho) for name in CASES]
        means.append(
            ", ".join(
                f"{fmean(abs(getattr(each, key)) for each in errors):.1%}"
                for key in ("mean", "p95", "p99")
            )
        )
    lines.append("| mean of the absolute errors | | " + " | ".join(means) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(_table())  # noqa: T201
    print(f"slowest {1e3 * max(error(*each).seconds for each in product(CASES, RHOS)):.1f} ms")  # noqa: T201
