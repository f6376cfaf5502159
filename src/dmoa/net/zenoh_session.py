"""One node's session with Zenoh: opened, left, and opened anew at the same endpoints."""

# pyright: reportUnknownMemberType=false
# (Zenoh's stubs leave out what a method returns that returns nothing.)

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import zenoh

from dmoa.core.limits import Limits
from dmoa.core.names import NodeId
from dmoa.errors import NetworkError
from dmoa.net import keys
from dmoa.net.identity import Identity
from dmoa.net.zenoh_bridge import leave
from dmoa.net.zenoh_config import ZenohSettings, choose_ports, explain, make_config

log = logging.getLogger(__name__)

OPENINGS = 3
"""Attempts to open, as another program may take a free port that was just chosen."""
FIRST_PAUSE = 0.2
"""Seconds before joining is tried again; twice as long each time."""
LONGEST_PAUSE = 5.0
"""And at most so many seconds."""

_Papers = tuple[frozenset[str], bytes, bytes]


@dataclass(frozen=True, slots=True)
class Doings:
    """What peers can do on a session: ask at these keys, publish at those, come and go."""

    queries: tuple[tuple[str, zenoh.handlers.Callback[zenoh.Query]], ...]
    samples: tuple[tuple[str, zenoh.handlers.Callback[zenoh.Sample]], ...]
    presences: zenoh.handlers.Callback[zenoh.Sample]
    joined: Callable[[], None]
    """Called once the session is open."""


class Presence:
    """The session of one node; `session` is there while it takes part.

    The endpoints are chosen once, so that a session opened anew is found by those who knew
    the one before.
    """

    def __init__(
        self, node: NodeId, settings: ZenohSettings, limits: Limits, identity: Identity | None
    ) -> None:
        self.session: zenoh.Session | None = None
        self.listen: tuple[str, ...] = ()
        self.begun = False
        self._node = node
        self._settings = settings
        self._limits = limits
        self._identity = identity
        self._papers: _Papers | None = None
        self._token: zenoh.LivelinessToken | None = None
        self._trying: asyncio.Task[None] | None = None

    @property
    def searches(self) -> bool:
        """Tell whether it looks for peers by multicast."""
        return self._settings.multicast and not self._settings.relayed

    async def begin(self, doings: Doings, *, persists: bool = False) -> None:
        """Join; NetworkError names the endpoint where that is impossible.

        With `persists`, and where the node is relayed by others that may come later, it goes
        on trying instead, until it is told to part.
        """
        self.begun = True
        try:
            await self._join(doings)
        except NetworkError as error:
            if not (persists or self._settings.relayed):
                raise
            log.warning("%s is not in the network yet, and goes on trying: %s", self._node, error)
            self._trying = asyncio.create_task(self._persist(doings), name="join again")

    async def outdated(self) -> bool:
        """Tell whether papers or revocations are others than those of the session."""
        return self._papers != await asyncio.to_thread(self._present_papers)

    def part(self) -> zenoh.Session | None:
        """Take part no more; the session is still to be left."""
        self.begun = False
        if self._trying is not None:
            self._trying.cancel()
        session, self.session = self.session, None
        return session

    async def leave(self, session: zenoh.Session | None) -> None:
        """Leave a session, so that peers see it at once."""
        if session is not None:
            await asyncio.to_thread(leave, session, self._token)

    async def _persist(self, doings: Doings) -> None:
        pause = FIRST_PAUSE
        while self.begun:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            with suppress(NetworkError):
                await self._join(doings)
                log.warning("%s is in the network", self._node)
                return

    async def _join(self, doings: Doings) -> None:
        joining = asyncio.ensure_future(asyncio.to_thread(self._declare, doings))
        try:
            self.session = await asyncio.shield(joining)
        except asyncio.CancelledError:
            joining.add_done_callback(_leave_late)
            raise
        if not self.begun:
            await self.leave(self.part())
            return
        doings.joined()

    def _declare(self, doings: Doings) -> zenoh.Session:
        """Open a session and declare all that peers can reach, in a thread."""
        session = self._open()
        remote = zenoh.Locality.REMOTE
        try:
            for key, asked in doings.queries:
                session.declare_queryable(key, asked, complete=True, allowed_origin=remote)
            for key, heard in doings.samples:
                session.declare_subscriber(key, heard, allowed_origin=remote)
            alive = session.liveliness()
            alive.declare_subscriber(keys.PRESENCES, doings.presences, history=True)
            # The last, for whoever sees it may ask at once.
            self._token = alive.declare_token(keys.presence(self._node))
        except zenoh.ZError as error:
            leave(session, None)
            raise explain(error, self._settings) from error
        return session

    def _open(self) -> zenoh.Session:
        for attempt in range(1, OPENINGS + 1):
            listen = self.listen or choose_ports(self._settings.endpoints)
            papers = self._present_papers()
            config = make_config(self._settings, listen, self._limits, self._identity)
            try:
                session = zenoh.open(config)
            except zenoh.ZError as error:
                again = listen not in (self._settings.endpoints, self.listen)
                if attempt == OPENINGS or not again:
                    raise explain(error, self._settings) from error
            else:
                self.listen, self._papers = listen, papers
                return session
        raise AssertionError

    def _present_papers(self) -> _Papers | None:
        if self._identity is None:
            return None
        papers = self._identity.papers
        try:
            files = papers.certificate.read_bytes(), papers.authority.read_bytes()
        except OSError as error:
            raise NetworkError(
                f"the papers of the realm cannot be read: {error}",
                hint="see `dmoa realm members`",
            ) from error
        return self._identity.revoked, *files


def _leave_late(joining: asyncio.Future[zenoh.Session]) -> None:
    """Close a session that opened when nobody wanted it any more."""
    if not joining.cancelled() and joining.exception() is None:
        leave(joining.result(), None)
