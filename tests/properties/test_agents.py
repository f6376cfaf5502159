from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from dmoa.core.agent import Agent
from dmoa.core.digest import Digest
from dmoa.core.effects import Answer, Send, Serve
from dmoa.core.events import Asked, Received, Served, Woke
from dmoa.core.job import Completion, Profile, Turn
from dmoa.core.limits import Timing
from dmoa.core.messages import Gossip, Propose
from dmoa.core.mixture import Mixture
from dmoa.core.names import NodeId
from dmoa.sim.world import World
from dmoa.theory.laws import Exponential

QUIET = Timing(gossip=1e6, silence=1e7)
"""Without gossip that would only take time."""


@settings(max_examples=60)
@given(
    layers=st.integers(0, 3),
    fanout=st.integers(0, 7),
    nodes=st.integers(1, 8),
    slots=st.integers(1, 3),
    queries=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_nothing_lost_is_visits_served(  # noqa: PLR0913, PLR0917
    layers: int, fanout: int, nodes: int, slots: int, queries: int, seed: int
) -> None:
    mixture = Mixture(layers, fanout)
    world = World(nodes, Exponential(0.2), seed, slots=slots, timing=QUIET, record=True)
    homes = [NodeId(f"n{1 + number % nodes}") for number in range(queries)]
    asked = [world.ask(home, mixture, deadline=1e4) for home in homes]
    world.run(300.0)
    alone = nodes == 1 and fanout > 0
    visits = 1 if alone else (min(fanout, nodes - 1) + 1) * layers + 1
    assert nodes <= fanout or visits == mixture.visits
    for query in asked:
        end = world.queries[query].result
        assert isinstance(end, Answer)
        assert len(end.trace.jobs) == visits
        assert {visit.outcome for visit in end.trace.jobs} == {"ok"}
        few = layers if fanout > nodes - 1 else 0
        assert len(end.trace.degraded) == (min(few, 1) if alone else few)
    served = Counter(
        effect.job.id
        for records in world.histories.values()
        for record in records
        for effect in record.effects
        if isinstance(effect, Serve)
    )
    assert set(served.values()) == {1}
    assert len(served) == queries * visits


def layers_of(seed: int, fanout: int, peers: int) -> list[list[NodeId]]:
    """Whom one agent asks in three layers, when no peer ever replies."""
    agent = Agent(NodeId("home"), Profile("toy"), rng=Random(f"{seed}/home"), now=0.0, timing=QUIET)
    for number in range(peers):
        digest = Digest(NodeId(f"p{number}"), 1, 1, "toy", 1)
        agent.handle(Received(digest.node, Gossip(digest)), 0.0)
    now, layers = 0.0, []
    effects = agent.handle(Asked(agent.mint(), (Turn("user", "hi"),), Mixture(3, fanout)), now)
    for _ in range(3):
        layers.append(
            [e.to for e in effects if isinstance(e, Send) and isinstance(e.message, Propose)]
        )
        own = next(e.job.id for e in effects if isinstance(e, Serve))
        effects = agent.handle(Served(own, Completion("yes", "toy", 1, 1)), now)
        if layers[-1]:
            now = agent.deadline
            effects = agent.handle(Woke(), now)
        agent.check()
    return layers


@settings(max_examples=50)
@given(seed=st.integers(0, 10**6), fanout=st.integers(0, 9), peers=st.integers(1, 9))
def test_every_layer_asks_distinct_peers_and_never_home(seed: int, fanout: int, peers: int) -> None:
    for layer in layers_of(seed, fanout, peers):
        assert len(set(layer)) == len(layer) == min(fanout, peers)
        assert "home" not in layer


def test_peers_are_drawn_uniformly_and_afresh_for_every_layer() -> None:
    draws, fanout, peers = 1500, 2, 5
    singles: list[Counter[NodeId]] = [Counter() for _ in range(3)]
    pairs: Counter[tuple[frozenset[NodeId], frozenset[NodeId]]] = Counter()
    for seed in range(draws):
        layers = layers_of(seed, fanout, peers)
        for count, layer in zip(singles, layers, strict=True):
            count.update(layer)
        pairs[frozenset(layers[0]), frozenset(layers[1])] += 1
    share = fanout / peers
    bound = 4.5 * (draws * share * (1 - share)) ** 0.5
    for count in singles:
        assert len(count) == peers
        assert all(abs(number - draws * share) < bound for number in count.values())
    assert len(pairs) == 10 * 10, "some pair of choices never follows another"
    each = draws / len(pairs)
    assert all(abs(number - each) < 4.5 * each**0.5 for number in pairs.values())
