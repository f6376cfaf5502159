from __future__ import annotations

import sys
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.network import Costs, Network
from dmoa.core.stability import (
    arrival_rate_scale_max,
    check_gossip,
    uniform_gossip,
    utilisations,
)
from dmoa.errors import MissingExtraError, NetworkShapeError
from dmoa.theory.capacity import best_gossip, capacity_scale

SLOW_ONE = (1.0, 1.0, 1.0, 4.0)
DOUBLING = (1.0, 2.0, 4.0, 8.0)
TEN = (1.0,) * 4 + (2.0,) * 3 + (4.0,) * 2 + (8.0,)
TWENTY = (1.0,) * 15 + (3.0,) * 5
COSTS = st.builds(Costs, *(st.floats(0.2, 5.0),) * 3)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Any nodes, some of whose users may be silent, on the complete graph."""
    nodes = draw(st.integers(2, 7))
    rate = st.one_of(st.just(0.0), st.floats(0.01, 10.0))
    every = [draw(st.tuples(rate, st.floats(0.1, 10.0), st.integers(1, 3))) for _ in range(nodes)]
    rates, times, slots = zip(*every, strict=True)
    return Network((*rates[1:], 1.0), times, slots, draw(COSTS))


@pytest.mark.parametrize(
    ("times", "layers", "fanout", "uniform", "gain"),
    [
        (SLOW_ONE, 1, 1, 0.0833, 1.50),
        (SLOW_ONE, 1, 2, 0.0625, 2.00),
        (SLOW_ONE, 2, 2, 0.0357, 2.33),
        (DOUBLING, 1, 2, 0.0312, 2.00),
        (DOUBLING, 2, 2, 0.0179, 2.10),
        (TEN, 1, 3, 0.0250, 2.50),
        (TEN, 2, 3, 0.0139, 3.00),
        (TWENTY, 2, 3, 0.0370, 2.50),
    ],
)
def test_gains_are_those_that_were_measured(
    times: tuple[float, ...], layers: int, fanout: int, uniform: float, gain: float
) -> None:
    network, mixture = Network((1.0,) * len(times), times), Mixture(layers, fanout)
    found = best_gossip(network, mixture)
    assert found.uniform == pytest.approx(uniform, abs=6e-5)
    assert found.gain == pytest.approx(gain, abs=5e-3)
    assert found.scale == pytest.approx(capacity_scale(network, mixture))


@pytest.mark.parametrize("mixture", [Mixture(1, 1), Mixture(2, 2), Mixture(2, 3)])
def test_where_the_slowest_own_work_binds_the_gain_has_a_form(mixture: Mixture) -> None:
    network = Network((1.0,) * 10, TEN)
    gain = mixture.visits / (mixture.layers + 1)
    assert best_gossip(network, mixture).gain == pytest.approx(gain)


@settings(max_examples=60)
@given(networks(), st.integers(1, 3), st.data())
def test_the_closed_form_is_the_linear_programmes(
    network: Network, layers: int, data: st.DataObject
) -> None:
    """For every fanout up to n-1, and for unlike users: the closed form has no gaps."""
    mixture = Mixture(layers, data.draw(st.integers(0, network.nodes - 1)))
    found = best_gossip(network, mixture)
    assert found.scale == pytest.approx(capacity_scale(network, mixture), rel=1e-6)
    assert found.gain >= 1.0
    check_gossip(network, mixture, found.gossip)
    rho = utilisations(network, mixture, found.gossip)
    assert max(rho) * found.scale == pytest.approx(1.0)


@given(networks(), st.integers(1, 4))
def test_who_must_draw_all_gains_nothing(network: Network, layers: int) -> None:
    mixture = Mixture(layers, network.nodes - 1)
    uniform = arrival_rate_scale_max(network, mixture)
    assert capacity_scale(network, mixture) == pytest.approx(uniform)
    assert best_gossip(network, mixture).gain == 1.0


@given(st.integers(2, 8), st.floats(0.01, 10.0), st.integers(0, 4), st.data())
def test_nodes_alike_gain_nothing_and_draw_uniformly(
    nodes: int, rate: float, layers: int, data: st.DataObject
) -> None:
    mixture = Mixture(layers, data.draw(st.integers(0, nodes - 1)))
    network = Network.alike(nodes, arrival_rate=rate)
    found = best_gossip(network, mixture)
    assert found.gain == 1.0
    assert found.gossip == uniform_gossip(network, mixture)
    assert found.scale == pytest.approx(1.0 / (mixture.visits * rate))


@given(networks(), st.integers(1, 3), st.floats(1.0, 5.0), st.data())
def test_more_work_is_never_carried_more_often(
    network: Network, layers: int, factor: float, data: st.DataObject
) -> None:
    """Slower, deeper, wider or busier: the scale does not rise."""
    fanout = data.draw(st.integers(0, network.nodes - 2))
    node = data.draw(st.integers(0, network.nodes - 1))
    scale = capacity_scale(network, Mixture(layers, fanout)) * (1 + 1e-9)
    assert capacity_scale(network, Mixture(layers + 1, fanout)) <= scale
    assert capacity_scale(network, Mixture(layers, fanout + 1)) <= scale
    rates, times = list(network.arrival_rates), list(network.service_times)
    times[node] *= factor
    slower = Network(network.arrival_rates, tuple(times), network.slots, network.costs)
    assert capacity_scale(slower, Mixture(layers, fanout)) <= scale
    rates[node] *= factor
    busier = Network(tuple(rates), network.service_times, network.slots, network.costs)
    assert capacity_scale(busier, Mixture(layers, fanout)) <= scale


@given(networks(), st.integers(0, 3), st.floats(0.01, 100.0), st.data())
def test_scales_are_in_units_of_the_rates(
    network: Network, layers: int, factor: float, data: st.DataObject
) -> None:
    mixture = Mixture(layers, data.draw(st.integers(0, network.nodes - 1)))
    rates = tuple(factor * each for each in network.arrival_rates)
    other = Network(rates, network.service_times, network.slots, network.costs)
    scale = capacity_scale(network, mixture)
    assert capacity_scale(other, mixture) * factor == pytest.approx(scale)


@pytest.mark.parametrize("mixture", [ALONE, Mixture(0, 3), Mixture(2, 0)])
def test_where_nobody_is_drawn_there_is_nothing_to_choose(mixture: Mixture) -> None:
    network = Network((0.1, 0.2, 0.3, 0.1), SLOW_ONE)
    found = best_gossip(network, mixture)
    assert found.scale == found.uniform == pytest.approx(capacity_scale(network, mixture))
    assert found.gain == 1.0
    assert found.gossip == ((0.0,) * 4,) * 4


def test_where_nobody_asks_there_is_no_bound() -> None:
    quiet = Network((0.0,) * 4, SLOW_ONE)
    found = best_gossip(quiet, Mixture(1, 2))
    assert (found.scale, found.uniform, found.gain) == (inf, inf, 1.0)
    assert capacity_scale(quiet, Mixture(1, 2)) == inf
    check_gossip(quiet, Mixture(1, 2), found.gossip)


# -- graphs ---------------------------------------------------------------------------


def test_a_graph_leaves_less_to_choose() -> None:
    """On a ring with one slow node its peers can avoid it, one by one."""
    ring = tuple(((i - 1) % 6, (i + 1) % 6) for i in range(6))
    times = (1.0,) * 5 + (4.0,)
    free = Network((1.0,) * 6, times)
    bound = Network((1.0,) * 6, times, graph=ring)
    for mixture in (Mixture(1, 1), Mixture(2, 1)):
        found = best_gossip(bound, mixture)
        assert 1.0 < found.gain <= best_gossip(free, mixture).gain * (1 + 1e-9)
        check_gossip(bound, mixture, found.gossip)
        assert found.gossip[4][5] == pytest.approx(0.0, abs=1e-6)
    full = best_gossip(bound, Mixture(1, 2))
    assert (full.gain, full.gossip) == (1.0, uniform_gossip(bound, Mixture(1, 2)))


def test_the_complete_graph_written_out_is_the_complete_graph() -> None:
    graph = tuple(tuple(j for j in range(4) if j != i) for i in range(4))
    written = Network((1.0,) * 4, DOUBLING, graph=graph)
    found = best_gossip(written, Mixture(2, 2))
    assert found.scale == pytest.approx(
        capacity_scale(Network((1.0,) * 4, DOUBLING), Mixture(2, 2))
    )


def test_leaves_of_a_star_have_no_choice() -> None:
    star = Network.alike(4, arrival_rate=0.1, graph=((1, 2, 3), (0,), (0,), (0,)))
    assert best_gossip(star, Mixture(1, 1)).gain == pytest.approx(1.0)


# -- what is refused ------------------------------------------------------------------


def test_more_peers_than_there_are_cannot_be_drawn() -> None:
    network = Network((1.0,) * 4, SLOW_ONE)
    for judge in (best_gossip, capacity_scale):
        with pytest.raises(NetworkShapeError, match="a fanout of 4 needs") as refused:
            judge(network, Mixture(1, 4))
        assert refused.value.hint


def test_the_closed_form_knows_no_graph() -> None:
    network = Network.alike(3, arrival_rate=0.1, graph=((1, 2), (0, 2), (0, 1)))
    with pytest.raises(NetworkShapeError, match="complete graph") as refused:
        capacity_scale(network, Mixture(1, 1))
    assert refused.value.hint


def test_too_many_nodes_are_refused_before_anything_grows() -> None:
    many = Network.alike(100_000, arrival_rate=0.1)
    with pytest.raises(NetworkShapeError, match="100000 nodes are too many") as refused:
        best_gossip(many, Mixture(2, 3))
    assert "capacity_scale" in str(refused.value.hint)
    assert capacity_scale(many, Mixture(2, 3)) == pytest.approx(1 / 0.9)


def test_without_scipy_only_the_probabilities_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    network = Network((1.0,) * 4, SLOW_ONE)
    assert capacity_scale(network, Mixture(1, 1)) == pytest.approx(0.125)
    assert best_gossip(network, Mixture(1, 3)).gain == 1.0
    with pytest.raises(MissingExtraError, match="scipy") as refused:
        best_gossip(network, Mixture(1, 1))
    assert refused.value.hint == "pip install 'dmoa[sim]'"
