"""One world from one integer: its nodes, its weather, its users; and that it holds."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from random import Random

from dmoa.core.events import Received
from dmoa.core.history import replay
from dmoa.core.limits import Limits, Timing
from dmoa.core.messages import Farewell, Gossip, Probe
from dmoa.core.mixture import Mixture
from dmoa.core.names import NodeId, QueryId
from dmoa.core.network import Costs, Network
from dmoa.core.policy import LIVE, ORDERS, PAPER, POLICIES, Policy
from dmoa.core.recipe import PAPER_RECIPE, WORDS, Recipe
from dmoa.sim.faults import Clock, Faults
from dmoa.sim.liars import LIES, Liar
from dmoa.sim.links import INSTANT, Links, Uniform, draw_partition
from dmoa.sim.services import PerNode
from dmoa.sim.world import World
from dmoa.theory.laws import Exponential, Fixed, Law, LogNormal

from .eager import Readers
from .promises import Life, ended_well, rests
from .watch import EPSILON, Watch

NODES = 8
LAYERS = 3
FANOUT = 7
QUERIES = 20
CROWD = 120
"""Queries, where there is room for them."""
ROOMY = 65
"""Jobs that a queue holds in worlds where many ask."""
PATIENCE = 12.0
"""Seconds: the longest that a user waits in these worlds."""
SLOW = 60.0
"""Seconds within which the slowest link has delivered."""


def draw_world(seed: int) -> World:
    """Draw nodes, weather, limits, timing and policy; what else there is, from other dice."""
    rng, places = Random(f"{seed}/world"), Random(f"{seed}/places")
    lives, foes = Random(f"{seed}/lives"), Random(f"{seed}/foes")
    crowded = rng.random() < 0.2
    mean = lives.choice([0.1, 1.0]) if crowded else rng.choice([0.0, 0.1, 1.0, 4.0])
    gossip = 0.5 if crowded else rng.choice([0.5, 2.0, 5.0])
    nodes, lying = rng.randint(1, NODES), foes.random() < 0.35
    fair = lying and foes.random() < 0.7  # what is said gets through, and is heeded
    if fair:
        mean, nodes = 0.1, max(nodes, 5)
    named, unlike = places.random() < 0.1, places.random() < 0.2 and not crowded
    eager, previews = Random(f"{seed}/eager"), Random(f"{seed}/previews")
    reads = eager.random() < 0.5
    return World(
        nodes=nodes,
        service=Fixed(mean) if mean == 0.0 or rng.random() < 0.3 else Exponential(mean),
        seed=seed,
        faults=fair_faults(Faults.draw(rng)) if fair else Faults.draw(rng),
        slots=draw_slots(rng, places, nodes, crowded=crowded, unlike=unlike),
        limits=Limits(
            queue_jobs=ROOMY if crowded else rng.choice([1, 2, 4, 64]),
            queue_bytes=1_000_000 if crowded else rng.choice([1_500, 5_000, 1_000_000]),
            proposal_bytes=rng.choice([16, 100, 1000]),
            view=rng.choice([1, 3, 128]),
            remembered=rng.choice([4096, 4096, 4096, 4]),
            layers=rng.choice([LAYERS, LAYERS, 1]),
            fanout=rng.choice([FANOUT, FANOUT, 2]),
            previews=previews.choice([32, 4, 1]),
            preview_bytes=previews.choice([1_000_000, 2_000]),
            shown_bytes=previews.choice([1_000_000, 600]),
        ),
        timing=Timing(
            gossip=gossip,
            silence=rng.choice([2.5, 5.0]) * gossip,
            deadline=rng.choice([1.0, PATIENCE / 2]),
            deadline_max=PATIENCE,
            probe=lives.choice([0.05, 0.2, 1.0]),
            pardon=lives.choice([1.0, 120.0]),
            forgive=foes.choice([2.0, 600.0]),
        ),
        policy=draw_eager(
            eager,
            places.choice([*POLICIES.values()]) if named else draw_live(lives, draw_policy(rng)),
        ),
        graph=draw_graph(places, nodes) if places.random() < 0.25 else None,
        links=INSTANT if fair else draw_links(places, nodes),
        services=draw_services(places, nodes, mean, seed) if unlike else None,
        clocks=draw_clocks(foes, nodes) if foes.random() < 0.25 else (),
        liars=draw_liars(foes, nodes, seed) if lying else {},
        trusted=draw_trusted(foes, nodes) if foes.random() < 0.15 else (),
        reads=reads,
        watch=Watch(),
        show=Readers(),
        record=True,
    )


def draw_slots(
    rng: Random, places: Random, nodes: int, *, crowded: bool, unlike: bool
) -> int | tuple[int, ...]:
    """Draw how many jobs a node serves at once, for all alike or for each."""
    alike = 1 if crowded else rng.randint(1, 3)
    return tuple(places.randint(1, 3) for _ in range(nodes)) if unlike else alike


def draw_graph(rng: Random, nodes: int) -> tuple[tuple[int, ...], ...]:
    """Draw a connected graph: a tree, and some edges more, of which some lead one way."""
    peers: list[dict[int, None]] = [{} for _ in range(nodes)]
    for node in range(1, nodes):
        other = rng.randrange(node)
        peers[node][other] = peers[other][node] = None
    for _ in range(rng.randint(0, nodes)):
        one, other = rng.randrange(nodes), rng.randrange(nodes)
        if one != other:
            peers[one][other] = None
    return tuple(tuple(sorted(each)) for each in peers)


def draw_links(rng: Random, nodes: int) -> Links:
    """Draw what links do by themselves, beside what the weather does to them."""
    delay = None
    if rng.random() < 0.2:
        delay = rng.choice([Fixed(0.05), Uniform(0.1, 0.4), LogNormal(0.2, cv=1.0)])
    count = rng.randint(1, 2) if rng.random() < 0.25 else 0
    partitions = tuple(draw_partition(rng, nodes, 15.0) for _ in range(count))
    return Links(delay, loss=rng.choice([0.0, 0.0, 0.0, 0.05]), partitions=partitions)


def draw_services(rng: Random, nodes: int, mean: float, seed: int) -> PerNode:
    """Draw nodes and roles of unlike pace, around a mean."""
    times = tuple(rng.choice([0.5, 1.0, 4.0, 20.0]) for _ in range(nodes))
    costs = Costs(1.0, rng.choice([1.0, 1.5]), rng.choice([1.0, 2.0]))
    law: Law = Fixed(mean) if mean == 0.0 else LogNormal(mean, common=rng.choice([0.0, 0.5]))
    return PerNode(Network((1.0,) * nodes, times, costs=costs), law, seed)


def fair_faults(faults: Faults) -> Faults:
    """Leave of the weather what does not keep peers from hearing one another."""
    return Faults(doubling=faults.doubling, crashes=faults.crashes, repair=1.0)


def draw_clocks(rng: Random, nodes: int) -> tuple[Clock, ...]:
    """Draw clocks that were set at any time, and go wrong by up to a tenth."""
    wrong = rng.choice([1e-5, 0.01, 0.1])
    clocks = (Clock(rng.uniform(0.0, 1e5), rng.uniform(1 - wrong, 1 + wrong)) for _ in range(nodes))
    return tuple(clocks)


def draw_liars(rng: Random, nodes: int, seed: int) -> dict[int, Liar]:
    """Draw who lies, how, and how often; it may be all of them."""
    count = rng.choice([1, 1, max(1, nodes // 2), nodes])
    return {
        node: Liar(
            kinds=(*rng.sample(LIES, rng.randint(1, 4)), rng.choice(["garble", "inject"])),
            often=rng.choice([0.05, 0.5, 1.0]),
            rng=Random(f"{seed}/liar/{node}"),
        )
        for node in rng.sample(range(nodes), min(count, nodes))
    }


def draw_trusted(rng: Random, nodes: int) -> tuple[tuple[NodeId, ...], ...]:
    """Draw whom each node may ask, of whom some may not exist; none means all."""
    names = [NodeId(f"n{number}") for number in range(1, nodes + 2)]
    return tuple(tuple(rng.sample(names, rng.randint(0, nodes))) for _ in range(nodes))


def draw_policy(rng: Random) -> Policy:
    """Draw the paper's policy, or one of any kind."""
    drawn = Policy(
        choice=rng.choice(["uniform", "loaded"]),
        order=rng.choice(ORDERS),
        spare=rng.choice([0, 0, 1, 2]),
        missing=rng.choice([0, 0, 1, 3]),
        retries=rng.choice([0, 1, 1, 2]),
        peer_jobs=rng.choice([None, 1, 2]),
        own_queries=rng.choice([None, None, 1, 3]),
        adaptive=rng.random() < 0.5,
    )
    return rng.choice([PAPER, drawn])


