"""Agents that are shown how their peers stand, which no number of digests could tell so freshly."""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import inf
from random import Random
from typing import Any

from dmoa.core.agent import Agent
from dmoa.core.digest import Digest
from dmoa.core.names import NodeId
from dmoa.core.view import View


class _Clairvoyance(View):
    """A view that shows how the peers stand right now."""

    def __init__(self, size: int, look: Callable[[], Collection[Agent]]) -> None:
        super().__init__(size=size, silence=inf)
        self._look = look

    def _see(self, now: float) -> None:
        for agent in self._look():
            peer = self._peers.get(agent.node)
            if peer is None:
                continue
            length, time = len(agent.queue), agent.gauge.service_time()
            if length != peer.digest.length or time != peer.digest.service_time:
                profile = agent.profile
                peer.digest = Digest(
                    node=agent.node,
                    incarnation=1,
                    sequence=0,
                    model=profile.model,
                    slots=profile.slots,
                    length=length,
                    service_time=time,
                    reads=profile.reads and agent.policy.eager == "all",
                )
            peer.length = length
            peer.heard, peer.told, peer.left = now, now, False

    def sample(
        self, count: int, now: float, rng: Random, besides: Collection[NodeId] = ()
    ) -> list[NodeId]:
        """Draw among those who are there now, and know how they stand."""
        self._see(now)
        return super().sample(count, now, rng, besides)

    def crowd(self, own: float, now: float) -> float:
        """Tell how crowded it is now."""
        self._see(now)
        return super().crowd(own, now)


class Seer(Agent):
    """An agent that is shown how its peers stand, whatever it was told."""

    def __init__(self, *who: Any, look: Callable[[], Collection[Agent]], **how: Any) -> None:
        size = how["limits"].view
        super().__init__(*who, view=_Clairvoyance(size, look), **how)
