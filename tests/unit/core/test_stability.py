from __future__ import annotations

from math import fsum, inf, nan
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.network import Costs, Network
from dmoa.core.stability import (
    Gossip,
    arrival_rate_max,
    arrival_rate_scale_max,
    bottleneck,
    check_gossip,
    closing,
    draws,
    is_stable,
    proposing,
    uniform_gossip,
    utilisation,
    utilisation_of_slowest,
    utilisations,
)
from dmoa.errors import NetworkShapeError

# The same examples every time, however slow the machine.
settings.register_profile("theory", deadline=None, derandomize=True, database=None)
settings.load_profile("theory")

RATES = st.floats(0.001, 10.0)
TIMES = st.floats(0.01, 100.0)
COSTS = st.builds(Costs, *(st.floats(0.1, 10.0),) * 3)
RING = ((1, 4), (0, 2), (1, 3), (2, 4), (3, 0))
STAR = ((1, 2, 3), (0,), (0,), (0,))


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Any nodes on the complete graph, or on a ring with chords both ways."""
    nodes = draw(st.integers(2, 7))
    every = [draw(st.tuples(RATES, TIMES, st.integers(1, 4))) for _ in range(nodes)]
    rates, times, slots = zip(*every, strict=True)
    graph = None
    if draw(st.booleans()):
        links = {(i, (i + 1) % nodes) for i in range(nodes)}
        links |= draw(st.sets(st.tuples(*(st.integers(0, nodes - 1),) * 2), max_size=4))
        both = sorted({(i, j) for a, b in links for i, j in ((a, b), (b, a)) if i != j})
        graph = tuple(tuple(j for i, j in both if i == home) for home in range(nodes))
    return Network(rates, times, slots, draw(COSTS), graph)


@st.composite
def planned(draw: st.DrawFn) -> tuple[Network, Mixture]:
    """A network, and a mixture that fits it."""
    network = draw(networks())
    fewest = min(len(network.peers(node)) for node in range(network.nodes))
    return network, Mixture(draw(st.integers(0, 4)), draw(st.integers(0, fewest)))


def some_gossip(network: Network, mixture: Mixture, seed: int) -> Gossip:
    """Mix uniform draws with some fixed choices of k peers."""
    rng = Random(seed)
    rows = [list(row) for row in uniform_gossip(network, mixture)]
    for home, row in enumerate(rows):
        weight = rng.random()
        fixed = rng.sample(list(network.peers(home)), mixture.fanout)
        for peer in range(network.nodes):
            row[peer] = weight * row[peer] + (1 - weight) * (peer in fixed)
    return rows


def but(network: Network, **changes: object) -> Network:
    kept = {name: getattr(network, name) for name in ("arrival_rates", "service_times", "slots")}
    kept |= {"costs": network.costs, "graph": network.graph}
    return Network(**(kept | changes))


# -- Theorem 1 and Remark 1 -----------------------------------------------------------


def test_utilisation_is_that_of_theorem_1() -> None:
    rho = utilisation(Mixture(2, 3), arrival_rate=0.1, service_time=0.5)
    assert rho == pytest.approx(0.5 * (4 * 2 + 1) * 0.1)


def test_alone_it_is_that_of_one_queue() -> None:
    assert utilisation(ALONE, arrival_rate=0.25, service_time=2.0) == 0.5


def test_the_papers_experiment_was_far_from_stable() -> None:
    """46 s per job and 1/4 query per second and node: 11.5 alone, 103 for M=2, k=3."""
    assert utilisation(ALONE, arrival_rate=0.25, service_time=46.0) == 11.5
    assert utilisation(Mixture(2, 3), arrival_rate=0.25, service_time=46.0) == 103.5


@pytest.mark.parametrize("mixture", [ALONE, Mixture(1, 2), Mixture(3, 7)])
def test_at_the_largest_arrival_rate_utilisation_is_one(mixture: Mixture) -> None:
    rate = arrival_rate_max(mixture, service_time=0.7)
    assert utilisation(mixture, arrival_rate=rate, service_time=0.7) == pytest.approx(1.0)


@pytest.mark.parametrize("rate", [-1.0, nan, inf])
def test_an_arrival_rate_that_cannot_be_is_refused(rate: float) -> None:
    with pytest.raises(NetworkShapeError, match="arrival rate") as refused:
        utilisation(ALONE, arrival_rate=rate, service_time=1.0)
    assert refused.value.hint


@pytest.mark.parametrize("seconds", [-1.0, 0.0, nan, inf])
def test_a_service_time_that_cannot_be_is_refused(seconds: float) -> None:
    with pytest.raises(NetworkShapeError, match="service time") as refused:
        arrival_rate_max(ALONE, service_time=seconds)
    assert refused.value.hint
    with pytest.raises(NetworkShapeError, match="service time"):
        utilisation(ALONE, arrival_rate=1.0, service_time=seconds)


@given(nodes=st.integers(2, 9), rate=RATES, time=TIMES, layers=st.integers(0, 5), data=st.data())
def test_nodes_alike_meet_theorem_1(
    nodes: int, rate: float, time: float, layers: int, data: st.DataObject
) -> None:
    mixture = Mixture(layers, data.draw(st.integers(0, nodes - 1)))
    network = Network.alike(nodes, arrival_rate=rate, service_time=time)
    rho = utilisation(mixture, arrival_rate=rate, service_time=time)
    assert utilisations(network, mixture) == pytest.approx([rho] * nodes)
    assert utilisation_of_slowest(network, mixture) == pytest.approx(rho)


def test_nodes_alike_on_a_ring_meet_theorem_1_too() -> None:
    network = Network.alike(5, arrival_rate=0.2, graph=RING)
    for mixture in (ALONE, Mixture(1, 1), Mixture(3, 2)):
        assert utilisations(network, mixture) == pytest.approx([0.2 * mixture.visits] * 5)


@given(times=st.lists(TIMES, min_size=2, max_size=8), rate=RATES, layers=st.integers(0, 4))
def test_remark_1_is_right_for_users_alike_and_one_slot(
    times: list[float], rate: float, layers: int
) -> None:
    network = Network((rate,) * len(times), tuple(times))
    mixture = Mixture(layers, len(times) // 2)
    rho = max(utilisations(network, mixture))
    assert utilisation_of_slowest(network, mixture) == pytest.approx(rho)


def test_remark_1_errs_where_users_or_slots_differ() -> None:
    mixture = Mixture(1, 1)
    busy = Network((0.5, 0.1, 0.1, 0.1), (1.0, 1.0, 1.0, 2.0))
    assert bottleneck(busy, mixture) == 0
    assert max(utilisations(busy, mixture)) == pytest.approx(1.1)
    assert utilisation_of_slowest(busy, mixture) == pytest.approx(1.2)
    wide = Network((0.1,) * 4, (1.0, 1.0, 1.0, 4.0), (1, 1, 1, 8))
    assert max(utilisations(wide, mixture)) == pytest.approx(0.3)
    assert utilisation_of_slowest(wide, mixture) == pytest.approx(1.2)


# -- the exact condition --------------------------------------------------------------


def test_each_node_by_hand() -> None:
    """Two users, M=2, k=1: each home draws one of two peers."""
    network = Network((0.1, 0.2, 0.0), (1.0, 2.0, 3.0), (1, 2, 1), Costs(1.0, 1.5, 2.0))
    mixture = Mixture(2, 1)
    assert draws(network, mixture) == pytest.approx((0.1, 0.05, 0.15))
    assert utilisations(network, mixture) == pytest.approx(
        (0.2 * 2.5 + 0.1 * 2.0, 0.25 * 2.5 + 0.2 * 2.0, 3.0 * 0.15 * 2.5)
    )
    assert bottleneck(network, mixture) == 2
    assert not is_stable(network, mixture)


def test_the_hub_of_a_star_is_drawn_by_all() -> None:
    network = Network.alike(4, arrival_rate=0.1, graph=STAR)
    assert draws(network, Mixture(1, 1)) == pytest.approx((0.3, 0.1 / 3, 0.1 / 3, 0.1 / 3))
    assert bottleneck(network, Mixture(1, 1)) == 0


def test_alone_a_node_has_only_its_own_user() -> None:
    network = Network((0.1, 0.4), (2.0, 1.0), (1, 2), Costs(3.0, 1.0, 7.0))
    for fanout in (0, 1, 5):
        assert utilisations(network, Mixture(0, fanout)) == pytest.approx((0.6, 0.6))


def test_without_peers_a_home_refines_its_own_answer() -> None:
    network = Network.alike(3, arrival_rate=0.1, costs=Costs(1.0, 2.0, 4.0))
    assert utilisations(network, Mixture(3, 0)) == pytest.approx([0.1 * (1 + 2 + 2 + 4)] * 3)


def test_costs_of_a_seat_and_of_the_last_job() -> None:
    costs = Costs(1.0, 1.5, 2.0)
    assert [proposing(costs, Mixture(m, 1)) for m in range(4)] == [0.0, 1.0, 2.5, 4.0]
    assert [closing(costs, Mixture(m, 1)) for m in range(3)] == [1.0, 2.0, 2.0]


def test_at_one_there_is_no_bound() -> None:
    assert not is_stable(Network((1.0,), (1.0,)), ALONE)
    assert is_stable(Network((0.999,), (1.0,)), ALONE)


def test_where_nobody_asks_all_can_ask_more() -> None:
    quiet = Network.alike(3, arrival_rate=0.0)
    assert utilisations(quiet, Mixture(1, 2)) == (0.0,) * 3
    assert is_stable(quiet, Mixture(1, 2))
    assert arrival_rate_scale_max(quiet, Mixture(1, 2)) == inf


def test_many_nodes_need_no_matrix() -> None:
    network = Network.alike(100_000, arrival_rate=0.1)
    assert max(utilisations(network, Mixture(2, 3))) == pytest.approx(0.9)


@given(planned())
def test_uniform_draws_are_those_of_their_matrix(case: tuple[Network, Mixture]) -> None:
    network, mixture = case
    q = uniform_gossip(network, mixture)
    check_gossip(network, mixture if mixture.layers else ALONE, q)
    assert utilisations(network, mixture, q) == pytest.approx(utilisations(network, mixture))


@given(planned(), st.integers(0, 99))
def test_no_work_is_made_or_lost(case: tuple[Network, Mixture], seed: int) -> None:
    """Over all nodes each query brings k+1 seats and one last job, whoever is drawn."""
    network, mixture = case
    fanout = mixture.fanout if mixture.layers else 0
    per_query = (fanout + 1) * proposing(network.costs, mixture) + closing(network.costs, mixture)
    for gossip in (None, some_gossip(network, mixture, seed)):
        rho = utilisations(network, mixture, gossip)
        speeds = zip(rho, network.slots, network.service_times, strict=True)
        jobs = fsum(each * slots / time for each, slots, time in speeds)
        assert jobs == pytest.approx(fsum(network.arrival_rates) * per_query)


@given(planned(), st.floats(1.0, 5.0), st.integers(0, 6))
def test_more_queries_or_slower_nodes_never_unload_a_node(
    case: tuple[Network, Mixture], factor: float, index: int
) -> None:
    network, mixture = case
    node, before = index % network.nodes, utilisations(network, mixture)
    rates, times = list(network.arrival_rates), list(network.service_times)
    rates[node] *= factor
    times[node] *= factor
    for changed in ({"arrival_rates": tuple(rates)}, {"service_times": tuple(times)}):
        after = utilisations(but(network, **changed), mixture)
        assert all(new >= old * (1 - 1e-12) for new, old in zip(after, before, strict=True))
        assert after[node] == pytest.approx(before[node] * factor) or "arrival_rates" in changed


@given(planned())
def test_deeper_and_wider_mixtures_load_every_node_more(case: tuple[Network, Mixture]) -> None:
    network, mixture = case
    if mixture.layers:
        before = utilisations(network, mixture)
        deeper = utilisations(network, Mixture(mixture.layers + 1, mixture.fanout))
        assert all(new > old for new, old in zip(deeper, before, strict=True))
        if mixture.fanout:
            narrower = utilisations(network, Mixture(mixture.layers, mixture.fanout - 1))
            assert all(new <= old for new, old in zip(narrower, before, strict=True))


@given(planned(), st.floats(0.001, 1000.0))
def test_the_unit_of_time_does_not_matter(case: tuple[Network, Mixture], unit: float) -> None:
    network, mixture = case
    other = but(
        network,
        arrival_rates=tuple(each / unit for each in network.arrival_rates),
        service_times=tuple(each * unit for each in network.service_times),
    )
    assert utilisations(other, mixture) == pytest.approx(utilisations(network, mixture))


@given(planned())
def test_at_the_largest_scale_the_bottleneck_is_full(case: tuple[Network, Mixture]) -> None:
    network, mixture = case
    scale = arrival_rate_scale_max(network, mixture)
    full = but(network, arrival_rates=tuple(scale * each for each in network.arrival_rates))
    rho = utilisations(full, mixture)
    assert max(rho) == pytest.approx(1.0)
    assert rho[bottleneck(network, mixture)] == pytest.approx(1.0)


# -- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize("graph", [None, RING])
def test_more_peers_than_there_are_cannot_be_drawn(graph: tuple[tuple[int, ...], ...]) -> None:
    network = Network.alike(5, arrival_rate=0.1, graph=graph)
    for judge in (draws, utilisations, is_stable, uniform_gossip, utilisation_of_slowest):
        with pytest.raises(NetworkShapeError, match="a fanout of 5 needs as many peers") as refused:
            judge(network, Mixture(1, 5))
        assert refused.value.hint


@pytest.mark.parametrize(
    ("gossip", "words"),
    [
        (((0.0, 1.0), (1.0, 0.0)), "no table of 3 by 3"),
        (((0.0, 1.0, 0.0), (0.5, 0.0), (1.0, 0.0, 0.0)), "no table of 3 by 3"),
        (((0.0, 1.5, -0.5), (0.5, 0.0, 0.5), (1.0, 0.0, 0.0)), "with probability 1.5"),
        (((0.0, nan, 1.0), (0.5, 0.0, 0.5), (1.0, 0.0, 0.0)), "with probability nan"),
        (((0.0, 0.5, 0.5), (0.5, 0.5, 0.0), (1.0, 0.0, 0.0)), "cannot draw itself"),
        (((0.0, 0.5, 0.5), (1.0, 0.0, 0.0), (0.5, 0.0, 0.0)), "node 3 draws 0.5 peers"),
    ],
)
def test_probabilities_that_no_draw_has_are_refused(gossip: Gossip, words: str) -> None:
    network = Network.alike(3, arrival_rate=0.1)
    with pytest.raises(NetworkShapeError, match=words) as refused:
        utilisations(network, Mixture(1, 1), gossip)
    assert refused.value.hint
    assert "\n" not in refused.value.message


def test_only_a_peer_can_be_drawn() -> None:
    network = Network.alike(4, arrival_rate=0.1, graph=STAR)
    with pytest.raises(NetworkShapeError, match="node 2 cannot draw node 3, no peer of it"):
        check_gossip(
            network, Mixture(1, 1), [[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0]]
        )
