"""One connection of the API: HTTP/1.1 by uvicorn, with deadlines for whoever is too slow.

Uvicorn (0.54) waits without end for the rest of a request, for a first one, and for whoever
does not read its answer. Here each wait has a bound; a sweep each second finds who is beyond.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from http import HTTPStatus
from typing import Any, Final, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from dmoa.api import problems
from dmoa.api.crowd import Crowd, owner_of

HEAD_SECONDS: Final = 10.0
"""For a request's head to come, from when it could; and for the handshake of TLS."""
BODY_SECONDS: Final = 30.0
"""For a request's body to come, and longer the more of it came."""
BODY_RATE: Final = 1024
"""Bytes per second of a body that earn it more time."""
READ_SECONDS: Final = 30.0
"""For a client to take some more of what is written to it."""
READ_BYTES: Final = 16 * 1024
"""What it has to take in that time."""


class Connection(H11Protocol):
    """Uvicorn's connection, one of a crowd, whose every wait for its client has a bound."""

    def __init__(self, *, crowd: Crowd, **given: Any) -> None:
        super().__init__(**given)
        self.owner = ""
        self._crowd = crowd
        self._asked: object = None
        """The request that is under way, or was the last."""
        self._is_busy = False
        self._since = 0.0
        """When the wait for the present head or body began."""
        self._taken = 0
        """Bytes that came since then."""
        self._unread: tuple[float, int] | None = None
        """While nothing more may be written: since when, and how many bytes, wait for it."""

    # What uvicorn is told.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the crowd, or be turned away."""
        super().connection_made(cast("asyncio.Transport", transport))
        self._since = self.loop.time()
        self.owner = owner_of(self.client[0] if self.client else None)
        if not self._crowd.enter(self):
            self._end(503, "this node has as many connections as it can hold", "connections")

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the crowd."""
        self._crowd.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take some more of a request."""
        self._taken += len(data)
        super().data_received(data)
        self._look(len(data))

    def on_response_complete(self) -> None:
        """Wait for a further request."""
        super().on_response_complete()
        self._look()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, where no answer is under way."""
        self._end(400, msg, "invalid_http")

    def _unsupported_upgrade_warning(self) -> None:
        """Pass over a wish for another protocol, as HTTP has it; uvicorn logs each."""

    def _look(self, taken: int = 0) -> None:
        """See whether a request is under way now, of which so many bytes just came."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        busy = cycle is not None and not cycle.response_complete
        began = busy and cycle is not self._asked
        if began or busy != self._is_busy:
            self._asked, self._is_busy = cycle, busy
            self._since, self._taken = self.loop.time(), taken
            self._crowd.turn(self, busy=busy)

    # What the crowd asks.

    def is_overdue(self) -> bool:
        """Tell whether its client is slower than it may be."""
        now = self.loop.time()
        if self.flow.write_paused or self.transport.is_closing():
            return self._is_stuck(now)
        self._unread = None
        waited = now - self._since
        if not self._is_busy:
            return waited > HEAD_SECONDS
        return self.cycle.more_body and waited > BODY_SECONDS + self._taken / BODY_RATE

    def _is_stuck(self, now: float) -> bool:
        """Tell whether its client does not read, while nothing more is written to it."""
        size = self.transport.get_write_buffer_size()
        if self._unread is None or size <= self._unread[1] - READ_BYTES:
            self._unread = now, size
        return now - self._unread[0] > READ_SECONDS

    def expire(self) -> None:
        """End it, with a word where some of a request came."""
        if self.flow.write_paused or self.transport.is_closing() or not self._taken:
            self.drop()
        else:
            self._end(408, "the request came too slowly", "slow_request")

    def drop(self) -> None:
        """End it at once."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _end(self, status: int, message: str, code: str) -> None:
        """End it with an error, unless it is in the midst of an answer."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE, h11.ERROR):
            body = json.dumps(problems.body(message, status=status, code=code)).encode()
            self.transport.write(
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
                f"connection: close\r\n\r\n".encode()
                + body
            )
        self.drop()


class Doorstep(asyncio.Protocol):
    """A connection that has not agreed on TLS yet; it counts as much as any other."""

    def __init__(self, inner: Connection, context: ssl.SSLContext, crowd: Crowd) -> None:
        self.owner = ""
        self._inner = inner
        self._context = context
        self._crowd = crowd
        self._early = bytearray()
        self._gone = False
        self._outer: asyncio.Transport | None = None
        self._shaking: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake, where there is room."""
        self._outer = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.owner = owner_of(peer[0] if peer else None)
        if self._crowd.enter(self):
            self._shaking = asyncio.ensure_future(self._shake(self._outer))
        else:
            self._outer.abort()

    def data_received(self, data: bytes) -> None:
        """Keep what came along with the end of the handshake: one read at most."""
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        """Hear that it ended before it was handed on."""
        del exc
        self._gone = True

    async def _shake(self, outer: asyncio.Transport) -> None:
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                inner = await asyncio.get_running_loop().start_tls(
                    outer, self, self._context, server_side=True
                )
        except (OSError, TimeoutError):  # what is no TLS, too slow, or went away
            outer.abort()
            return
        finally:
            self._crowd.leave(self)
        if inner is None or self._gone:
            outer.abort()
            return
        inner.set_protocol(self._inner)
        self._inner.connection_made(inner)
        if self._early and not inner.is_closing():
            self._inner.data_received(bytes(self._early))

    def is_overdue(self) -> bool:
        """Tell that its handshake has a deadline of its own."""
        return False

    def expire(self) -> None:
        """End it."""
        self.drop()

    def drop(self) -> None:
        """End it at once."""
        if self._shaking is not None:
            self._shaking.cancel()
        if self._outer is not None:
            self._outer.abort()
