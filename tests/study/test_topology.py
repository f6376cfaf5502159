"""Graphs of who may draw whom: by name, and from files as networkx writes them."""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.errors import MissingExtraError, NetworkShapeError, UsageError
from dmoa.study.topology import Graph, graph_of


def network_of(graph: Graph | None) -> Network:
    return Network.alike(0 if graph is None else len(graph), arrival_rate=0.1, graph=graph)


def edges_of(graph: Graph | None) -> list[tuple[int, int]]:
    assert graph is not None
    return [(node, peer) for node, peers in enumerate(graph) for peer in peers]


def test_named_graphs_are_what_they_are_called() -> None:
    assert graph_of("complete", 5) is None
    assert graph_of("ring", 4) == ((1, 3), (0, 2), (1, 3), (0, 2))
    assert graph_of("ring", 2) == ((1,), (0,))
    assert graph_of(" star ", 4) == ((1, 2, 3), (0,), (0,), (0,))
    assert graph_of("grid", 6) == ((1, 3), (0, 2, 4), (1, 5), (0, 4), (1, 3, 5), (2, 4))
    assert graph_of("grid", 3) == ((1,), (0, 2), (1,))


def test_a_long_grid_keeps_its_rows_in_order() -> None:
    graph = graph_of("grid", 121)
    assert graph is not None
    assert graph[60] == (49, 59, 61, 71)


@pytest.mark.parametrize("spec", ["regular:3", "regular:2", "small-world:4:0.3", "scale-free:2"])
def test_random_graphs_follow_from_the_seed(spec: str) -> None:
    assert graph_of(spec, 20, 7) == graph_of(spec, 20, 7)
    drawn = {graph_of(spec, 20, seed) for seed in range(5)}
    assert len(drawn) == 5
    for graph in drawn:
        network_of(graph)


def test_random_graphs_have_the_peers_that_are_asked_for() -> None:
    regular, small, free = (
        graph_of(spec, 30, 3) for spec in ("regular:5", "small-world:6:0.1", "scale-free:3")
    )
    assert {len(peers) for peers in regular or ()} == {5}
    assert len(edges_of(small)) == 30 * 6
    assert len(edges_of(free)) == 2 * 3 * 27
    assert graph_of("small-world:4:0", 7) == tuple(
        tuple(sorted((node + step) % 7 for step in (-2, -1, 1, 2))) for node in range(7)
    )


@settings(max_examples=40, deadline=None)
@given(
    spec=st.sampled_from(
        ["ring", "star", "grid", "regular:4", "small-world:4:0.5", "scale-free:2"]
    ),
    nodes=st.sampled_from([6, 8, 9, 15, 24]),
    seed=st.integers(0, 100),
)
def test_every_graph_is_connected_and_leads_both_ways(spec: str, nodes: int, seed: int) -> None:
    graph = graph_of(spec, nodes, seed)
    network_of(graph)
    edges = edges_of(graph)
    assert sorted(edges) == edges
    assert {(peer, node) for node, peer in edges} == set(edges)


@pytest.mark.parametrize(
    ("spec", "nodes", "kind"),
    [
        ("wheel", 5, UsageError),
        ("ring:3", 5, UsageError),
        ("complete:2", 5, UsageError),
        ("regular", 5, UsageError),
        ("regular:two", 5, UsageError),
        ("regular:3", 5, NetworkShapeError),
        ("regular:5", 5, NetworkShapeError),
        ("regular:1", 4, NetworkShapeError),
        ("small-world:3:0.1", 9, NetworkShapeError),
        ("small-world:4:1.5", 9, NetworkShapeError),
        ("small-world:4:nan", 9, NetworkShapeError),
        ("small-world:10:0.1", 9, NetworkShapeError),
        ("scale-free:0", 5, NetworkShapeError),
        ("scale-free:5", 5, NetworkShapeError),
        ("grid", 7, NetworkShapeError),
        ("ring", 0, NetworkShapeError),
        ("nowhere.graphml", 5, UsageError),
        ("graph.png", 5, UsageError),
    ],
)
def test_what_is_no_graph_gets_one_line_and_mostly_a_hint(spec, nodes, kind) -> None:
    with pytest.raises(kind) as caught:
        graph_of(spec, nodes)
    assert "\n" not in str(caught.value)
    assert caught.value.hint or nodes == 0


