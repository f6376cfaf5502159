"""The fast engine against formulas that are exact.

Each measurement is repeated with independent seeds; the formula must lie in the confidence
interval (Student's t, 99 %) of their mean, or within 2 % of it.
"""

from __future__ import annotations

from dataclasses import replace
from math import factorial, log, sqrt
from statistics import fmean, stdev

import pytest

from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.network import Costs, Network
from dmoa.core.policy import Policy
from dmoa.sim.arrivals import chunks
from dmoa.sim.draws import service
from dmoa.sim.engine import Engine, simulate
from dmoa.sim.outcome import Outcome
from dmoa.sim.setting import Bursts, Recorded, Setting
from dmoa.theory.laws import Exponential, Fixed, Law, LogNormal

SEEDS = range(1, 11)
STUDENT = 3.25
"""99 % two-sided, 9 degrees of freedom."""
CLOSE = 0.02
ENGINES: list[Engine] = ["lindley", "kernel"]


def outcomes(setting: Setting, engine: Engine = "auto") -> list[Outcome]:
    seeded = [replace(setting, seed=seed) for seed in SEEDS]
    return [simulate(each, engine=engine, compiled=False) for each in seeded]


def assert_agrees(measured: list[float], theory: float, *, blur: float = 0.2) -> None:
    half = STUDENT * stdev(measured) / sqrt(len(measured))
    error = abs(fmean(measured) - theory)
    assert error <= half or error <= CLOSE * theory, (
        f"{fmean(measured):.4f} +- {half:.4f}, and the theory says {theory:.4f}"
    )
    assert half < blur * theory, f"an interval of +- {half:.4f} proves nothing"


def alone(rho: float, *, queries: int, law: Law | None = None, slots: int = 1) -> Setting:
    network = Network.alike(4, arrival_rate=rho * slots, slots=slots)
    return Setting(network, ALONE, law or Exponential(), queries=queries)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rho", [0.3, 0.7])
def test_mm1(rho: float, engine: Engine) -> None:
    told = outcomes(alone(rho, queries=3000), engine)
    assert_agrees([each.mean for each in told], 1 / (1 - rho))
    assert_agrees([each.p50 for each in told], log(2) / (1 - rho))
    assert_agrees([each.p95 for each in told], log(20) / (1 - rho))
    assert_agrees([each.length for each in told], rho / (1 - rho))
    assert_agrees([each.waiting for each in told], rho**2 / (1 - rho), blur=0.3)
    assert_agrees([fmean(each.utilisation) for each in told], rho)


@pytest.mark.parametrize("engine", ENGINES)
def test_md1(engine: Engine) -> None:
    rho = 0.7
    told = outcomes(alone(rho, queries=2500, law=Fixed()), engine)
    assert_agrees([each.mean for each in told], 1 + rho / (2 * (1 - rho)))


def test_mg1_by_pollaczek_and_khinchine() -> None:
    rho, law = 0.5, LogNormal(cv=1.5)
    told = outcomes(alone(rho, queries=5000, law=law))
    assert_agrees([each.mean for each in told], 1 + rho * (1 + 1.5**2) / (2 * (1 - rho)))


def erlang_c(slots: int, load: float) -> float:
    """The probability to wait in M/M/c."""
    last = load**slots / factorial(slots) * slots / (slots - load)
    return last / (sum(load**each / factorial(each) for each in range(slots)) + last)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("slots", [2, 3])
def test_mmc_by_erlang(slots: int, engine: Engine) -> None:
    rho = 0.7
    told = outcomes(alone(rho, queries=2500, slots=slots), engine)
    wait = erlang_c(slots, rho * slots) / (slots * (1 - rho))
    assert_agrees([each.mean for each in told], 1 + wait)
    assert_agrees([fmean(each.utilisation) for each in told], rho)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("layers", [1, 2])
