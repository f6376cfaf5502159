from __future__ import annotations

from math import inf, nan

import pytest

from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.network import EVEN, Costs, Network
from dmoa.errors import NetworkShapeError

LINE = ((1,), (0, 2), (1,))


def test_each_kind_of_job_has_its_cost() -> None:
    costs = Costs(first=1.0, later=1.5, aggregation=2.0)
    assert [costs.of(layer, 3) for layer in (1, 2, 3, 4)] == [1.0, 1.5, 1.5, 2.0]
    assert [costs.of(layer, 1) for layer in (1, 2)] == [1.0, 2.0]


def test_alone_the_one_job_costs_as_a_first_proposal() -> None:
    assert Costs(first=3.0, later=1.5, aggregation=2.0).of(1, 0) == 3.0


@pytest.mark.parametrize("value", [0.0, -1.0, nan, inf])
@pytest.mark.parametrize("name", ["first", "later", "aggregation"])
def test_a_cost_that_cannot_be_is_refused(name: str, value: float) -> None:
    with pytest.raises(NetworkShapeError, match=f"the cost of {name}") as refused:
        Costs(**{name: value})
    assert refused.value.hint


def test_nodes_have_one_slot_each_unless_told() -> None:
    network = Network((0.1, 0.2), (1.0, 2.0))
    assert (network.nodes, network.slots, network.costs) == (2, (1, 1), EVEN)
    assert Network((0.1, 0.2), (1.0, 2.0), (3, 4)).slots == (3, 4)


def test_nodes_alike_are_those_of_the_paper() -> None:
    assert Network.alike(2, arrival_rate=0.25, service_time=46.0, slots=2) == Network(
        (0.25, 0.25), (46.0, 46.0), (2, 2)
    )


def test_peers_are_all_others_or_those_of_the_graph() -> None:
    free, line = Network.alike(3, arrival_rate=1.0), Network.alike(3, arrival_rate=1.0, graph=LINE)
    assert [list(free.peers(node)) for node in range(3)] == [[1, 2], [0, 2], [0, 1]]
    assert [list(line.peers(node)) for node in range(3)] == [[1], [0, 2], [1]]


@pytest.mark.parametrize(
    ("rates", "times", "slots", "words"),
    [
        ((), (), (), "do not describe one network"),
        ((1.0,), (1.0, 2.0), (), "do not describe one network"),
        ((1.0, 1.0), (1.0, 2.0), (1,), "do not describe one network"),
        ((1.0, -1.0), (1.0, 1.0), (), "arrival rate of node 2 cannot be -1"),
        ((nan,), (1.0,), (), "arrival rate of node 1 cannot be nan"),
        ((inf,), (1.0,), (), "arrival rate of node 1 cannot be inf"),
        ((1.0,), (0.0,), (), "service time of node 1 cannot be 0"),
        ((1.0,), (nan,), (), "service time of node 1 cannot be nan"),
        ((1.0,), (-2.0,), (), "service time of node 1 cannot be -2"),
        ((1.0, 1.0), (1.0, inf), (), "service time of node 2 cannot be inf"),
        ((1.0,), (1.0,), (0,), "node 1 needs a slot"),
    ],
)
def test_what_is_no_network_is_refused_in_a_line(
    rates: tuple[float, ...], times: tuple[float, ...], slots: tuple[int, ...], words: str
) -> None:
    with pytest.raises(NetworkShapeError, match=words) as refused:
        Network(rates, times, slots)
    assert "\n" not in refused.value.message


def test_a_network_of_nobody_is_refused() -> None:
    with pytest.raises(NetworkShapeError, match="of 0 nodes"):
        Network.alike(0, arrival_rate=1.0)


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (((1,), (0,)), "a graph of 2 nodes does not fit 3"),
        (((1,), (0, 1), (1,)), "node 2 has itself"),
        (((1, 1), (0, 2), (1,)), "node 1 has itself as a peer, or one twice"),
        (((1,), (0, 3), (1,)), "node 2 has the peer 4, who is not there"),
        (((1,), (0, -1), (1,)), "who is not there"),
        (((1,), (0,), ()), "disconnected: from node 1, 2 of 3 can be reached"),
    ],
)
def test_what_is_no_graph_is_refused(graph: tuple[tuple[int, ...], ...], words: str) -> None:
    with pytest.raises(NetworkShapeError, match=words):
        Network.alike(3, arrival_rate=1.0, graph=graph)


def test_a_disconnected_graph_comes_with_a_hint() -> None:
    with pytest.raises(NetworkShapeError) as refused:
        Network.alike(4, arrival_rate=1.0, graph=((1,), (0,), (3,), (2,)))
    assert "missing links" in str(refused.value.hint)


@pytest.mark.parametrize(("graph", "most"), [(None, 2), (LINE, 1)])
def test_a_mixture_must_find_enough_peers(
    graph: tuple[tuple[int, ...], ...] | None, most: int
) -> None:
    network = Network.alike(3, arrival_rate=1.0, graph=graph)
    network.check(Mixture(1, most))
    with pytest.raises(NetworkShapeError, match=f"a fanout of {most + 1} needs") as refused:
        network.check(Mixture(1, most + 1))
    assert f"at most {most}" in str(refused.value.hint)


def test_alone_the_fanout_does_not_matter() -> None:
    lonely = Network.alike(1, arrival_rate=1.0)
    for mixture in (ALONE, Mixture(0, 9), Mixture(3, 0)):
        lonely.check(mixture)


def test_who_is_only_drawn_by_others_is_connected_too() -> None:
    for graph in (((1,), ()), ((), (0,))):
        assert Network.alike(2, arrival_rate=1.0, graph=graph).graph == graph
