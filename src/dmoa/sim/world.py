"""Many agents on one virtual clock: the product's own protocol, dreamt.

Happenings are kept in a heap of (time, order, node, happening); ties are broken by the
order of scheduling. Arrivals, services, the models' faults, and each mishap of the links draw
from streams of their own, so that switching one on does not reshuffle the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from random import Random
from typing import assert_never

from dmoa.core.agent import Agent
from dmoa.core.effects import (
    Announce,
    Answer,
    Cancel,
    Deliver,
    Effect,
    Fail,
    Read,
    Refusal,
    Report,
    Rest,
    Send,
    Serve,
)
from dmoa.core.events import (
    Abandoned,
    Asked,
    Event,
    Faltered,
    Lost,
    Offended,
    Received,
    Served,
    Woke,
)
from dmoa.core.history import Record, fingerprint
from dmoa.core.job import Fault, Profile, Turn
from dmoa.core.limits import Limits, Timing
from dmoa.core.messages import Farewell, Gossip, Message, Preview, Propose
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.core.policy import PAPER, Policy
from dmoa.core.recipe import PAPER_RECIPE, Recipe
from dmoa.sim.faults import CALM, Clock, Faults
from dmoa.sim.liars import Liar
from dmoa.sim.links import INSTANT, Carrier, Links
from dmoa.sim.models import Models
from dmoa.sim.services import Alike, Services
from dmoa.theory.laws import Law

_SERVICE_ENDS = (Served, Faltered)
_WOKE = Woke()
_AT_ONCE = (0.0,)


@dataclass(slots=True)
class End:
    """How one query ended: an answer or a refusal, and when (seconds)."""

    asked: float
    ended: float | None = None
    result: Answer | Refusal | None = None
    ends: int = 0
    abandoned: bool = False
    orphaned: bool = False


@dataclass(slots=True)
class World:
    """Agents, links and models on virtual time.

    Nodes are named n1, n2 and so on; where they are numbered, it is from 0. `service` is the
    law of all jobs, unless `services` tell how long each takes. With an `overlap` that share of
    a job that reads proposals can be read ahead (`sim/models.py`), where the policy has it; with
    `reads` alone it is, and saves nothing. `slots` may be one for each node. `graph` lists for
    each node the peers that it knows: only their digests reach it; None lets everybody know
    everybody. `clocks` are those of the nodes, which are else all right; `liars` lie, by their
    number; `trusted` are for each node the peers that it may ask.
    `watch` is told every agent and event after it happened, `show` with what the agent wanted,
    `heed` when a query ended, which then is not kept in `queries` any more. With `record`,
    each life of each node keeps its history. `events` counts what agents were told, `served`
    the services that were completed.
    """

    nodes: int
    service: Law
    seed: int
    faults: Faults = CALM
    slots: int | Sequence[int] = 1
    limits: Limits = field(default_factory=Limits)
    timing: Timing = field(default_factory=Timing)
    policy: Policy = PAPER
    graph: Sequence[Sequence[int]] | None = None
    links: Links = INSTANT
    services: Services | None = None
    clocks: Sequence[Clock] = ()
    liars: Mapping[int, Liar] = field(default_factory=dict[int, Liar])
    trusted: Sequence[tuple[NodeId, ...]] = ()
    reads: bool = False
    overlap: float = 0.0
    mind: Callable[..., Agent] = Agent
    heed: Callable[[QueryId, End], None] | None = None
    watch: Callable[[Agent, Event], None] | None = None
    show: Callable[[Agent, Event, Sequence[Effect]], None] | None = None
    record: bool = False
    now: float = 0.0
    events: int = 0
    served: int = 0
    agents: dict[NodeId, Agent] = field(default_factory=dict[NodeId, Agent], init=False)
    queries: dict[QueryId, End] = field(default_factory=dict[QueryId, End], init=False)
    histories: dict[str, list[Record]] = field(default_factory=dict[str, list[Record]], init=False)
    births: dict[str, float] = field(default_factory=dict[str, float], init=False)
    _heap: list[tuple[float, int, NodeId, int, Event]] = field(
        default_factory=list[tuple[float, int, NodeId, int, Event]], init=False
    )
    _order: int = field(default=0, init=False)
    _lives: dict[NodeId, int] = field(default_factory=dict[NodeId, int], init=False)
    _awake: dict[NodeId, float] = field(default_factory=dict[NodeId, float], init=False)
    _working: set[tuple[NodeId, int, JobId]] = field(
        default_factory=set[tuple[NodeId, int, JobId]], init=False
    )
    _numbers: dict[NodeId, int] = field(default_factory=dict[NodeId, int], init=False)
    _knowing: dict[NodeId, tuple[NodeId, ...]] = field(
        default_factory=dict[NodeId, tuple[NodeId, ...]], init=False
    )
    _carrier: Carrier | None = field(init=False)
    _models: Models = field(init=False)
    _rumours: Random = field(init=False)

    def __post_init__(self) -> None:
        """Bring every agent to life at time 0, already knowing the others of its graph."""
        links = self.faults.over(self.links)
        self._carrier = None if links == INSTANT else Carrier(links, self.seed)
        times = self.services or Alike(self.service, Random(f"{self.seed}/services"))
        dice = Random(f"{self.seed}/models")
        self._models = Models(times, self.faults, dice, self.overlap)
        self._rumours = Random(f"{self.seed}/rumours")
        self._numbers = {NodeId(f"n{number + 1}"): number for number in range(self.nodes)}
        names = list(self._numbers)
        self._knowing = {node: self._known_by(node, names) for node in names}
        for node in names:
            self.birth(node)
        for digest in [agent.digest(self.local(agent.node)) for agent in self.agents.values()]:
            for node in self._knowing[digest.node]:
                self._tell(self.agents[node], Received(digest.node, Gossip(digest)))

    def _known_by(self, node: NodeId, names: list[NodeId]) -> tuple[NodeId, ...]:
        """List the nodes that know a node, and so are reached by its digests."""
        graph, number = self.graph, self._numbers[node]
        return tuple(
            other
            for at, other in enumerate(names)
            if other != node and (graph is None or number in graph[at])
        )

    # -- what can be done to it --------------------------------------------------------

    def birth(self, node: NodeId) -> None:
        """Start a node, empty."""
        self._lives[node] = self._lives.get(node, 0) + 1
        life = f"{node}/{self._lives[node]}"
        self.births[life] = self.local(node)
        self.agents[node] = self.twin(life)
        self._rouse(self.agents[node])

    def twin(self, life: str) -> Agent:
        """Make an agent as it was at the birth of a life (`n1/2` is the second of n1)."""
        node, incarnation = life.split("/")
        return self.mind(
            NodeId(node),
            self._profile(self._numbers[NodeId(node)]),
            rng=Random(f"{self.seed}/{life}"),
            now=self.births[life],
            incarnation=int(incarnation),
            limits=self.limits,
            timing=self.timing,
            policy=self.policy,
            **({"trusted": self.trusts(NodeId(node))} if self.trusted else {}),
        )

    def trusts(self, node: NodeId) -> tuple[NodeId, ...]:
        """List the peers that a node may ask; none where that is all of them."""
        return self.trusted[self._numbers[node]] if self.trusted else ()

    def local(self, node: NodeId) -> float:
        """Tell what the clock of a node shows now (seconds)."""
        return self.clocks[self._numbers[node]].shows(self.now) if self.clocks else self.now

    def _profile(self, number: int) -> Profile:
        slots = self.slots if isinstance(self.slots, int) else self.slots[number]
        return Profile("law", slots=slots, reads=self.reads or self.overlap > 0.0)

    def crash(self, node: NodeId) -> None:
        """Take a node out, with all it knew; its own queries have no home any more."""
        del self.agents[node]
        self._awake.pop(node, None)
        self._working = {work for work in self._working if work[0] != node}
        self._models.reading.crash(node)
        for name, end in self.queries.items():
            if name.startswith(f"{node}/") and end.ended is None:
                end.orphaned = True
        if self.faults.notice:
            for peer in self._knowing[node]:
                self._schedule(self.now, peer, Received(node, Farewell()))

    def ask(
        self,
        node: NodeId,
        mixture: Mixture,
        *,
        deadline: float | None = None,
        turns: tuple[Turn, ...] | None = None,
        recipe: Recipe = PAPER_RECIPE,
    ) -> QueryId:
        """Ask a query at a node now; without `turns`, one that bears its name."""
        agent = self.agents[node]
        query = agent.mint()
        self.queries[query] = End(self.now)
        if turns is None:
            turns = (Turn("user", f"question {query}"),)
        self._tell(agent, Asked(query, turns, mixture, deadline=deadline, recipe=recipe))
        return query

    def abandon(self, query: QueryId) -> None:
        """The user of a query leaves."""
        node = NodeId(query.split("/")[0])
        end = self.queries.get(query)
        if node in self.agents and end is not None and end.ended is None:
            end.abandoned = True
            self._tell(self.agents[node], Abandoned(query))
            self._models.reading.forget(query)

    def run(self, until: float) -> None:
        """Let time pass up to `until` seconds."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.step()
        self.now = until

    def step(self) -> None:
        """Let the next thing happen, whenever that is; there is one as long as agents gossip."""
        self.now, _, node, life, event = heappop(self._heap)
        agent = self.agents.get(node)
        if agent is None or life not in (0, self._lives[node]):
            return
        if isinstance(event, Woke):
            if self._awake.get(node) == self.now:
                del self._awake[node]
            if agent.deadline > self.local(node):
                self._rouse(agent)
                return
        elif isinstance(event, _SERVICE_ENDS):
            work = (node, life, event.job)
            if work not in self._working:
                return
            self._working.discard(work)
            self.served += isinstance(event, Served)
        self._tell(agent, event)

    @property
    def next(self) -> float:
        """When the next thing happens (seconds), if nothing else does before."""
        return self._heap[0][0] if self._heap else inf

    @property
    def at_work(self) -> int:
        """Jobs in service anywhere."""
        return len(self._working)

    def fingerprint(self) -> str:
        """Hash everything that was recorded, of all lives in the order of their birth."""
        lives = [self.histories.get(life, []) for life in self.births]
        return fingerprint(record for history in lives for record in history)

    # -- how it happens ----------------------------------------------------------------

    def _schedule(self, at: float, node: NodeId, event: Event, life: int = 0) -> None:
        """Let something happen to a node, or only to one life of it."""
        self._order += 1
        heappush(self._heap, (at, self._order, node, life, event))

    def _rouse(self, agent: Agent) -> None:
        """Schedule the agent's next waking; one that is scheduled before will see to it."""
        deadline = agent.deadline
        if self.clocks:
            deadline = max(self.now, self.clocks[self._numbers[agent.node]].moment(deadline))
        if deadline < self._awake.get(agent.node, inf):
            self._awake[agent.node] = deadline
            self._schedule(deadline, agent.node, _WOKE, self._lives[agent.node])

    def _tell(self, agent: Agent, event: Event) -> None:
        now = self.local(agent.node)
        effects = agent.handle(event, now)
        self.events += 1
        if self.show is not None:
            self.show(agent, event, effects)
        if self.record:
            life = f"{agent.node}/{self._lives[agent.node]}"
            record = Record(now, event, tuple(effects))
            self.histories.setdefault(life, []).append(record)
        for effect in effects:
            self._do(agent, effect)
        self._rouse(agent)
        if self.watch is not None:
            self.watch(agent, event)

    def _do(self, agent: Agent, effect: Effect) -> None:
        match effect:
            case Report():
                pass
            case Read(job=job) if self._is_over(job.query):
                pass  # a peer does not know yet that it will not be asked
            case Read() | Rest():
                self._models.read(agent.node, effect, self.now)
            case Send():
                self._carry(agent.node, effect.to, effect.message)
            case Serve():
                self._serve(agent.node, effect)
            case Cancel():
                self._stop(agent.node, effect.job)
            case Announce():
                self._gossip(agent.node, Gossip(effect.digest))
            case Deliver():
                self._end(effect.query, effect.answer)
            case Fail():
                self._end(effect.query, effect.refusal)
            case _:
                assert_never(effect)

    def _is_over(self, query: QueryId) -> bool:
        end = self.queries.get(query)
        return end is None or end.ends > 0 or end.abandoned

    def _end(self, query: QueryId, result: Answer | Refusal) -> None:
        self._models.reading.forget(query)
        end = self.queries[query]
        end.ends += 1
        end.ended, end.result = self.now, result
        if self.heed is not None:
            del self.queries[query]
            self.heed(query, end)

    def _gossip(self, sender: NodeId, gossip: Gossip) -> None:
        """Carry a digest to all who know the sender, and now and then a false hint that it left."""
        for to in self._knowing[sender]:
            if to in self.agents:
                if self.faults.rumours and self._rumours.random() < self.faults.rumours:
                    self._schedule(self.now, to, Received(sender, Farewell()))
                self._carry(sender, to, gossip)

    def _carry(self, sender: NodeId, to: NodeId, message: Message) -> None:
        """Carry a message, or what its sender makes of it where that is a liar."""
        liar = self.liars.get(self._numbers[sender]) if self.liars else None
        if liar is None:
            self._bring(sender, to, message)
            return
        for where, said in liar.say(sender, to, message):
            if isinstance(said, str):
                self._schedule(self.now, where, Offended(sender, said))
            elif where != sender:
                self._bring(sender, where, said)

    def _bring(self, sender: NodeId, to: NodeId, message: Message) -> None:
        """Bring a message over a link that may lose, delay or double it."""
        carrier, numbers = self._carrier, self._numbers
        delays = _AT_ONCE
        if carrier is not None:
            delays = carrier.carry(numbers[sender], numbers[to], self.now)
        for delay in delays:
            offer = isinstance(message, Propose | Preview)
            if offer and to not in self.agents and self.faults.notice:
                self._schedule(self.now + delay, sender, Lost(to, message.name))
            else:
                self._schedule(self.now + delay, to, Received(sender, message))

    def _serve(self, node: NodeId, effect: Serve) -> None:
        """Let the model take its time, then complete or fail."""
        life = self._lives[node]
        work = (node, life, effect.job.id)
        assert work not in self._working, "a job is served twice at once"
        self._working.add(work)
        seconds, outcome = self._models.serve(node, self._numbers[node], effect, self.now)
        self._schedule(self.now + seconds, node, outcome, life)

    def _stop(self, node: NodeId, job: JobId) -> None:
        """Stop a service at once, unless it is deaf; its scheduled end then finds it gone."""
        if self._models.deaf():
            return
        life = self._lives[node]
        self._schedule(self.now, node, Faltered(job, Fault("stopped")), life)
