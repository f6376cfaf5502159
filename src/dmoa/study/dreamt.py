"""A setting lived through on a real clock, by the product's own agents, for people who watch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from importlib.metadata import version
from itertools import islice
from typing import Final

from dmoa.core.agent import Agent
from dmoa.core.digest import Digest
from dmoa.core.effects import Effect, Trace
from dmoa.core.events import Event
from dmoa.core.limits import Limits
from dmoa.core.names import NodeId
from dmoa.core.policy import PAPER
from dmoa.errors import UsageError
from dmoa.runtime.pace import Pace
from dmoa.runtime.sights import (
    AbandonedSight,
    AnsweredSight,
    AskedSight,
    FailedSight,
    PaceSight,
    Scene,
    VisitSight,
    node_sight,
    sights_of,
    trace_sights,
)
from dmoa.runtime.watch import Audience, Past
from dmoa.sim.arrivals import window
from dmoa.sim.dream import Dream
from dmoa.sim.outcome import Outcome
from dmoa.sim.setting import Setting

NODES_MAX: Final = 128
"""That are drawn; 64 look good."""
LOOK: Final = 1.0
"""Seconds of a real clock between two looks at all nodes, for what changes by and by."""
QUERIES_SHOWN: Final = 200
"""Under way that a scene tells; of more, the latest of each node."""
_NEVER = 1e9
"""Seconds after which a node is missed: all are here, whether they gossip or not."""
_SHOWN = (AskedSight, VisitSight, AnsweredSight, FailedSight, AbandonedSight)
"""What is shown of an agent's steps; jobs are in the visits of their homes, and how nodes
stand is looked up."""


class WorldWatch(Audience):
    """Those who watch all nodes of a world."""

    def __init__(self, life: Dream, setting: Setting, pace: Pace) -> None:
        super().__init__(pace=pace)
        self._agents = life.world.agents
        self._mode = "paper" if setting.policy == PAPER else "steady"
        self._past = Past()
        self._lengths: dict[NodeId, int] = {}

    def saw(self, agent: Agent, event: Event, effects: Sequence[Effect], now: float) -> None:
        """Show what happened at one of the nodes, at `now` of the world's clock."""
        if not len(self):
            return
        for sight in sights_of(agent.node, event, effects, now):
            if isinstance(sight, _SHOWN):
                self.show(sight)
        if self._lengths.get(agent.node) != len(agent.queue):
            self._lengths[agent.node] = len(agent.queue)
            self.show(node_sight(agent.digest(now), now))

    def look(self, now: float) -> None:
        """Look at all nodes: remember how they stand, and show it."""
        for agent in self._agents.values():
            digest = agent.digest(now)
            self._past.take(digest, now)
            if len(self):
                self.show(node_sight(digest, now))

    def scene(self) -> Scene:
        """Tell how everything stands now; it is nobody's network."""
        now, limits = self.now, Limits()
        told = [trace_sights(trace, now) for trace in self._under_way(now)]
        return Scene(
            at=round(now, 4),
            version=version("dmoa"),
            origin="simulation",
            speed=self.speed,
            mode=self._mode,
            gossip=_NEVER,
            silence=_NEVER,
            layers_max=limits.layers,
            fanout_max=limits.fanout,
            nodes=tuple(node_sight(each.digest(now), now) for each in self._agents.values()),
            queries=tuple(asked for asked, _ in told),
            visits=tuple(visit for _, visits in told for visit in visits),
            past=self._past.told(),
        )

    def _under_way(self, now: float) -> list[Trace]:
        """List what is under way, as much of it as is shown."""
        each = max(1, QUERIES_SHOWN // len(self._agents))
        latest = (islice(reversed(agent.traces(now)), each) for agent in self._agents.values())
        return [trace for traces in latest for trace in traces]


class Dreamt:
    """A setting on a stage: it is dreamt while it is watched, `speed` seconds in one.

    `outcome` is what was measured, once it was played to its end: the same as without anybody
    watching. UsageError where it has more nodes than can be drawn.
    """

    def __init__(self, setting: Setting, speed: float = 1.0) -> None:
        if setting.network.nodes > NODES_MAX:
            raise UsageError(
                f"{NODES_MAX} nodes can be watched at most, not {setting.network.nodes}",
                hint="up to 64 look good",
            )
        self.setting = setting
        self.seconds = window(setting).end
        """Of the simulation, until the last query is asked."""
        self._dream = Dream(setting)
        self.pace = Pace(0.0, speed)
        self.limits = Limits()
        self.audience = WorldWatch(self._dream, setting, self.pace)
        self.is_open = True
        self.outcome: Outcome | None = None
        self._dream.world.show = self._saw

    @property
    def asked(self) -> int:
        """Queries that were asked so far."""
        return self._dream.asked

    async def play(self) -> None:
        """Live through it."""
        began = time.process_time()
        self.pace.begin()
        self.audience.show(PaceSight(self.pace.now, self.pace.speed))
        looking = asyncio.ensure_future(self._look())
        try:
            for at in self._dream.moments(finely=True):
                await self.pace.until(at)
            self.outcome = self._dream.outcome(time.process_time() - began)
        finally:
            looking.cancel()
            self.audience.look(self._dream.world.now)
            self.pace.end()
            self.audience.show(PaceSight(self.pace.now))

    async def _look(self) -> None:
        while True:
            self.audience.look(self.pace.now)
            await asyncio.sleep(LOOK)

    def _saw(self, agent: Agent, event: Event, effects: Sequence[Effect]) -> None:
        self.audience.saw(agent, event, effects, self._dream.world.local(agent.node))

    def close(self) -> None:
        """Show it no longer."""
        self.is_open = False

    # -- as a plan needs it ------------------------------------------------------------

    @property
    def digest(self) -> Digest:
        """How the first node stands."""
        return self._digests()[0]

    @property
    def peers(self) -> list[tuple[Digest, float]]:
        """How the others stand, just now."""
        return [(digest, 0.0) for digest in self._digests()[1:]]

    def _digests(self) -> list[Digest]:
        now = self.pace.now
        return [agent.digest(now) for agent in self._dream.world.agents.values()]
