"""How lists of revocations travel: told to newcomers and now and then, and taken from anybody."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import zenoh

from dmoa.core.names import NodeId
from dmoa.net import keys
from dmoa.net.identity import Identity
from dmoa.net.zenoh_bridge import put

NOTICE_BYTES = 256 * 1024
"""Longest list that is looked at."""
NOTICES = 16
"""Lists that are looked at at once; more are dropped, and come again."""
NOTICE_INTERVAL = 30.0
"""Seconds after which the own list is told again, for those whom it did not reach."""


class Notices:
    """The lists of one node; `adopted` is awaited once a newer one came than was known."""

    def __init__(
        self, node: NodeId, identity: Identity | None, adopted: Callable[[], Awaitable[None]]
    ) -> None:
        self._node = node
        self._identity = identity
        self._adopted = adopted
        self._told = -math.inf
        self._adopting: set[asyncio.Task[None]] = set()

    def tell(self, session: zenoh.Session | None, *, again: bool = False) -> None:
        """Publish the own list; `again` where that was not done for long."""
        now = asyncio.get_running_loop().time()
        if session is None or self._identity is None:
            return
        if again and now - self._told < NOTICE_INTERVAL:
            return
        self._told = now
        if notice := self._identity.notice:
            put(session, keys.notice(self._node), notice)

    def take(self, notice: bytes) -> None:
        """Take a list, from anybody: the realm's authority signed it."""
        identity = self._identity
        if identity is None or notice == identity.notice or len(notice) > NOTICE_BYTES:
            return
        if len(self._adopting) < NOTICES:
            task = asyncio.create_task(self._adopt(identity, notice), name="adopt a notice")
            self._adopting.add(task)
            task.add_done_callback(self._adopting.discard)

    async def close(self) -> None:
        """Wait until what came was taken."""
        if self._adopting:
            await asyncio.wait(self._adopting)

    async def _adopt(self, identity: Identity, notice: bytes) -> None:
        if await asyncio.to_thread(identity.adopt, notice):
            await self._adopted()