def test_a_chain_of_layers_has_product_form(layers: int, engine: Engine) -> None:
    """With a fanout of 0 a query comes back to the same queue, as in Jackson's networks."""
    rho, mixture = 0.6, Mixture(layers, 0)
    network = Network.alike(4, arrival_rate=rho / mixture.visits)
    told = outcomes(Setting(network, mixture, queries=1500), engine)
    assert_agrees([each.mean for each in told], mixture.visits / (1 - rho))
    assert_agrees([each.length for each in told], rho / (1 - rho))


@pytest.mark.parametrize("order", ["later", "oldest"])
def test_who_has_begun_is_finished_first(order: str) -> None:
    """Then the layers of a query are one service, of Erlang's law with a phase for each."""
    rho, mixture = 0.7, Mixture(2, 0)
    phases, rate = mixture.visits, rho / mixture.visits
    network = Network.alike(4, arrival_rate=rate)
    policy = Policy(order=order)  # type: ignore[arg-type]
    told = outcomes(Setting(network, mixture, policy=policy, queries=1500))
    wait = rate * (phases + phases**2) / (2 * (1 - rho))
    assert_agrees([each.mean for each in told], phases + wait)


def test_the_first_of_all_is_a_faster_queue() -> None:
    """Where everybody is asked and the first proposal ends the layer, all nodes are as one."""
    rho, nodes = 0.6, 3
    network = Network.alike(nodes, arrival_rate=rho, costs=Costs(aggregation=1e-9))
    policy = Policy(order="later", missing=nodes - 1)
    setting = Setting(network, Mixture(1, nodes - 1), policy=policy, queries=1000)
    told = outcomes(setting)
    assert_agrees([each.mean for each in told], 1 / (nodes * (1 - rho)))
    assert all(each.proposals == 1.0 for each in told)


def test_unlike_nodes_are_queues_of_their_own() -> None:
    network = Network((0.2, 0.5, 0.1), (1.0, 1.0, 6.0))
    told = outcomes(Setting(network, ALONE, queries=2500))
    mean = 0.0
    for node, (rate, time) in enumerate(
        zip(network.arrival_rates, network.service_times, strict=True)
    ):
        assert_agrees([outcome.utilisation[node] for outcome in told], rate * time)
        mean += rate / 0.8 * time / (1 - rate * time)
    assert_agrees([outcome.mean for outcome in told], mean)


def test_slow_bursts_are_a_mixture_of_two_queues() -> None:
    """Where levels last long, the mean is that of both, weighed by who asks in them."""
    setting = alone(1.0, queries=8000)
    bursts = Bursts(0.2, 0.6, 2000.0, 1000.0)
    told = outcomes(replace(setting, arrivals=bursts, warmup=0.0))
    share = 0.6 * 1000.0 / (0.2 * 2000.0 + 0.6 * 1000.0)
    assert_agrees([each.mean for each in told], (1 - share) / 0.8 + share / 0.4)


def test_littles_law_holds_to_the_digit() -> None:
    """Where all that was asked before the last question was answered before it as well."""
    setting = alone(0.5, queries=1000)
    times, homes = next(chunks(setting))
    trace = Recorded((*times.tolist(), float(times[-1]) + 1000.0), (*homes.tolist(), 0))
    setting = replace(setting, arrivals=trace, queries=1001, warmup=0.0)
    for engine in ENGINES:
        told = simulate(setting, engine=engine, compiled=False)
        last = told.mean * told.answered - told.length * 4 * told.span
        assert last == pytest.approx(service(setting)(1000, 1, 0, 0), rel=1e-6)


@pytest.mark.parametrize("measure", ["waiting", "length", "growth", "utilisation"])
def test_both_engines_measure_the_same(measure: str) -> None:
    for rate in (0.8, 2.4):
        network = Network.alike(5, arrival_rate=rate / 7, slots=2)
        setting = Setting(network, Mixture(2, 2), queries=800)
        by_kernel, by_lindley = (
            simulate(setting, engine=engine, compiled=False) for engine in ENGINES
        )
        told = getattr(by_lindley, measure)
        assert getattr(by_kernel, measure) == pytest.approx(told, rel=1e-9, abs=1e-12)
