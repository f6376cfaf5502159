"""The HTTP server of a node: uvicorn, with our connections, and its signals left to us."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from dmoa.api.connection import Connection, Doorstep
from dmoa.api.crowd import Crowd

SHUTDOWN_SECONDS: Final = 3
"""That open connections are given at the end."""
ACCEPTED: Final = 32
"""Connections that are taken at once, so that those before them can ask in between."""
WAITING: Final = 1024
"""Connections that wait in the kernel to be taken."""
COMPLAINT_SECONDS: Final = 60.0
"""Between two lines of the log that say the same."""

_TICKS: Final = 10
"""Of uvicorn, a tenth of a second each, between two looks for slow connections."""


class Server(uvicorn.Server):
    """Uvicorn's server, which sweeps its crowd."""

    def __init__(self, config: uvicorn.Config, crowd: Crowd) -> None:
        super().__init__(config)
        self.crowd = crowd

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to us."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; asyncio takes for one number how many it accepts at once, and how many wait."""
        await super().startup(sockets)
        for sock in sockets or ():
            sock.listen(WAITING)

    async def on_tick(self, counter: int) -> bool:
        """Look for slow connections once a second."""
        if counter % _TICKS == 0:
            self.crowd.sweep()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let those go that ask for nothing; the others are given some seconds."""
        for server in self.servers:
            server.close()
        self.crowd.close()
        await super().shutdown(sockets)


class _Seldom(logging.Filter):
    """Lets a line pass once a minute, for whoever sends rubbish could fill the log with one."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[object, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info:
            return True
        now = time.monotonic()
        if now - self._told.get(record.msg, -COMPLAINT_SECONDS) < COMPLAINT_SECONDS:
            return False
        self._told[record.msg] = now  # texts of the program: few
        return True


_SELDOM = _Seldom()


def server(app: ASGIApp, *, connections: int = 512, tls: ssl.SSLContext | None = None) -> Server:
    """Make the HTTP server of an app, to be given its bound sockets."""
    crowd = Crowd(connections)
    logging.getLogger("uvicorn.error").addFilter(_SELDOM)

    def made(**given: Any) -> Connection | Doorstep:
        inner = Connection(crowd=crowd, **given)
        return inner if tls is None else Doorstep(inner, tls, crowd)

    config = uvicorn.Config(
        app,
        http=made,  # pyright: ignore[reportArgumentType] - whatever makes one is called as a class
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        backlog=ACCEPTED,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    return Server(config, crowd)
