"""A setting dreamt: the product's own agents live through it, and the same is measured.

This is the engine that everything else is held to. It is slower than the kernel by a factor
of hundreds, and knows what the kernel does not: links that delay and lose, partitions,
crashes, failing models.

How fresh the agents' knowledge is, is the setting's `gossip`: a digest every so many seconds.
At 0 it is always fresh, which no number of digests can make it; then an agent that is about
to choose by load is shown how its peers stand at this very moment. Where the policy never
looks at load, and the weather is calm, nobody gossips at all: it would change nothing.

A policy that goes by what agents measure (`Policy.lives`) is dreamt as nodes live it: with
digests as often as theirs where the setting's `gossip` is 0, with probes, and with the
setting's deadline as that of each query.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass, replace
from functools import partial
from math import inf, isfinite
from random import Random
from typing import Any

from dmoa.core.agent import Agent
from dmoa.core.effects import Answer, Refusal
from dmoa.core.limits import Limits, Timing
from dmoa.core.names import NodeId, QueryId
from dmoa.errors import UsageError
from dmoa.sim.arrivals import chunks, window
from dmoa.sim.draws import service
from dmoa.sim.faults import CALM, Faults
from dmoa.sim.kernel_rules import SAMPLES
from dmoa.sim.links import INSTANT, Links
from dmoa.sim.outcome import Outcome
from dmoa.sim.seer import Seer
from dmoa.sim.services import Numbered
from dmoa.sim.setting import Setting
from dmoa.sim.tally import Sums, Tally
from dmoa.sim.world import End, World

_ENDLESS = 2**62
"""Jobs and bytes, which nobody ever counts up to."""
_BATCH = 1024
"""Answers that are tallied at once."""
_SILENCE = 5.0
"""Digests of a peer that are missed until it is thought dead."""

Progress = Callable[[int, int], None]
"""Told how many queries were asked so far, and of how many."""


def dream(  # noqa: PLR0913  (what may differ from a live network, and whom to tell)
    setting: Setting,
    *,
    clock: Callable[[], float] = lambda: 0.0,
    progress: Progress | None = None,
    faults: Faults = CALM,
    links: Links = INSTANT,
    limits: Limits | None = None,
    timing: Timing | None = None,
) -> Outcome:
    """Let agents live through a setting; `clock` tells CPU seconds.

    Patience is endless, as the theory has it, unless messages or nodes may vanish without a
    word: then queries end at the setting's deadline, with whatever proposals are in by then,
    and a setting without one is refused (UsageError). In bad weather digests are sent every
    `gossip` seconds, or every mean service time where that is 0. Queries end at the deadline
    as well where the policy goes by what agents measure.

    `limits` and `timing` are those of nodes that are to be dreamt as they are: otherwise
    nothing is bounded but by the policy.
    """
    began = clock()
    life = Dream(setting, faults, links, limits=limits, timing=timing)
    life.live(progress)
    return life.outcome(clock() - began)


# -- the run --------------------------------------------------------------------------


def _vanishes(faults: Faults, links: Links) -> bool:
    """Tell whether something may be lost without a word."""
    lossy = faults.loss or links.loss or links.partitions
    return bool(lossy) or (faults.crashes > 0 and not faults.notice)


def _timing_of(setting: Setting, faults: Faults, links: Links) -> Timing:
    """Tell how often agents gossip (0 if they need not, as they see), and how long they wait."""
    network, policy = setting.network, setting.policy
    if policy.lives:
        gossip = setting.gossip or Timing().gossip
        return Timing(
            gossip=gossip, silence=gossip * _SILENCE, deadline=setting.deadline, deadline_max=inf
        )
    looks = policy.choice == "loaded" or policy.adaptive or policy.spare > 0
    calm = faults == CALM and not (links.loss or links.doubling or links.partitions)
    gossip = setting.gossip if looks else inf
    if not calm:
        gossip = setting.gossip or sum(network.service_times) / network.nodes
    silence = (gossip or inf) * _SILENCE
    return Timing(gossip=gossip, silence=silence, deadline=inf, deadline_max=inf)


def _limits_of(setting: Setting) -> Limits:
    """Bound nothing that the setting does not bound."""
    return Limits(
        queue_jobs=_ENDLESS,
        queue_bytes=_ENDLESS,
        view=max(1, setting.network.nodes - 1),
        layers=setting.mixture.layers,
        fanout=setting.mixture.fanout,
    )


def _world_of(  # noqa: PLR0913, PLR0917  (the setting, and what it is not said in)
    setting: Setting,
    faults: Faults,
    links: Links,
    limits: Limits,
    timing: Timing,
    number: Callable[[QueryId], int],
    **how: Any,
) -> World:
    """Make the world of a setting."""
    network = setting.network
    if timing.gossip == 0.0:
        timing = replace(timing, gossip=inf)
        how["mind"] = partial(Seer, look=lambda: agents)
    agents: Collection[Agent] = ()
    world = World(
        network.nodes,
        setting.law,
        setting.seed,
        faults=faults,
        slots=network.slots,
        limits=limits,
        timing=timing,
        policy=setting.policy,
        graph=network.graph,
        links=links,
        services=Numbered(service(setting), number),
        overlap=network.costs.overlap,
        **how,
    )
    agents = world.agents.values()
    return world


@dataclass(slots=True)
class _Stay:
    """Seconds that jobs spent at a node while it was counted."""

    waiting: float = 0.0
    length: float = 0.0
    busy: float = 0.0

    def add(self, agent: Agent, born: float, now: float, *, sign: float) -> None:
        """Take what an agent has seen since its birth, or take it off."""
        gauge, lived = agent.gauge, sign * (now - born)
        gauge.advance(now)
        self.waiting += lived * gauge.mean_waiting
        self.length += lived * gauge.mean_length
        self.busy += lived * gauge.busy * agent.profile.slots


class Dream:
    """One run of a setting: its world, its users, and what is measured.

    `nodes` are the names of the nodes, `numbers` those of the queries under way. With
    `record`, the world keeps its histories, `numbers` is of all queries, `told` lists every
    answer (number, asked, ended, proposals), and all queries are followed to their end.
    """

    def __init__(  # noqa: PLR0913  (what may differ from a live network)
        self,
        setting: Setting,
        faults: Faults = CALM,
        links: Links = INSTANT,
        *,
        record: bool = False,
        limits: Limits | None = None,
        timing: Timing | None = None,
    ) -> None:
        """Lay out the world; nothing happens yet."""
        self._setting = setting
        limits = limits or _limits_of(setting)
        timing = timing or _timing_of(setting, faults, links)
        self._deadline = timing.deadline
        if setting.policy.lives:
            self._deadline = min(setting.deadline, timing.deadline)
        if _vanishes(faults, links):
            self._deadline = min(setting.deadline, timing.deadline)
            if not isfinite(self._deadline):
                raise UsageError(
                    "where messages or nodes vanish without a word, endless patience never ends",
                    hint="give a deadline in seconds",
                )
        self._counted = window(setting)
        self._tally = Tally(setting, self._counted)
        self._asked = self._refused = self._under_way = 0
        self._followed = False
        self.numbers: dict[QueryId, int] = {}
        self._answers: list[tuple[int, float, float, int]] = []
        self.told: list[tuple[int, float, float, int]] = []
        self._kept = record
        self.world = _world_of(
            *(setting, faults, links, limits, timing),
            self._number,
            heed=self._ended,
            record=record,
        )
        self.nodes = list(self.world.agents)
        self._births = dict.fromkeys(self.nodes, 0.0)
        self._stays = {node: _Stay() for node in self.nodes}
        self._counting = False
        self._backlog: list[float] = []
        self._plan = self._foresee(faults)

    # -- fate --------------------------------------------------------------------------

    def _foresee(self, faults: Faults) -> deque[tuple[float, Callable[[], None]]]:
        """Plan what is measured when, and who crashes."""
        begin, end = self._counted.begin, self._counted.end
        step = (end - begin) / SAMPLES
        plan: list[tuple[float, Callable[[], None]]] = [(begin, partial(self._count, -1.0))]
        plan += [(begin + sample * step, self._sample) for sample in range(SAMPLES)]
        plan += [(end, self._sample), (end, partial(self._count, 1.0))]
        rng = Random(f"{self._setting.seed}/crashes")
        for _ in range(faults.crashes):
            at, node = rng.uniform(0.0, end), rng.choice(self.nodes)
            plan.append((at, partial(self._crash, node)))
            plan.append((at + faults.repair, partial(self._repair, node)))
        return deque(sorted(plan, key=lambda each: each[0]))

    def _count(self, sign: float) -> None:
        """Begin to count, or end it."""
        self._counting = sign < 0.0
        for node, agent in self.world.agents.items():
            self._stays[node].add(agent, self._births[node], self.world.now, sign=sign)

    def _sample(self) -> None:
        here = sum(len(agent.queue) for agent in self.world.agents.values())
        self._backlog.append(float(here))

    def _crash(self, node: NodeId) -> None:
        world = self.world
        if node in world.agents:
            if self._counting:
                self._stays[node].add(world.agents[node], self._births[node], world.now, sign=1.0)
            self._under_way -= world.agents[node].queries
            world.crash(node)

    def _repair(self, node: NodeId) -> None:
        if node not in self.world.agents:
            self.world.birth(node)
            self._births[node] = self.world.now

    # -- users -------------------------------------------------------------------------

    def live(self, progress: Progress | None = None) -> None:
        """Let it all happen."""
        for _ in self.moments(progress):
            pass

    def moments(
        self, progress: Progress | None = None, *, finely: bool = False
    ) -> Generator[float, None, None]:
        """Let it all happen, and before each question say when that is (seconds).

        `finely`, it is said before whatever happens; that changes nothing.
        """
        for times, homes in chunks(self._setting):
            for at, home in zip(times, homes, strict=True):
                if finely:
                    yield from self._moments(float(at))
                yield float(at)
                self._pass(float(at))
                self._ask(self.nodes[int(home)])
            if progress is not None:
                progress(self._asked, self._counted.queries)
        self._pass(self._counted.end)
        self._tally_up()
        self._followed = self._kept or self._tally.follows(self._sums())
        while self._followed and self._under_way:
            yield self.world.next
            if self._plan and self._plan[0][0] <= self.world.next:
                self._pass(self._plan[0][0])
            else:
                self.world.step()
        self._tally_up()

    def _moments(self, until: float) -> Generator[float, None, None]:
        """Let time pass from one happening to the next, to the last before `until`."""
        while (at := self.world.next) < until:
            yield at
            self._pass(at)

    def _pass(self, at: float) -> None:
        """Let time pass, and what is planned happen."""
        while self._plan and self._plan[0][0] <= at:
            planned, act = self._plan.popleft()
            self.world.run(planned)
            act()
        self.world.run(at)

    def _ask(self, node: NodeId) -> None:
        """Ask at a node; where it is down the query is lost."""
        if node in self.world.agents:
            self._under_way += 1
            mixture = self._setting.mixture
            query = self.world.ask(node, mixture, deadline=self._deadline, turns=())
            if query in self.world.queries or self._kept:
                self.numbers[query] = self._asked
        self._asked += 1

    def _number(self, query: QueryId) -> int:
        """Tell the number of a query; one without is that which is being asked."""
        return self.numbers.get(query, self._asked)

    def _ended(self, query: QueryId, end: End) -> None:
        number = self._number(query)
        self._under_way -= 1
        if not self._kept:
            self.numbers.pop(query, None)
        match end.result:
            case Answer(trace=trace):
                made = [each for each in trace.jobs if each.role == "proposer"]
                proposals = sum(each.outcome == "ok" for each in made)
                self._answers.append((number, end.asked, self.world.now, proposals))
                if len(self._answers) >= _BATCH:
                    self._tally_up()
            case Refusal(code="overloaded"):
                self._refused += number >= self._counted.first
            case _:
                pass

    @property
    def asked(self) -> int:
        """Queries that were asked so far."""
        return self._asked

    # -- what came of it ---------------------------------------------------------------

    def _tally_up(self) -> None:
        if self._answers:
            self._tally.take(*zip(*self._answers, strict=True))
            if self._kept:
                self.told += self._answers
            self._answers = []

    def _sums(self) -> Sums:
        stays = self._stays.values()
        return Sums(
            sum(stay.waiting for stay in stays),
            sum(stay.length for stay in stays),
            [stay.busy for stay in stays],
            self._backlog,
            self.world.served,
            self._refused,
        )

    def outcome(self, cpu_seconds: float) -> Outcome:
        """Sum it up."""
        return self._tally.outcome(
            self._sums(), engine="world", cpu_seconds=cpu_seconds, followed=self._followed
        )
