"""Who is here by their tokens, and what is done when the last of them is gone.

Zenoh looks for others by multicast every second while a session is young, and every 8 s later
on. A node that was cut off, or stopped and went on, should not wait for that: while it is alone
where it had company, its session is opened anew now and then, for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from dmoa.core.names import NodeId

SEEK_PAUSE = 4.0
"""Seconds between two sessions of a node that is alone; in each it looks for others thrice."""
SEEK_SECONDS = 600.0
"""For so long; who is alone for longer is found within 8 s, as Zenoh has it."""
COMPANY = 1024
"""Tokens that are counted at most."""


class Company:
    """Counts who is here, and lets `seek` be done while nobody is who was."""

    def __init__(self, seek: Callable[[], Awaitable[None]]) -> None:
        self._seek = seek
        self._here: set[NodeId] = set()
        self._seeking: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()

    def came(self, peer: NodeId) -> None:
        """Take the coming of a peer."""
        if len(self._here) < COMPANY:
            self._here.add(peer)

    def left(self, peer: NodeId) -> None:
        """Take the going of a peer; when it was the last, others are sought."""
        if peer not in self._here:
            return
        self._here.discard(peer)
        if not self._here and self._seeking is None and not self._ended.is_set():
            self._seeking = asyncio.create_task(self._search(), name="seek company")

    def clear(self) -> None:
        """Forget who is here, as the session is left."""
        self._here.clear()

    async def close(self) -> None:
        """Seek nobody any more."""
        self._ended.set()
        if self._seeking is not None:
            await asyncio.wait({self._seeking})

    async def _search(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + SEEK_SECONDS
        try:
            while not self._here and loop.time() < until and not self._ended.is_set():
                await self._seek()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), SEEK_PAUSE)
        finally:
            self._seeking = None
