"""Who is here by their tokens, and when a session is to be opened anew to find them again.

Three things that Zenoh does not get over by itself, or not soon:

- A node that was stopped, or slept, for longer than a lease: its peers ended their links and make
  new ones, and where its own end of the old one is still there, Zenoh takes both for one. Keys
  are then mistaken for others, for ever.
- The same after a cut that only one end noticed: a peer is here by its token, and unheard.
- A node that lost all peers: it is looked for every 8 s, but every second by a young session.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from dmoa.core.names import NodeId

TICK = 1.0
"""Seconds between two looks."""
SLEPT = 4.0
"""Seconds without a look, and without work, after which links are not trusted: most of a lease."""
IDLE = 0.25
"""The part of those seconds in which this process worked at most, else it was only busy."""
UNHEARD = 10.0
"""Seconds without a digest of a peer whose token is here, after which its link is not trusted:
twice a lease, as Zenoh takes up to one and a half to see that a cable is cut. Until then to leave
the session would wait for that peer."""
HABIT = 3
"""Digests after which a peer is known to send more."""
SEEK_PAUSE = 4.0
"""Seconds between two sessions of a node that is alone; in each it looks for others thrice."""
SEEK_SECONDS = 600.0
"""For so long; who is alone for longer is found within 8 s, as Zenoh has it."""
COMPANY = 1024
"""Tokens that are counted at most."""


@dataclass(slots=True)
class _Peer:
    digests: int
    heard: float


def _awake() -> float:
    """Tell seconds that go on while the machine sleeps, where it can tell them."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Company:
    """Watches who is here, and has `renew` open the session anew where that helps.

    Only what `searches` by multicast can find peers by a young session. `clock` tells the seconds
    that passed, those asleep included, and `work` those that this process worked.
    """

    def __init__(
        self,
        renew: Callable[[], Awaitable[None]],
        *,
        searches: bool,
        clock: Callable[[], float] = _awake,
        work: Callable[[], float] = time.process_time,
    ) -> None:
        self._renew = renew
        self._searches = searches
        self._clock = clock
        self._work = work
        self._here: dict[NodeId, _Peer] = {}
        self._alone: float | None = None
        self._sought = 0.0
        self._ended = asyncio.Event()
        self._watching = asyncio.create_task(self._watch(), name="watch the company")

    def came(self, peer: NodeId) -> None:
        """Take the coming of a peer's token."""
        if len(self._here) < COMPANY:
            self._here[peer] = _Peer(0, asyncio.get_running_loop().time())
            self._alone = None

    def heard(self, peer: NodeId) -> None:
        """Take a digest of a peer."""
        if (known := self._here.get(peer)) is not None:
            known.digests += 1
            known.heard = asyncio.get_running_loop().time()

    def left(self, peer: NodeId) -> None:
        """Take the going of a peer's token."""
        if self._here.pop(peer, None) is not None and not self._here:
            self._alone = asyncio.get_running_loop().time()
            self._sought = 0.0

    def clear(self) -> None:
        """Forget who is here, as the session is left."""
        if self._here and self._alone is None:
            self._alone = self._sought = asyncio.get_running_loop().time()
        self._here.clear()

    def cancel(self) -> None:
        """Watch no more, at once."""
        self._watching.cancel()

    async def close(self) -> None:
        """Watch no more, once what is under way is done."""
        self._ended.set()
        await asyncio.wait({self._watching})

    async def _watch(self) -> None:
        looked, worked = self._clock(), self._work()
        while not self._ended.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), TICK)
            now, work = self._clock(), self._work()
            away, busy = now - looked, work - worked
            looked, worked = now, work
            slept = away > SLEPT and busy < IDLE * away
            if not self._ended.is_set() and (slept or self._unheard() or self._lonely()):
                await self._renew()

    def _unheard(self) -> bool:
        now = asyncio.get_running_loop().time()
        return any(
            peer.digests >= HABIT and now - peer.heard > UNHEARD for peer in self._here.values()
        )

    def _lonely(self) -> bool:
        """Tell whether it is time to look for others, as there are none any more."""
        now = asyncio.get_running_loop().time()
        if not self._searches or self._alone is None or now - self._alone > SEEK_SECONDS:
            return False
        if self._sought and now - self._sought < SEEK_PAUSE:
            return False
        self._sought = now
        return True
