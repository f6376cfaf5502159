"""What is predicted of reading ahead: against what was simulated, and what must hold anyway."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dmoa.core.mixture import Mixture
from dmoa.core.network import Costs, Network
from dmoa.core.stability import arrival_rate_scale_max
from dmoa.theory.latency import Prediction, predict
from dmoa.theory.laws import Exponential, LogNormal

SIMULATED = {
    (1, 2, 0.1): -0.084,
    (1, 2, 0.3): -0.077,
    (1, 2, 0.5): -0.067,
    (1, 2, 0.7): -0.061,
    (1, 4, 0.3): -0.081,
    (1, 4, 0.5): -0.070,
    (1, 4, 0.7): -0.058,
    (2, 2, 0.3): -0.081,
    (2, 2, 0.7): -0.078,
    (2, 4, 0.5): -0.065,
}
"""Change of the mean, by M, k and rho: ten nodes, exponential, an overlap of 0.5 (theory.md)."""


def network_of(rho: float, mixture: Mixture, overlap: float = 0.5, slots: int = 1) -> Network:
    network = Network.alike(10, arrival_rate=1.0, slots=slots, costs=Costs(overlap=overlap))
    scale = rho * arrival_rate_scale_max(network, mixture)
    return replace(network, arrival_rates=(scale,) * 10)


def predicted(rho: float, mixture: Mixture, overlap: float = 0.5, slots: int = 1) -> Prediction:
    return predict(network_of(rho, mixture, overlap, slots), mixture, Exponential())


def mean(prediction: Prediction) -> float:
    assert prediction.latency is not None
    return prediction.latency.mean


@pytest.mark.parametrize(("layers", "fanout", "rho"), SIMULATED)
def test_the_gain_is_about_what_was_simulated(layers: int, fanout: int, rho: float) -> None:
    mixture = Mixture(layers, fanout)
    gain = mean(predicted(rho, mixture)) / mean(predicted(rho, mixture, 0.0)) - 1.0
    assert gain == pytest.approx(SIMULATED[layers, fanout, rho], abs=0.01)


def test_without_an_overlap_nothing_is_hidden() -> None:
    found = predicted(0.5, Mixture(2, 3), 0.0)
    assert found.hidden == 0.0
    assert predicted(0.5, Mixture(0, 0), 0.5) == predicted(0.5, Mixture(0, 0), 0.0)


def test_the_busier_the_less_is_hidden_and_never_more_than_there_is() -> None:
    hidden = [predicted(rho, Mixture(1, 3)).hidden for rho in (0.01, 0.3, 0.6, 0.9)]
    assert hidden == sorted(hidden, reverse=True)
    assert hidden[0] < 0.5
    assert hidden[-1] > 0.0
    little = predicted(0.01, Mixture(1, 4), 0.02).hidden / 0.02
    much = predicted(0.01, Mixture(1, 4), 0.9).hidden / 0.9
    assert 1.0 > little > 0.75 > much > 0.4, "what is short is hidden whole, if not home is last"


def test_what_is_hidden_is_missing_of_the_aggregation_and_the_work() -> None:
    """Where hardly anybody asks, nobody waits, and the service is all there is."""
    mixture = Mixture(1, 2)
    with_it, without = predicted(1e-4, mixture), predicted(1e-4, mixture, 0.0)
    assert mean(without) - mean(with_it) == pytest.approx(with_it.hidden, rel=0.01)
    with_it, without = predicted(0.6, mixture), predicted(0.6, mixture, 0.0)
    rate = network_of(0.6, mixture).arrival_rates[0]
    busy = without.length[0] - without.waiting[0] - with_it.length[0] + with_it.waiting[0]
    assert busy == pytest.approx(rate * with_it.hidden, rel=1e-6)


def test_stability_is_the_same() -> None:
    mixture = Mixture(2, 3)
    assert predicted(0.7, mixture).utilisations == predicted(0.7, mixture, 0.0).utilisations
    assert not predicted(1.0, mixture).stable
    assert predicted(1.2, mixture).goodput == predicted(1.2, mixture, 0.0).goodput


def test_unlike_nodes_hide_unlike_shares() -> None:
    """A quick home waits for slow peers, and has time; a slow one is the last itself."""
    costs = Costs(1.0, 1.5, 2.0, overlap=0.5)
    ring = tuple(((node - 1) % 6, (node + 1) % 6) for node in range(6))
    network = Network((0.02,) * 6, (1.0, 4.0) * 3, (1,) * 6, costs, ring)
    law = LogNormal(cv=0.8, common=0.3)
    on = predict(network, Mixture(2, 2), law)
    off = predict(replace(network, costs=replace(costs, overlap=0.0)), Mixture(2, 2), law)
    gains = [1.0 - a.mean / b.mean for a, b in zip(on.homes, off.homes, strict=True)]
    assert gains[0] == pytest.approx(gains[2])
    assert gains[1] > 0.0
    assert gains[0] > 0.0


def test_it_says_where_it_is_rough() -> None:
    mixture = Mixture(1, 2)
    assert predicted(0.7, mixture).doubts == ()
    assert any("half as much" in each for each in predicted(0.85, mixture).doubts)
    assert any("one slot" in each for each in predicted(0.5, mixture, slots=2).doubts)
    assert predicted(0.85, mixture, 0.0).doubts == ()
