"""GET /v1/reach: whom this node reaches, and what they say of their clocks and of each other."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from importlib.metadata import version

from dmoa.api.shapes import Json
from dmoa.core.names import NodeId
from dmoa.errors import DmoaError
from dmoa.runtime.node import Node

AT_ONCE = 16
"""Peers that are called on at a time."""


@dataclass(slots=True)
class Reach:
    """The way from one node to all its peers; only one call on all of them is under way."""

    node: Node
    _calling: asyncio.Task[list[Json]] | None = None

    async def told(self) -> Json:
        """Call on every peer; BackendUnavailableError until the node is open.

        Who asks while a call is under way gets its outcome: nobody can make a node call more.
        """
        peers = [digest.node for digest, _ in self.node.peers]
        if self._calling is None or self._calling.done():
            self._calling = asyncio.create_task(self._call(peers), name="roll call")
        rolls = await asyncio.shield(self._calling)
        return {"node": self.node.id, "version": version("dmoa"), "peers": rolls}

    async def _call(self, peers: list[NodeId]) -> list[Json]:
        room = asyncio.Semaphore(AT_ONCE)

        async def one(peer: NodeId) -> Json:
            async with room:
                return await self._ask(peer)

        return list(await asyncio.gather(*(one(peer) for peer in peers)))

    async def _ask(self, peer: NodeId) -> Json:
        """Call on one peer; whatever keeps it from answering is told as its flaw.

        Its clock is compared with ours in the middle between question and answer.
        """
        told: Json = {"node": peer, "version": "", "hears": [], "flaw": ""}
        told |= {"ahead_seconds": 0.0, "away_seconds": 0.0}
        try:
            roll = await self.node.roll(peer)
        except DmoaError as error:
            return told | {"flaw": error.message}
        middle = time.time() - roll.round_trip / 2
        return told | {
            "version": roll.release,
            "ahead_seconds": round(roll.clock - middle, 4),
            "away_seconds": round(roll.round_trip, 4),
            "hears": list(roll.peers),
        }
