"""Who may draw whom: graphs by a short name, or from a file, through networkx (extra `sim`)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from dmoa.errors import MissingExtraError, NetworkShapeError, UsageError

FORMS = "complete, ring, star, grid, regular:D, small-world:D:P, scale-free:M, or a file"
"""How a topology is written."""
FILES = ".graphml, .gml, .json (node-link or adjacency), .edgelist, .edges, .txt"
"""The files that are read, by the end of their name."""
_TRIES = 100
"""Draws of a random graph before we believe that it cannot be connected."""

Graph = tuple[tuple[int, ...], ...]
"""For each node the peers that it may draw, rising; nodes are numbered from 0."""


def graph_of(spec: str, nodes: int, seed: int = 1) -> Graph | None:
    """Make the graph of a topology such as `small-world:4:0.1`; None is the complete graph.

    Random graphs follow from the seed, and are drawn again until they are connected.
    Undirected edges lead both ways, directed ones as given. Nodes of a file are numbered in
    the order of their names, numbers in names as numbers (n2 before n10).

    - `ring`: each knows the two beside it. `star`: node 1 knows all, they know only it.
    - `grid`: rows and columns as alike as the number of nodes allows.
    - `regular:D`: D peers each, at random. `small-world:D:P` (Watts and Strogatz, 1998): D
      peers on a ring, each edge rewired with probability P. `scale-free:M` (Barabasi and
      Albert, 1999): each newcomer gets M peers, by how many these have.

    Raises NetworkShapeError where there is no such graph, UsageError where nothing is called
    so, MissingExtraError without networkx. `Network` refuses what is disconnected.
    """
    if nodes < 1:
        raise NetworkShapeError(f"a network of {nodes} nodes cannot be")
    name, *rest = spec.strip().split(":")
    if name == "complete" and not rest:
        return None
    kind = _KINDS.get(name)
    if kind is not None:
        make, wanted = kind
        return _numbered(make(nodes, seed, *_numbers(spec, rest, wanted)))
    if Path(spec).suffix or Path(spec).exists():
        return _read(Path(spec), nodes)
    raise UsageError(f"there is no topology {spec!r}", hint=f"choose {FORMS}")


def _networkx() -> Any:
    """Import networkx, which has no types."""
    try:
        return import_module("networkx")
    except ImportError:
        raise MissingExtraError(
            "topologies need networkx, which is not installed",
            hint="pip install 'dmoa[sim]', or leave the topology complete",
        ) from None


def _numbers(spec: str, rest: list[str], kinds: tuple[type[int | float], ...]) -> list[Any]:
    """Read the numbers behind the name of a topology."""
    try:
        return [kind(text) for kind, text in zip(kinds, rest, strict=True)]
    except ValueError:
        raise UsageError(
            f"{spec!r} is no topology", hint=f"write {FORMS}; D and M are counts, P is a share"
        ) from None


def _numbered(graph: Any) -> Graph:
    """Number the nodes in the order of their names, and list their peers."""
    names = sorted(graph.nodes, key=_natural)
    number = {name: at for at, name in enumerate(names)}
    return tuple(tuple(sorted(number[peer] for peer in graph[name])) for name in names)


def _natural(name: Any) -> tuple[list[str | int], str]:
    """Sort n2 before n10, and (0, 2) before (0, 10)."""
    parts: list[str | int] = list(re.split(r"(\d+)", str(name)))
    parts[1::2] = [int(part) for part in parts[1::2]]
    return parts, str(name)


# -- by name --------------------------------------------------------------------------


def _ring(nodes: int, _seed: int) -> Any:
    graph = _networkx().path_graph(nodes)
    if nodes > 1:
        graph.add_edge(nodes - 1, 0)
    return graph


def _star(nodes: int, _seed: int) -> Any:
    return _networkx().star_graph(nodes - 1)


def _grid(nodes: int, _seed: int) -> Any:
    rows = max(each for each in range(1, int(nodes**0.5) + 1) if nodes % each == 0)
    if rows == 1 and nodes > 3:  # noqa: PLR2004  (up to three in a row are all the grid there is)
        raise NetworkShapeError(
            f"{nodes} nodes make no grid but a line",
            hint=f"take a number with divisors, such as {nodes - 1} or {nodes + 1}",
        )
    return _networkx().grid_2d_graph(rows, nodes // rows)


def _regular(nodes: int, seed: int, degree: int) -> Any:
    nx = _networkx()
    if not 1 <= degree < nodes or degree * nodes % 2:
        raise NetworkShapeError(
            f"no graph gives each of {nodes} nodes {degree} peers",
            hint=f"take 1 to {nodes - 1} peers, and an even number where the nodes are odd",
        )
    return _connected(lambda each: nx.random_regular_graph(degree, nodes, seed=each), seed)


def _small_world(nodes: int, seed: int, degree: int, rewired: float) -> Any:
    nx = _networkx()
    if not 2 <= degree < nodes or degree % 2 or not 0.0 <= rewired <= 1.0:  # noqa: PLR2004
        raise NetworkShapeError(
            f"no small world gives each of {nodes} nodes {degree} peers, "
            f"and rewires a share of {rewired:g}",
            hint=f"take an even number of peers below {nodes}, and a share between 0 and 1",
        )
    return _connected(lambda each: nx.watts_strogatz_graph(nodes, degree, rewired, each), seed)


def _scale_free(nodes: int, seed: int, peers: int) -> Any:
    if not 1 <= peers < nodes:
        raise NetworkShapeError(
            f"no newcomer finds {peers} peers in a network that grows to {nodes} nodes",
            hint=f"take 1 to {nodes - 1}",
        )
    return _networkx().barabasi_albert_graph(nodes, peers, seed=seed)


def _connected(draw: Callable[[int], Any], seed: int) -> Any:
    """Draw until the graph is connected."""
    nx = _networkx()
    for each in range(_TRIES):
        graph = draw(seed + each * 1_000_003)
        if nx.is_connected(graph):
            return graph
    raise NetworkShapeError(
        f"{_TRIES} draws of this random graph were all disconnected",
        hint="give each node more peers",
    )


_KINDS: dict[str, tuple[Callable[..., Any], tuple[type[int | float], ...]]] = {
    "ring": (_ring, ()),
    "star": (_star, ()),
    "grid": (_grid, ()),
    "regular": (_regular, (int,)),
    "small-world": (_small_world, (int, float)),
    "scale-free": (_scale_free, (int,)),
}


# -- from a file ----------------------------------------------------------------------


def _read(file: Path, nodes: int) -> Graph:
    nx = _networkx()
    readers: dict[str, Callable[[Path], Any]] = {
        ".graphml": nx.read_graphml,
        ".gml": lambda path: nx.read_gml(path, label="id"),
        ".json": _read_json,
        **dict.fromkeys((".edgelist", ".edges", ".txt"), _read_edges),
    }
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise UsageError(f"{file} is no topology", hint=f"choose {FORMS}; files are {FILES}")
    try:
        graph = reader(file)
    except OSError as error:
        raise UsageError(
            f"the topology {file} cannot be read: {error.strerror or error}",
            hint=f"choose {FORMS}",
        ) from None
    except Exception as error:  # whatever a reader makes of a broken file
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise NetworkShapeError(
            f"the topology {file} cannot be understood: {why}", hint=f"files are {FILES}"
        ) from error
    if len(graph) != nodes:
        raise NetworkShapeError(
            f"the topology {file} has {len(graph)} nodes, and the network {nodes}",
            hint=f"ask for {len(graph)} nodes",
        )
    return _numbered(graph)


def _read_json(file: Path) -> Any:
    """Read both of the forms in which networkx writes JSON."""
    nx, data = _networkx(), json.loads(file.read_text("utf-8"))
    if "adjacency" in data:
        return nx.adjacency_graph(data)
    return nx.node_link_graph(data, edges="links" if "links" in data else "edges")


def _read_edges(file: Path) -> Any:
    """Read two names per line; what follows them, such as weights, has no meaning here."""
    graph = _networkx().Graph()
    for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
        words = line.partition("#")[0].replace(",", " ").split()
        if len(words) == 1:
            raise NetworkShapeError(f"line {number} names one node, and an edge has two")
        if words:
            graph.add_edge(words[0], words[1])
    return graph