def draw_live(rng: Random, policy: Policy) -> Policy:
    """Leave a policy as it is, or let it go by what agents measure as well."""
    drawn = replace(
        policy,
        choice=rng.choice([policy.choice, "loaded", "loaded"]),
        probe=rng.choice([None, 0.0, 1.0, 5.0]),
        timely=rng.random() < 0.5,
        learning=rng.random() < 0.5,
    )
    return rng.choice([policy, policy, policy, drawn, drawn, LIVE])


def draw_eager(rng: Random, policy: Policy) -> Policy:
    """Draw for whose jobs models read ahead, where they can."""
    return replace(policy, eager=rng.choice(["own", "own", "all", "off"]))


def draw_recipe(rng: Random, *, wary: bool) -> Recipe:
    """Draw the paper's, or one of any words that go together; the wary trim more often."""
    words = [word for word in WORDS if rng.random() < (0.8 if wary and word == "trim" else 0.3)]
    if "best" in words and "seed" in words:
        words.remove("seed")
    return rng.choice([PAPER_RECIPE, Recipe.parse("+".join(words))])


@dataclass(slots=True)
class Fate:
    """What users and fate do to a world, and when; users leave after they asked."""

    world: World
    rng: Random
    last: float = 0.0
    asked: dict[QueryId, tuple[Mixture, float]] = field(default_factory=dict)
    _order: int = 0
    _plan: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng, faults = self.rng, self.world.faults
        nodes = [NodeId(f"n{number}") for number in range(1, self.world.nodes + 1)]
        span = rng.choice([0.0, 5.0, 20.0])
        recipes = Random(f"{self.world.seed}/recipes")
        most = CROWD if self.world.limits.queue_jobs == ROOMY else QUERIES
        for _ in range(rng.randint(1, most)):
            self._ask(
                rng.uniform(0.0, span),
                rng.choice(nodes),
                Mixture(rng.randint(0, LAYERS), rng.randint(0, FANOUT)),
                deadline=rng.choice([None, 0.0, 0.5, 3.0, PATIENCE, 1e9]),
                leaves=rng.choice([0.0, rng.uniform(0.0, 3.0)]) if rng.random() < 0.2 else None,
                recipe=draw_recipe(recipes, wary=bool(self.world.liars)),
            )
        for _ in range(faults.crashes):
            self._crash(rng.uniform(0.0, span + 5.0), rng.choice(nodes))

    def run(self) -> None:
        """Let it all happen."""
        while self._plan:
            at, _, act = heappop(self._plan)
            self.world.run(at)
            act()

    def _at(self, at: float, act: Callable[[], None]) -> None:
        self._order += 1
        heappush(self._plan, (at, self._order, act))

    def _ask(  # noqa: PLR0913  (all that a question has)
        self,
        at: float,
        node: NodeId,
        mixture: Mixture,
        *,
        deadline: float | None,
        leaves: float | None,
        recipe: Recipe,
    ) -> None:
        world = self.world

        def act() -> None:
            if node in world.agents:
                query = world.ask(node, mixture, deadline=deadline, recipe=recipe)
                wanted = world.timing.deadline if deadline is None else deadline
                seconds = min(wanted, world.timing.deadline_max) / rate_of(world, node)
                self.asked[query] = mixture, at + seconds
                if leaves is not None:
                    self._at(at + leaves, lambda: world.abandon(query))

        self.last = max(self.last, at)
        self._at(at, act)

    def _crash(self, at: float, node: NodeId) -> None:
        world = self.world

        def crash() -> None:
            if node in world.agents:
                world.crash(node)

        def repair() -> None:
            if node not in world.agents:
                world.birth(node)

        self._at(at, crash)
        if at + world.faults.repair < self.last + PATIENCE:
            self._at(at + world.faults.repair, repair)