def test_too_few_peers_for_a_fanout_are_found_by_the_network() -> None:
    network = network_of(graph_of("ring", 6))
    network.check(Mixture(2, 2))
    with pytest.raises(NetworkShapeError, match="a fanout of 3"):
        network.check(Mixture(1, 3))


def test_without_networkx_a_hint_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "networkx", None)
    assert graph_of("complete", 4) is None
    with pytest.raises(MissingExtraError) as caught:
        graph_of("ring", 4)
    assert "dmoa[sim]" in (caught.value.hint or "")


# -- from files -----------------------------------------------------------------------

WRITERS = {
    "net.graphml": nx.write_graphml,
    "net.gml": nx.write_gml,
    "net.edgelist": nx.write_edgelist,
    "net.txt": nx.write_weighted_edgelist,
    "links.json": lambda graph, file: file.write_text(
        json.dumps(nx.node_link_data(graph, edges="links"))
    ),
    "edges.json": lambda graph, file: file.write_text(json.dumps(nx.node_link_data(graph))),
    "adjacency.json": lambda graph, file: file.write_text(json.dumps(nx.adjacency_data(graph))),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_networkx_writes_is_read(name: str, tmp_path: Path) -> None:
    graph = nx.petersen_graph()
    nx.set_edge_attributes(graph, 1.5, "weight")
    WRITERS[name](graph, tmp_path / name)
    wanted = tuple(tuple(sorted(graph[node])) for node in range(10))
    assert graph_of(str(tmp_path / name), 10) == wanted


@pytest.mark.parametrize("name", ["net.graphml", "edges.json"])
def test_directed_edges_stay_directed(name: str, tmp_path: Path) -> None:
    WRITERS[name](nx.cycle_graph(4, create_using=nx.DiGraph), tmp_path / name)
    assert graph_of(str(tmp_path / name), 4) == ((1,), (2,), (3,), (0,))


def test_nodes_are_numbered_in_the_order_of_their_names(tmp_path: Path) -> None:
    file = tmp_path / "net.edges"
    file.write_text("# a comment\nn1 n2\nn2,n10\n\nn10 n9  # another\n")
    assert graph_of(str(file), 4) == ((1,), (0, 3), (3,), (1, 2))


def test_parallel_edges_are_one(tmp_path: Path) -> None:
    file = tmp_path / "net.graphml"
    nx.write_graphml(nx.MultiGraph([("a", "b"), ("a", "b")]), file)
    assert graph_of(str(file), 2) == ((1,), (0,))


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.graphml", "<graphml>", "cannot be understood"),
        ("a.json", "{", "cannot be understood"),
        ("a.json", "[]", "cannot be understood"),
        ("a.gml", "nonsense", "cannot be understood"),
        ("a.edges", "1 2\n3\n", "line 2 names one node"),
        ("a.edges", "1 2\n2 3\n", "has 3 nodes, and the network 4"),
        ("b", "1 2\n", "is no topology"),
    ],
)
def test_a_broken_file_gets_one_line_and_a_hint(name, text, why, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=why) as caught:
        graph_of(str(tmp_path / name), 4)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_a_file_in_parts_and_one_with_loops_are_refused_by_the_network(tmp_path: Path) -> None:
    file = tmp_path / "net.edges"
    for text, why in (("1 2\n3 4\n", "disconnected"), ("1 2\n2 2\n2 3\n3 4\n", "itself")):
        file.write_text(text)
        with pytest.raises(NetworkShapeError, match=why):
            network_of(graph_of(str(file), 4))


def test_names_of_all_kinds_can_be_sorted(tmp_path: Path) -> None:
    names = [*(f"{a}{b}" for a, b in product("xy", (1, 2, 11))), "7", "x"]
    file = tmp_path / "net.edges"
    file.write_text("".join(f"7 {name}\n" for name in names if name != "7"))
    graph = graph_of(str(file), 8)
    assert graph is not None
    assert graph[0] == tuple(range(1, 8))