def rate_of(world: World, node: str) -> float:
    """Tell how fast the clock of a node goes."""
    return world.clocks[int(node[1:]) - 1].rate if world.clocks else 1.0


def quiet(world: World) -> bool:
    """Tell whether nothing goes on, or is on its way, but what goes on for ever."""
    agents = world.agents.values()
    busy = any(agent.queries or len(agent.queue) or agent._shelf.held for agent in agents)
    if world.at_work or busy:
        return False
    return not any(
        isinstance(event, Received) and not isinstance(event.message, Gossip | Farewell | Probe)
        for _, _, _, _, event in world._heap
    )


def run_world(seed: int) -> World:
    """Live through the world of a seed; AssertionError where a promise is broken."""
    world = draw_world(seed)
    fate = Fate(world, Random(f"{seed}/fate"))
    fate.run()
    slowest = 2 * world.faults.delay + (SLOW if world.links.delay is not None else 0.0)
    last = max(world.now, fate.last) + 2 * PATIENCE + slowest + EPSILON
    while world.now < last and not quiet(world):
        world.run(min(world.now + 1.0, last))
    while world.at_work:
        assert world.now < fate.last + 1000.0, "services never end"
        world.run(world.now + 5.0)
    for agent in world.agents.values():
        rests(agent)
    for query, (mixture, deadline) in fate.asked.items():
        ended_well(query, mixture, deadline, world, rate_of(world, query.split("/")[0]))
    for name, records in world.histories.items():
        Life(name).live(records, remembered=world.limits.remembered)
        difference = replay(records, world.twin(name))
        assert difference is None, f"{name} would not want the same at step {difference}"
    return world


def trouble(seed: int) -> str:
    """Live through a world; say what is wrong with it, in a line, if anything is."""
    try:
        run_world(seed)
    except Exception as error:  # noqa: BLE001  (whatever breaks a world is what we look for)
        where = traceback.extract_tb(error.__traceback__)[-1]
        why = str(error) or f"{where.name}: {where.line}"
        return f"python -m tests.worlds --seed {seed}  # {type(error).__name__}: {why}"
    return ""
